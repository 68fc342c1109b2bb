"""What others see of an account, and the race for a username."""

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from messenger.accounts.housekeeping import CLAIM_MS
from messenger.accounts.profiles import Profiles
from messenger.accounts.protocol import Resolve
from messenger.accounts.store.people import NameKind
from messenger.accounts.usernames import TOMBSTONE_MS
from messenger.badges import BadgeFact, name_hash
from messenger.feature import NameGuard, Refused
from messenger.ids import AccountId, ChatId
from messenger.wire.codes import ErrorCode
from tests.accounts.world import Person, World


class ShownChat(Struct, frozen=True):
    id: str
    username: str | None


def a_username(person: Person) -> str:
    return f"u_{person.account % 10**12}"


@pytest.mark.parametrize(
    "name", ["مینا رضایی", "نیک‌نام", "Mina O'Neill", "李小龙", "میـنـا", "👩‍🚀 Mina", "م" * 64]
)
async def test_given_a_name_in_any_script_when_set_then_everyone_sees_it(
    world: World, mina: Person, reza: Person, name: str
) -> None:
    answer = await world.call(mina, "accounts.update", name=name)

    assert answer["name"] == name
    seen = await world.call(reza, "accounts.get", ids=[mina.id])
    assert seen["accounts"] == [answer]


async def test_given_a_profile_when_changed_then_the_other_devices_are_told(
    world: World, mina: Person
) -> None:
    await world.hears(mina)

    account = await world.call(mina, "accounts.update", about="زندگی زیباست\nبله")

    fact = await world.fact(mina)
    assert fact == {"t": "profile", "aev": fact["aev"], "account": account}
    assert account["about"] == "زندگی زیباست\nبله"
    assert (await world.call(mina, "accounts.update", about="")).get("about") is None


async def test_given_people_when_asked_for_then_unknown_ones_are_left_out_in_order(
    world: World, mina: Person, reza: Person
) -> None:
    answer = await world.call(mina, "accounts.get", ids=[reza.id, "12345", mina.id, reza.id])

    assert [account["id"] for account in answer["accounts"]] == [reza.id, mina.id]
    assert await world.call(mina, "accounts.get", ids=[]) == {"accounts": []}


async def test_given_a_username_when_claimed_then_it_leads_to_its_owner(
    world: World, mina: Person, reza: Person
) -> None:
    username = a_username(mina)

    await world.call(mina, "accounts.update", username=username.upper())

    for asked in (username, username.upper(), "@" + username):
        answer = await world.call(reza, "accounts.resolve", username=asked)
        assert answer["account"]["id"] == mina.id
        assert answer["account"]["username"] == username


async def test_given_a_username_when_two_claim_it_at_once_then_one_wins(world: World) -> None:
    people = [await world.person(f"نفر {n}") for n in range(4)]
    username = a_username(people[0])

    results = await asyncio.gather(
        *(world.call(person, "accounts.update", username=username) for person in people),
        return_exceptions=True,
    )

    winners = [result for result in results if isinstance(result, dict)]
    losers = [result for result in results if isinstance(result, Refused)]
    assert len(winners) == 1
    assert [refusal.code for refusal in losers] == [ErrorCode.USERNAME_TAKEN] * 3
    assert await world.count("account", "username = $1", username) == 1


async def test_given_a_released_username_when_its_tombstone_stands_then_only_its_owner_may_return(
    world: World, mina: Person, reza: Person
) -> None:
    username = a_username(mina)
    await world.call(mina, "accounts.update", username=username)
    assert "username" not in await world.call(mina, "accounts.update", username="")

    taken = await world.refusal(reza, "accounts.update", username=username)
    gone = await world.refusal(reza, "accounts.resolve", username=username)
    back = await world.call(mina, "accounts.update", username=username)

    assert taken.code is ErrorCode.USERNAME_TAKEN
    assert gone.code is ErrorCode.NOT_FOUND
    assert back["username"] == username


async def test_given_a_tombstone_when_its_time_is_over_then_anybody_may_have_the_name(
    world: World, mina: Person, reza: Person
) -> None:
    username = a_username(mina)
    await world.call(mina, "accounts.update", username=username)
    await world.call(mina, "accounts.update", username=username + "_2")
    world.clock.passes(seconds=TOMBSTONE_MS / 1_000 + 1)

    answer = await world.call(reza, "accounts.update", username=username)

    assert answer["username"] == username


async def test_given_a_refused_update_when_looked_at_then_nothing_of_it_was_stored(
    world: World, mina: Person, reza: Person
) -> None:
    username = a_username(reza)
    await world.call(reza, "accounts.update", username=username)

    for data in (
        {"name": "نو", "username": username},
        {"name": "نو", "username": "admin"},
        {"name": "نو", "photo": "77"},
        {"name": "نو", "about": "a\x00b"},
        {"about": "نو", "name": "\u200f"},
    ):
        await world.refusal(mina, "accounts.update", **data)

    assert await world.call(mina, "accounts.me") == {
        "id": mina.id,
        "name": "مینا",
        "kind": "person",
    }
    assert await world.count("account_event", "account_id = $1 and kind = 105", mina.account) == 0


async def test_given_a_photo_when_set_then_media_is_off_but_it_may_be_removed(
    world: World, mina: Person
) -> None:
    refusal = await world.refusal(mina, "accounts.update", photo="77")
    await world.run("update account set photo_id = 77 where account_id = $1", mina.account)
    before = await world.call(mina, "accounts.me")

    answer = await world.call(mina, "accounts.update", photo=None)

    assert (refusal.code, refusal.details) == (ErrorCode.FEATURE_OFF, {"feature": "media"})
    assert before["photo"] == "77"
    assert "photo" not in answer


async def test_given_a_name_guard_when_it_refuses_then_nothing_changes(
    world: World, mina: Person, guards: list[NameGuard]
) -> None:
    asked: list[Any] = []

    class Guard:
        async def check(self, *, owner: int, name: str | None, username: str | None) -> None:
            asked.append((owner, name, username))
            raise Refused(ErrorCode.NAME_REFUSED, {"why": "lookalike", "case": "1"})

    guards.append(Guard())

    refusal = await world.refusal(mina, "accounts.update", name="رسمی", about="x")
    await world.call(mina, "accounts.update", about="y")
    await world.call(mina, "accounts.update", name="مینا")

    assert refusal.code is ErrorCode.NAME_REFUSED
    assert asked == [(mina.account, "رسمی", None)]


async def test_given_a_badge_when_the_name_is_changed_then_it_is_frozen_and_about_is_not(
    world: World, mina: Person, reza: Person
) -> None:
    fact = BadgeFact(
        id="1",
        kind="person",
        authority="9",
        label="نماینده",
        icon="tick",
        not_before=0,
        not_after=world.clock.now_ms() + 86_400_000,
        name_hash=name_hash(None, "مینا"),
        owner_id=mina.id,
        idx=1,
    )
    await world.run(
        "update account set badge = $2::jsonb, badge_epoch = 3 where account_id = $1",
        mina.account,
        msgspec.json.encode(fact).decode(),
    )

    name = await world.refusal(mina, "accounts.update", name="دیگر")
    username = await world.refusal(mina, "accounts.update", username=a_username(mina))
    seen = (await world.call(reza, "accounts.get", ids=[mina.id]))["accounts"][0]

    assert name.code is username.code is ErrorCode.FROZEN_BY_BADGE
    assert (seen["badge"]["label"], seen["badge"]["ver"]) == ("نماینده", 3)
    assert (await world.call(mina, "accounts.update", about="آزاد", name="مینا"))["about"] == "آزاد"


async def test_given_a_chats_username_when_resolved_then_the_chats_feature_decides(
    world: World, mina: Person, reza: Person
) -> None:
    name = f"c_{mina.account % 10**12}"
    await world.run("insert into username(name_fold, kind, target_id) values ($1, 2, 91)", name)

    async def show(caller: AccountId, chat: ChatId) -> Any:
        return ShownChat(str(chat), carried) if caller == mina.account else None

    carried = name
    old = world.accounts.profiles
    profiles = Profiles(old._people, old._delivery, old._limits, (), show, old._now_ms)

    hidden = await world.refusal(mina, "accounts.resolve", username=name)
    answer = await profiles.resolve(Resolve(username=name), mina.caller)
    with pytest.raises(Refused) as refusal:
        await profiles.resolve(Resolve(username=name), reza.caller)

    assert hidden.code is refusal.value.code is ErrorCode.NOT_FOUND
    assert msgspec.to_builtins(answer) == {"chat": {"id": "91", "username": name}}
    carried = "another"
    with pytest.raises(Refused):
        await profiles.resolve(Resolve(username=name), mina.caller)


async def test_given_many_names_in_parallel_when_set_then_all_but_the_carried_one_are_released(
    world: World, mina: Person
) -> None:
    names = [f"{a_username(mina)}_{n}" for n in range(5)]

    await asyncio.gather(*(world.call(mina, "accounts.update", username=one) for one in names))

    carried = (await world.call(mina, "accounts.me"))["username"]
    where = "target_id = $1 and tombstone_until <= 0"
    assert await world.count("username", where, mina.account) == 1
    assert await world.count("username", where + " and name_fold = $2", mina.account, carried) == 1


async def test_given_a_day_of_new_names_when_one_more_is_wanted_then_it_is_refused_and_not_burnt(
    world: World, mina: Person, reza: Person
) -> None:
    for n in range(5):
        await world.call(mina, "accounts.update", username=f"{a_username(mina)}_{n}")

    refusal = await world.refusal(mina, "accounts.update", username=f"{a_username(mina)}_5")
    same = await world.call(mina, "accounts.update", username=f"{a_username(mina)}_4")

    assert refusal.code is ErrorCode.RATE_LIMITED
    assert refusal.details["rule"] == "username"
    assert same["username"] == f"{a_username(mina)}_4"
    await world.call(reza, "accounts.update", username=f"{a_username(mina)}_5")


async def test_given_a_claimed_name_that_its_holder_does_not_carry_when_resolved_then_it_is_nobodys(
    world: World, mina: Person, reza: Person
) -> None:
    username = a_username(mina)
    await world.accounts.people.claim_name(username, NameKind.ACCOUNT, mina.account, 1)

    refusal = await world.refusal(reza, "accounts.resolve", username=username)

    assert refusal.code is ErrorCode.NOT_FOUND


async def test_given_an_update_that_changes_nothing_when_made_then_nothing_is_told(
    world: World, mina: Person
) -> None:
    await world.call(mina, "accounts.update", about="همین")
    where = "account_id = $1 and kind = 105"
    before = await world.count("account_event", where, mina.account)

    answer = await world.call(mina, "accounts.update", about="همین", name="مینا")

    assert answer["about"] == "همین"
    assert await world.count("account_event", where, mina.account) == before


async def test_given_a_name_claimed_by_one_that_died_when_the_house_is_kept_then_it_is_free(
    world: World, mina: Person, reza: Person
) -> None:
    people, name = world.accounts.people, f"lost{mina.account}"[:20]
    assert await people.claim_name(name, NameKind.ACCOUNT, mina.account, world.clock.now_ms())

    await world.accounts.housekeeping.round()
    with pytest.raises(Refused) as taken:  # its holder may still be at it
        await world.call(reza, "accounts.update", username=name)
    world.clock.passes(seconds=CLAIM_MS / 1_000 + 1)
    await world.accounts.housekeeping.round()

    assert taken.value.code == ErrorCode.USERNAME_TAKEN
    assert (await world.call(reza, "accounts.update", username=name))["username"] == name


async def test_given_a_name_that_is_carried_when_the_house_is_kept_then_it_stays(
    world: World, mina: Person, reza: Person
) -> None:
    name = f"kept{mina.account}"[:20]
    await world.call(mina, "accounts.update", username=name)
    world.clock.passes(seconds=CLAIM_MS / 1_000 + 1)

    await world.accounts.housekeeping.round()

    assert await world.count("username", "name_fold = $1 and tombstone_until = 0", name) == 1
    assert (await world.call(reza, "accounts.resolve", username=name))["account"]["id"] == mina.id

"""What a group is: its title, rules and owner; and its end."""

import asyncio
from typing import Any

import msgspec
import pytest

from messenger.badges import BadgeFact, name_hash
from messenger.feature import NameGuard, Refused
from messenger.ids import ChatId
from messenger.log.events import Right
from messenger.wire.codes import ErrorCode
from tests.chats.world import SMALL, Person, World


def username_of(person: Person) -> str:
    return f"g_{person.id}"


async def test_given_a_new_title_then_members_hear_the_new_fields_and_a_fresh_look_agrees(
    mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza, about="قدیم")
    before = await reza.sees(chat)
    assert before is not None

    done = await mina.call("update", chat=chat, title=" كتاب ", about="", slow_s=30)

    told = await reza.hears("chat.updated", chat=chat)
    assert (told["ev"], told["set"]) == (
        done["ev"],
        {"title": "كتاب", "about": None, "slow_s": 30},
    )
    after = await reza.sees(chat)
    assert after is not None
    expected = {**before, **told["set"], "last": after["last"]}
    assert {key: value for key, value in expected.items() if value is not None} == after


async def test_given_every_field_then_one_event_tells_them_all(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    name = username_of(mina)

    await mina.call(
        "update",
        chat=chat,
        title="t",
        about="a",
        photo=None,
        username=name,
        slow_s=0,
        rights=["pin", "edit_others"],
        join="request",
        history_for_new=False,
    )

    told = await reza.hears("chat.updated", chat=chat)
    assert told["set"] == {
        "title": "t",
        "about": "a",
        "photo": None,
        "username": name,
        "slow_s": 0,
        "rights": ["pin"],
        "join": "request",
        "history_for_new": False,
    }
    seen = await reza.sees(chat)
    assert seen is not None
    assert all(seen.get(key) == value for key, value in told["set"].items())
    assert len(await world.events(chat)) == 1
    assert await world.count("chat", "chat_id = $1 and flags & 96 = 96", int(chat)) == 1
    await mina.call("update", chat=chat, history_for_new=True, username="")
    assert await world.count("chat", "chat_id = $1 and flags & 96 = 0", int(chat)) == 1


async def test_given_the_values_it_has_already_then_no_event_is_made(
    world: World, mina: Person
) -> None:
    chat = await mina.creates(title="t")

    assert await mina.call("update", chat=chat, title="t", about="", slow_s=0) == {"ev": 0}
    assert await mina.call("update", chat=chat) == {"ev": 0}

    assert await world.events(chat) == []


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ({"title": "x"}, "change_info"),
        ({"about": "x"}, "change_info"),
        ({"photo": None}, "change_info"),
        ({"slow_s": 5}, "restrict_members"),
        ({"rights": []}, "restrict_members"),
        ({"join": "open"}, "restrict_members"),
        ({"history_for_new": False}, "restrict_members"),
        ({"username": "whatever"}, "owner"),
    ],
)
async def test_given_a_plain_member_then_each_change_names_the_right_it_needs(
    world: World, mina: Person, reza: Person, fields: dict[str, Any], right: str
) -> None:
    chat = await mina.creates(reza)

    refused = await reza.refusal("update", chat=chat, **fields)

    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": right})
    assert await world.events(chat) == []
    assert await world.count("username", "target_id = $1", int(chat)) == 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"title": ""}, ErrorCode.BAD_REQUEST),
        ({"title": "\u202e"}, ErrorCode.INVALID),
        ({"title": 5}, ErrorCode.BAD_REQUEST),
        ({"about": "\0"}, ErrorCode.INVALID),
        ({"photo": "7"}, ErrorCode.FEATURE_OFF),
        ({"username": "no"}, ErrorCode.USERNAME_INVALID),
        ({"slow_s": -1}, ErrorCode.BAD_REQUEST),
        ({"slow_s": 3_601}, ErrorCode.BAD_REQUEST),
        ({"rights": ["fly"]}, ErrorCode.BAD_REQUEST),
        ({"join": "maybe"}, ErrorCode.BAD_REQUEST),
        ({"signed": True}, ErrorCode.INVALID),
        ({"discussion": None}, ErrorCode.INVALID),
    ],
)
async def test_given_a_bad_change_then_it_is_refused_and_nothing_is_stored(
    world: World, mina: Person, fields: dict[str, Any], code: ErrorCode
) -> None:
    chat = await mina.creates()

    refused = await mina.refusal("update", chat=chat, **{"slow_s": 9, **fields})

    assert refused.code is code
    assert await world.events(chat) == []
    assert await world.count("chat", "chat_id = $1 and slow_s <> 0", int(chat)) == 0


async def test_given_a_username_then_it_moves_with_the_chat_and_is_kept_from_others(
    world: World, mina: Person, reza: Person
) -> None:
    chat, other = await mina.creates(), await reza.creates()
    name, newer = username_of(mina), username_of(reza)
    await mina.call("update", chat=chat, username=name)

    refused = await reza.refusal("update", chat=other, username=name.upper())
    assert refused.code is ErrorCode.USERNAME_TAKEN
    await mina.call("update", chat=chat, username=newer)

    refused = await reza.refusal("update", chat=other, username=name)
    assert refused.code is ErrorCode.USERNAME_TAKEN  # old links must not lead to strangers
    shown = await world.chats.views.public(reza.account, ChatId(int(chat)))
    assert shown is not None
    assert shown.username == newer
    assert await world.events(other) == []


async def test_given_slow_mode_then_members_wait_and_admins_do_not(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    await mina.call("update", chat=chat, slow_s=60)

    await reza.sends(chat)

    with pytest.raises(Refused) as refused:
        await reza.sends(chat)
    assert refused.value.code is ErrorCode.SLOW_MODE
    await mina.sends(chat)
    await mina.sends(chat)


async def test_given_a_guard_when_it_refuses_a_new_title_then_an_old_one_still_passes(
    mina: Person, guards: list[NameGuard]
) -> None:
    class Guard:
        async def check(self, *, owner: int, name: str | None, username: str | None) -> None:
            raise Refused(ErrorCode.NAME_REFUSED, {"why": "lookalike", "case": "7"})

    chat = await mina.creates(title="t")
    guards.append(Guard())

    refused = await mina.refusal("update", chat=chat, title="u")

    assert refused.code is ErrorCode.NAME_REFUSED
    assert await mina.call("update", chat=chat, title="t", about="b") == {"ev": 1}


async def test_given_an_owner_who_loses_the_group_meanwhile_then_the_username_is_free_again(
    world: World, mina: Person, reza: Person, guards: list[NameGuard]
) -> None:
    class Guard:
        """Asked after the seats were read, before the change is written."""

        async def check(self, *, owner: int, name: str | None, username: str | None) -> None:
            guards.clear()
            await mina.call("transfer", chat=chat, account=reza.id)

    chat, other = await mina.creates(reza), await mina.creates()
    name = username_of(mina)
    guards.append(Guard())

    refused = await mina.refusal("update", chat=chat, username=name)

    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "owner"})
    assert (await mina.sees(chat) or {}).get("username") is None
    world.clock.passes(seconds=1)
    await mina.call("update", chat=other, username=name)


async def test_given_a_badge_then_name_and_owner_are_frozen_and_members_see_it(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza, title="وزارت")
    now = world.clock.now_ms()
    fact = BadgeFact(
        id="1",
        kind="government",
        authority="a",
        label="نهاد",
        icon="i",
        not_before=now - 1,
        not_after=now + 60_000,
        name_hash=name_hash(None, "وزارت"),
        owner_id=mina.id,
        idx=1,
    )
    sql = "update chat set badge = $2::jsonb, badge_epoch = 3 where chat_id = $1"
    await world.run(sql, int(chat), msgspec.json.encode(fact).decode())

    seen = await reza.sees(chat)

    assert seen is not None
    assert seen["badge"] == {
        "kind": "government",
        "label": "نهاد",
        "until": now + 60_000,
        "ver": 3,
    }
    for method, fields in (
        ("update", {"title": "x"}),
        ("update", {"username": username_of(mina)}),
        ("transfer", {"account": reza.id}),
    ):
        refused = await mina.refusal(method, chat=chat, **fields)
        assert refused.code is ErrorCode.FROZEN_BY_BADGE
    await mina.call("update", chat=chat, about="free")
    assert len(await world.events(chat)) == 1
    world.clock.passes(seconds=61)
    await mina.call("update", chat=chat, title="x")


# Owner


async def test_given_a_transfer_then_both_seats_change_and_the_old_owner_is_an_admin(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza, sara)

    done = await mina.call("transfer", chat=chat, account=reza.id)

    changes = [await sara.hears("member.changed", chat=chat) for _ in range(2)]
    assert [(one["account"], one["role"]) for one in changes] == [
        (mina.id, "admin"),
        (reza.id, "owner"),
    ]
    assert done == {"ev": 2}
    seen = await mina.sees(chat)
    assert seen is not None
    assert len(seen["me"]["rights"]) == len(Right)
    assert await world.count("chat", "chat_id = $1 and owner_id = $2", int(chat), reza.account) == 1
    assert await world.count("member", "chat_id = $1 and role >= 3", int(chat)) == 2
    assert (await mina.refusal("transfer", chat=chat, account=sara.id)).code is (
        ErrorCode.FORBIDDEN
    )


async def test_given_two_transfers_at_once_then_there_is_one_owner(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza, sara)

    done = await asyncio.gather(
        mina.call("transfer", chat=chat, account=reza.id),
        mina.call("transfer", chat=chat, account=sara.id),
        return_exceptions=True,
    )

    assert [isinstance(one, Refused) for one in done].count(True) == 1
    assert list((await mina.members(chat)).values()).count("owner") == 1
    assert len(await world.events(chat)) == 2


async def test_given_somebody_outside_then_nothing_is_transferred(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza)

    refused = await mina.refusal("transfer", chat=chat, account=sara.id)

    assert refused.code is ErrorCode.FORBIDDEN
    assert await world.events(chat) == []


# Deletion


async def test_given_a_small_group_when_deleted_then_all_hear_it_and_nobody_is_in_it(
    world: World, mina: Person, reza: Person
) -> None:
    name = username_of(mina)
    chat = await mina.creates(reza, username=name)
    await reza.sends(chat)

    done = await mina.call("delete", chat=chat)

    assert done == {"ev": 2}
    for person in (mina, reza):
        left = await person.hears("chat.left", chat=chat)
        assert left["why"] == "deleted"
        assert await person.sees(chat) is None
        with pytest.raises(Refused) as refused:
            await person.sends(chat)
        assert refused.value.code is ErrorCode.NO_CHAT
        assert (await person.refusal("update", chat=chat, title="x")).code is ErrorCode.NO_CHAT
    assert (await mina.refusal("delete", chat=chat)).code is ErrorCode.NO_CHAT
    assert (await reza.refusal("join", username=name)).code is ErrorCode.NO_CHAT
    assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0
    assert await world.count("membership", "chat_id = $1 and role > 0", int(chat)) == 0


async def test_given_a_big_group_when_deleted_then_its_seats_empty_after_the_answer(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza, *await world.people(SMALL))
    topic = await world.topic(f"chat:{chat}")

    await mina.call("delete", chat=chat)

    await topic.says(b"1 ")
    assert await reza.sees(chat) is None
    assert await world.count("membership", "chat_id = $1 and role > 0", int(chat)) == SMALL + 2
    for method in ("members", "log", "pins", "links", "requests", "leave", "join"):
        more = {"link": f"{chat}.{'x' * 43}"} if method == "join" else {"chat": chat}
        refused = await mina.refusal(method, **more)
        assert refused.code in (ErrorCode.NO_CHAT, ErrorCode.LINK_DEAD), method
    world.clock.passes(seconds=6)
    await world.chats.outbox.settle_left()
    assert (await reza.hears("chat.left", chat=chat))["why"] == "deleted"
    assert await world.count("membership", "chat_id = $1 and role > 0", int(chat)) == 0
    assert await world.count("member", "chat_id = $1 and flags & 4 = 0", int(chat)) == 0
    assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0


async def test_given_an_admin_then_deleting_is_for_the_owner_alone(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    rights = ["change_info", "restrict_members", "add_admins"]
    await mina.call("set_role", chat=chat, account=reza.id, role="admin", rights=rights)

    refused = await reza.refusal("delete", chat=chat)

    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "owner"})
    assert await world.count("chat", "chat_id = $1 and flags & 4 = 4", int(chat)) == 0

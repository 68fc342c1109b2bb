"""Who is here, who may know, and who is told."""

import json
from typing import Any

import pytest

from messenger.accounts.presence import CHANGES_MAX, RENEW_AFTER_S, SESSION_LEASE_S
from messenger.accounts.protocol import Watch
from messenger.bus.keys import session_key, watch_key
from messenger.feature import Caller
from messenger.ids import AccountId
from messenger.wire.codes import ErrorCode
from tests.accounts.world import Person, World


def opened(world: World, person: Person, session: str = "") -> Caller:
    caller = person.caller
    if session:
        caller = Caller(caller.account, caller.device, caller.address, session)
    world.accounts.presence.opened(caller)
    return caller


async def state_of(world: World, viewer: Person, target: Person) -> str:
    # The rule of 5 questions in 25 s is the catalogue's; asked directly it does not apply.
    answer = await world.accounts.presence.presence(_watch(target), viewer.caller)
    ((account, state),) = answer.presence
    assert account == target.id
    return state


def _watch(*people: Person) -> Any:
    return Watch(ids=[person.id for person in people])


async def test_given_somebody_never_seen_when_asked_then_nothing_is_known(
    world: World, mina: Person, reza: Person
) -> None:
    assert await state_of(world, mina, reza) == "hidden"


async def test_given_a_session_when_it_opens_and_closes_then_online_becomes_recently(
    world: World, mina: Person, reza: Person
) -> None:
    caller = opened(world, reza)
    here = await state_of(world, mina, reza)
    world.accounts.presence.closed(caller)

    assert here == "online"
    assert await state_of(world, mina, reza) == "recently"


@pytest.mark.parametrize(("days", "state"), [(2, "recently"), (3, "week"), (8, "month")])
async def test_given_days_of_absence_when_asked_then_a_bucket_is_told(
    world: World, mina: Person, reza: Person, days: int, state: str
) -> None:
    world.accounts.presence.closed(opened(world, reza))
    world.clock.passes(days=days)

    assert await state_of(world, mina, reza) == state


async def test_given_an_older_session_when_it_closes_after_the_newer_opened_then_still_online(
    world: World, mina: Person, reza: Person
) -> None:
    older = opened(world, reza, "older")
    newer = opened(world, reza, "newer")
    world.accounts.presence.closed(older)
    world.accounts.presence.closed(older)

    assert await state_of(world, mina, reza) == "online"
    world.accounts.presence.closed(newer)
    assert await state_of(world, mina, reza) == "recently"


async def test_given_a_killed_nodes_session_when_its_lease_is_over_then_it_is_not_online(
    world: World, mina: Person, reza: Person
) -> None:
    until = world.clock.now_ms() // 1_000 + SESSION_LEASE_S
    await world.bus.ask("HSET", session_key(reza.account), "1:lost", until)
    before = await state_of(world, mina, reza)
    world.clock.passes(seconds=SESSION_LEASE_S + 1)

    assert before == "online"
    assert await state_of(world, mina, reza) == "hidden"


async def test_given_a_living_session_when_its_lease_is_due_then_it_is_renewed(
    world: World, mina: Person, reza: Person
) -> None:
    caller = opened(world, reza)
    world.clock.passes(seconds=RENEW_AFTER_S + 1)
    world.accounts.presence.renew_due()
    world.clock.passes(seconds=SESSION_LEASE_S - 10)

    assert await state_of(world, mina, reza) == "online"
    world.accounts.presence.closed(caller)


@pytest.mark.parametrize("hider", ["viewer", "target"])
@pytest.mark.parametrize(
    ("audience", "is_contact", "seen"),
    [
        ("everyone", False, True),
        ("contacts", False, False),
        ("contacts", True, True),
        ("nobody", False, False),
        ("nobody", True, False),
    ],
)
async def test_given_last_seen_privacy_on_either_side_when_asked_then_it_is_reciprocal(
    world: World,
    mina: Person,
    reza: Person,
    hider: str,
    audience: str,
    is_contact: bool,  # noqa: FBT001 - a row of the table
    seen: bool,  # noqa: FBT001
) -> None:
    who, other = (mina, reza) if hider == "viewer" else (reza, mina)
    caller = opened(world, reza)
    if is_contact:
        await world.call(who, "accounts.import_contacts", phones=[other.phone])
    await world.call(who, "accounts.privacy", set={"last_seen": audience})

    assert (await state_of(world, mina, reza) == "online") is seen
    world.accounts.presence.closed(caller)


@pytest.mark.parametrize("blocker", ["viewer", "target"])
async def test_given_a_block_on_either_side_when_asked_then_it_looks_like_a_setting(
    world: World, mina: Person, reza: Person, blocker: str
) -> None:
    who, other = (mina, reza) if blocker == "viewer" else (reza, mina)
    caller = opened(world, reza)
    await world.call(who, "accounts.block", account=other.id, on=True)

    assert await state_of(world, mina, reza) == "hidden"
    world.accounts.presence.closed(caller)


async def test_given_a_list_of_people_when_asked_then_each_has_one_row_in_order(
    world: World, mina: Person, reza: Person
) -> None:
    caller = opened(world, mina)

    answer = await world.call(mina, "accounts.presence", ids=[reza.id, "99", mina.id, reza.id])

    assert answer == {"presence": [[reza.id, "hidden"], ["99", "hidden"], [mina.id, "online"]]}
    assert await world.call(mina, "accounts.presence", ids=[]) == {"presence": []}
    world.accounts.presence.closed(caller)


async def test_given_a_watcher_when_the_watched_comes_and_goes_then_it_is_told_at_once(
    world: World, mina: Person, reza: Person
) -> None:
    await world.hears(mina)
    await world.call(mina, "accounts.watch", ids=[reza.id])

    caller = opened(world, reza)
    came = json.loads(await world.signal(mina))
    world.accounts.presence.closed(caller)
    went = json.loads(await world.signal(mina))

    assert came == {"t": "presence", "p": [[reza.id, "online"]]}
    assert went == {"t": "presence", "p": [[reza.id, "recently"]]}


async def test_given_a_new_set_when_watched_then_the_old_set_is_forgotten(
    world: World, mina: Person, reza: Person
) -> None:
    sara = await world.person("سارا")
    await world.hears(mina)
    own = opened(world, mina)
    await world.call(mina, "accounts.watch", ids=[reza.id, mina.id])
    await world.call(mina, "accounts.watch", ids=[sara.id])

    first, second = opened(world, reza), opened(world, sara)
    told = json.loads(await world.signal(mina))

    assert told["p"] == [[sara.id, "online"]]
    assert world.heard[f"eph:{mina.id}"].empty()
    assert await world.bus.ask("ZCARD", watch_key(mina.account)) == 0
    world.accounts.presence.closed(own)
    world.accounts.presence.closed(first)
    world.accounts.presence.closed(second)


async def test_given_a_watch_when_its_minute_is_over_then_nobody_is_told(
    world: World, mina: Person, reza: Person
) -> None:
    sara = await world.person("سارا")
    await world.hears(mina)
    await world.call(mina, "accounts.watch", ids=[reza.id])
    world.clock.passes(seconds=61)
    await world.call(sara, "accounts.watch", ids=[reza.id])
    await world.hears(sara)

    caller = opened(world, reza)

    assert json.loads(await world.signal(sara))["p"] == [[reza.id, "online"]]
    assert world.heard[f"eph:{mina.id}"].empty()
    world.accounts.presence.closed(caller)


async def test_given_a_watcher_when_the_watched_hides_then_it_is_told_hidden_and_no_more(
    world: World, mina: Person, reza: Person
) -> None:
    await world.hears(mina)
    await world.call(mina, "accounts.watch", ids=[reza.id])

    await world.call(reza, "accounts.privacy", set={"last_seen": "nobody"})
    hidden = json.loads(await world.signal(mina))
    caller = opened(world, reza)
    await world.call(reza, "accounts.privacy", set={"last_seen": "everyone"})
    shown = json.loads(await world.signal(mina))

    assert hidden["p"] == [[reza.id, "hidden"]]
    assert shown["p"] == [[reza.id, "online"]]
    world.accounts.presence.closed(caller)


async def test_given_many_questions_when_asked_at_once_then_the_rule_is_named(
    world: World, mina: Person, reza: Person
) -> None:
    for _ in range(5):
        await world.call(mina, "accounts.presence", ids=[reza.id])

    refusal = await world.refusal(mina, "accounts.watch", ids=[reza.id])

    assert refusal.code is ErrorCode.RATE_LIMITED
    assert refusal.details["rule"] == "presence"


async def test_given_more_changes_than_can_wait_when_another_comes_then_it_is_dropped(
    world: World,
) -> None:
    presence = world.accounts.presence

    for n in range(CHANGES_MAX + 50):
        presence.hidden(AccountId(5_000_000 + n))

    assert len(presence._changed) == CHANGES_MAX
    presence._changed.clear()


async def watchers(world: World, person: Person) -> list[bytes]:
    return list(await world.bus.ask("ZRANGE", watch_key(person.account), 0, -1))


async def test_given_watchers_whose_time_is_over_when_others_watch_or_are_told_then_they_go(
    world: World, mina: Person, reza: Person
) -> None:
    now_s = world.clock.now_ms() // 1_000
    for n in range(3):
        await world.bus.ask("ZADD", watch_key(mina.account), now_s - 10 - n, f"{n}.1")

    world.accounts.presence.watch(_watch(mina), reza.caller)
    after_watch = await watchers(world, mina)
    await world.bus.ask("ZADD", watch_key(mina.account), now_s - 10, "7.1")
    await world.hears(reza)
    caller = opened(world, mina)
    await world.signal(reza)
    after_tell = await watchers(world, mina)

    assert len(after_watch) == len(after_tell) == 1
    world.accounts.presence.closed(caller)


async def test_given_two_sessions_that_watch_when_one_closes_then_the_other_still_watches(
    world: World, mina: Person, reza: Person
) -> None:
    one, two = opened(world, reza, "first"), opened(world, reza, "second")
    for caller in (one, two):
        world.accounts.presence.watch(_watch(mina), caller)

    world.accounts.presence.closed(one)
    left = await watchers(world, mina)
    world.accounts.presence.closed(two)

    assert len(left) == 1
    assert await watchers(world, mina) == []

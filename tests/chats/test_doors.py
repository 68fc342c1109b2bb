"""The door of a chat: in turn, shut for a moment after a refusal, in no other chat's way."""

import asyncio

import pytest

from messenger.chats.doors import AT_ONCE, SHUT_S, WAITING, Doors
from messenger.chats.protocol import Join
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, DeviceId
from messenger.wire.codes import ErrorCode

CALLER = Caller(AccountId(1), DeviceId(1), "192.0.2.1")
SECRET, OTHER = "s" * 43, "t" * 43
LINK, SAME_CHAT, ELSEWHERE = (
    Join(link=f"{chat}.{secret}") for chat, secret in ((7, SECRET), (7, OTHER), (8, SECRET))
)


class Now:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


async def refused_within(doors: Doors, request: Join, rule: str) -> None:
    details = {"rule": rule, "why": "many come in at once", "retry_after_ms": 20}
    with pytest.raises(Refused):
        async with doors.enter(request):
            raise Refused(ErrorCode.JOIN_GUARD, details)


async def test_given_many_at_one_door_then_a_few_are_inside_at_once_and_all_come_in() -> None:
    doors, inside, most, done = Doors(), 0, 0, 0

    async def comes() -> None:
        nonlocal inside, most, done
        async with doors.enter(LINK):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1
            done += 1

    async with asyncio.timeout(5):
        await asyncio.gather(*(comes() for _ in range(50)))

    assert (most, done) == (AT_ONCE, 50)


async def test_given_a_refusal_of_the_guard_then_the_next_are_told_rule_reason_and_time() -> None:
    now = Now()
    doors = Doors(now)
    await refused_within(doors, LINK, "join.channel")

    now.at += SHUT_S / 4
    with pytest.raises(Refused) as refusal:
        doors.check(CALLER, SAME_CHAT)
    doors.check(CALLER, ELSEWHERE)

    assert refusal.value.code is ErrorCode.JOIN_GUARD
    assert refusal.value.details == {
        "rule": "join.channel",
        "why": "many come in at once",
        "retry_after_ms": 750,
    }
    now.at += SHUT_S
    doors.check(CALLER, LINK)


async def test_given_a_crowd_of_one_network_then_the_door_stays_open_for_the_others() -> None:
    doors = Doors(Now())

    await refused_within(doors, LINK, "join.net")

    doors.check(CALLER, LINK)


async def test_given_a_full_queue_then_who_comes_is_put_off_and_other_doors_are_open() -> None:
    doors, opened = Doors(), asyncio.Event()

    async def comes() -> None:
        async with doors.enter(LINK):
            await opened.wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for _ in range(WAITING):
            doors.check(CALLER, LINK)
            tasks.create_task(comes())
            await asyncio.sleep(0)
        with pytest.raises(Refused) as refusal:
            doors.check(CALLER, LINK)
        doors.check(CALLER, ELSEWHERE)
        opened.set()

    assert refusal.value.details["rule"] == "join.waiting"
    assert refusal.value.details["retry_after_ms"] > 0
    doors.check(CALLER, LINK)


async def test_given_a_name_in_any_spelling_then_it_is_one_door() -> None:
    doors = Doors(Now())
    await refused_within(doors, Join(username="@Khabar"), "join.verified")

    with pytest.raises(Refused):
        doors.check(CALLER, Join(username="khabar"))

"""Heads of very large channels reach the sessions of a node slot by slot; urgent ones sooner."""

import itertools
from collections import Counter
from typing import Any, cast

import msgspec

from messenger.bus.bus import Bus
from messenger.delivery.audience import Audience
from messenger.delivery.fanout import dirty_update
from messenger.feature import Caller
from messenger.gateway.dirty import SLOTS, DirtyHeads, slot_of
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.log.events import Event
from messenger.wire.codec import JSON

CHAT = ChatId(9)


class Ears:
    """Stands for a session: what the heads need of one, and what it was sent."""

    def __init__(self, account: int) -> None:
        self.caller = Caller(AccountId(account), DeviceId(1), "192.0.2.1")
        self.connection = self
        self.lagging = False
        self.subscriptions: set[str] = set()
        self.codec = JSON
        self.heard: list[bytes] = []

    def send(self, message: bytes) -> None:
        self.heard.append(message)


class SilentBus:
    """Stands for the bus: heads are handed in by the test."""

    def listen(self, topic: str) -> None: ...

    def unlisten(self, topic: str) -> None: ...

    async def listening(self, topic: str) -> None: ...


def head(ev: int) -> bytes:
    return dirty_update(Event(CHAT, ev, 5, ev, 3, 1, 1))


async def watched(count: int, at_once: int) -> tuple[DirtyHeads, list[Ears]]:
    heads = DirtyHeads(cast(Bus, SilentBus()), at_once=at_once)
    sessions = [Ears(account << 12) for account in range(1, count + 1)]
    for session in sessions:
        await heads.watch(cast(Any, session), [CHAT])
    return heads, sessions


async def test_given_a_paced_head_then_each_session_hears_it_once_within_ten_seconds() -> None:
    heads, sessions = await watched(200, at_once=10)

    heads.heard(f"dirty:{CHAT}", Audience.PACED.value + head(3))
    reached = [sum(len(one.heard) for one in sessions)]
    for _ in range(SLOTS[Audience.PACED] - 1):
        heads.tick()
        reached.append(sum(len(one.heard) for one in sessions))

    assert [len(one.heard) for one in sessions] == [1] * 200
    assert max(b - a for a, b in itertools.pairwise(reached)) <= 25
    assert reached[0] < 25


async def test_given_an_urgent_head_then_it_is_spread_over_four_ticks() -> None:
    heads, sessions = await watched(200, at_once=10)

    heads.heard(f"dirty:{CHAT}", Audience.URGENT.value + head(3))
    for _ in range(3):
        heads.tick()

    assert [len(one.heard) for one in sessions] == [1] * 200


async def test_given_few_sessions_then_a_paced_head_comes_at_once() -> None:
    heads, sessions = await watched(5, at_once=10)

    heads.heard(f"dirty:{CHAT}", Audience.PACED.value + head(3))

    assert [len(one.heard) for one in sessions] == [1] * 5
    pushed = msgspec.json.decode(sessions[0].heard[0])["push"]["pub"]["data"]
    assert (pushed["t"], pushed["ev"]) == ("chat.dirty", 3)


async def test_given_a_newer_head_while_slots_are_told_then_it_waits_for_its_own_round() -> None:
    heads, sessions = await watched(50, at_once=10)
    heads.heard(f"dirty:{CHAT}", Audience.URGENT.value + head(3))

    heads.heard(f"dirty:{CHAT}", Audience.URGENT.value + head(4))
    for _ in range(3):
        heads.tick()

    assert all(len(one.heard) == 1 for one in sessions)


async def test_given_who_has_the_chat_open_or_lags_then_they_get_no_head() -> None:
    heads, (looking, lagging, other) = await watched(3, at_once=1)
    looking.subscriptions.add(f"chat:{CHAT}")
    lagging.lagging = True

    heads.heard(f"dirty:{CHAT}", Audience.PACED.value + head(3))
    for _ in range(SLOTS[Audience.PACED]):
        heads.tick()

    assert [len(one.heard) for one in (looking, lagging, other)] == [0, 0, 1]


def test_given_ids_as_they_are_minted_then_slots_are_of_about_one_size() -> None:
    sizes = Counter(slot_of(number << 22 | 7 << 12, 20) for number in range(20_000))

    assert set(sizes) == set(range(20))
    assert max(sizes.values()) < 1.1 * 1_000

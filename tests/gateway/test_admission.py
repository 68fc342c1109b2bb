"""How many may come in: the governor's arithmetic, and what those hear who may not."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as some
from websockets.exceptions import InvalidStatus

from messenger.delivery.shedding import Load
from messenger.gateway import admission
from messenger.gateway.admission import BURST_LEAST, LATE_S, LEAST, Admission, retry_after_s
from messenger.gateway.entrance import SLICE, WAIT_S, Entrance
from messenger.gateway.handshake import PATH
from messenger.settings import LimitRule, Settings
from tests.gateway.generic import generic_node, token
from tests.gateway.test_connection import KEY, UPGRADE, Raw
from tests.support.line import joined, opened
from tests.support.platform import Platform

QUIET, LATE = Load(0.0, 0.0, 0.0), Load(LATE_S * 2, 0.0, 0.0)


def taken(door: Admission, now: float, most: int = 100_000) -> int:
    """How many come in at once."""
    count = 0
    while count < most and door.take(now):
        count += 1
    return count


def test_given_a_quiet_node_when_many_come_then_the_burst_and_then_the_rate() -> None:
    door = Admission(rate=3_000, burst=6_000, now=0.0)
    assert taken(door, 0.0) == 6_000
    assert taken(door, 0.5) == 1_500
    assert taken(door, 100.0) == 6_000


def test_given_a_late_loop_when_sampled_then_few_come_in_and_never_nobody() -> None:
    door = Admission(rate=3_000, burst=6_000, now=0.0)
    for _ in range(20):
        door.observe(LATE)
    assert taken(door, 0.0) == 600
    assert taken(door, 1.0) == 3_000 * LEAST


@pytest.mark.parametrize("load", [Load(0.0, 0.6, 0.0), Load(0.0, 0.0, 0.6)])
def test_given_stores_that_lag_when_sampled_then_the_door_closes_halfway(load: Load) -> None:
    door = Admission(rate=3_000, burst=6_000, now=0.0)
    door.observe(load)
    assert door.share == 0.5


def test_given_a_late_loop_when_it_is_well_again_then_the_rate_grows_back_in_2_s() -> None:
    door = Admission(rate=3_000, burst=100, now=0.0)
    for _ in range(20):
        door.observe(LATE)
    for _ in range(20):
        door.observe(QUIET)
    assert door.share == 1.0


@given(
    some.lists(some.tuples(some.floats(0, 2), some.booleans(), some.integers(0, 5_000))),
    some.floats(1, 5_000),
    some.integers(1, 6_000),
)
def test_given_any_crowd_when_it_knocks_then_never_more_than_burst_and_rate_come_in(
    samples: list[tuple[float, bool, int]], rate: float, burst: int
) -> None:
    door, now, inside = Admission(rate, burst, 0.0), 0.0, 0
    for passed, late, knocking in samples:
        now += passed
        door.observe(LATE if late else QUIET)
        came = taken(door, now, knocking)
        inside += came
        assert LEAST <= door.share <= 1
        assert came <= max(burst * door.share, min(BURST_LEAST, burst)) + 1e-6
        assert inside <= burst + now * rate + 1e-6


def test_given_chance_when_told_to_retry_then_whole_seconds_between_1_and_5() -> None:
    dice = random.Random(7)  # noqa: S311 - a test
    told = {retry_after_s(dice.random()) for _ in range(200)}
    assert told == {1, 2, 3, 4, 5}


async def knocking(node: Platform, count: int) -> list[Raw]:
    """Sockets whose requests to upgrade are all there in one turn of the loop."""
    crowd = [
        Raw(*await asyncio.open_connection("127.0.0.1", node.settings.port)) for _ in range(count)
    ]
    for raw in crowd:
        raw.writer.write(UPGRADE.format(path=PATH, key=KEY, more="").encode())
    return crowd


async def test_given_a_crowd_when_it_comes_in_then_a_slice_a_turn_and_connects_first() -> None:
    entrance = Entrance(asyncio.get_running_loop())
    came: list[str] = []
    turns: list[int] = []

    async def connects() -> None:
        await entrance.connect()
        came.append("connect")

    for _ in range(3 * SLICE):
        entrance.handshake(lambda: came.append("handshake"))
    waiting = [asyncio.ensure_future(connects()) for _ in range(SLICE)]
    assert len(came) == SLICE  # this turn has no room for more
    while len(came) < 4 * SLICE:
        before = len(came)
        await asyncio.sleep(0)
        turns.append(len(came) - before)

    assert max(turns) <= 2 * SLICE  # connects released in one turn run in the next
    kinds = [came[at] for at in range(0, 4 * SLICE, SLICE)]
    assert kinds == ["handshake", "handshake", "connect", "handshake"]
    await asyncio.gather(*waiting)


async def test_given_one_who_gave_up_when_their_turn_comes_then_it_goes_to_the_next() -> None:
    entrance = Entrance(asyncio.get_running_loop())
    for _ in range(SLICE):
        entrance.handshake(lambda: None)
    gone, here = (asyncio.ensure_future(entrance.connect()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait_for(here, 5)


async def test_given_the_oldest_waits_too_long_when_asked_then_the_entrance_is_full() -> None:
    class Loop:
        now = 0.0

        def time(self) -> float:
            return self.now

        def call_soon(self, _call: object) -> None:
            """The next turn never comes."""

    loop = Loop()
    entrance = Entrance(loop)  # type: ignore[arg-type]  # its clock and its turns
    for _ in range(SLICE + 1):
        entrance.handshake(lambda: None)
    assert not entrance.full
    loop.now = WAIT_S + 0.1
    assert entrance.full


async def test_given_a_queued_handshake_that_fails_when_its_turn_comes_then_others_come_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entrance = Entrance(asyncio.get_running_loop())
    after = asyncio.Event()
    for _ in range(SLICE):
        entrance.handshake(lambda: None)
    entrance.handshake(lambda: [].pop())
    entrance.handshake(after.set)

    await asyncio.wait_for(after.wait(), 5)
    await asyncio.wait_for(entrance.connect(), 5)
    assert [record.message for record in caplog.records] == ["handshake failed"]


async def test_given_one_address_that_knocks_all_the_time_when_another_comes_then_it_gets_in(
    settings: Settings,
) -> None:
    async with generic_node(
        settings,
        trusted_proxies=("127.0.0.0/8",),
        limits={**settings.limits, "api.conn": LimitRule(burst=2, per_s=0.001)},
        upgrade_rate=0.001,
        upgrade_burst=3,
    ) as node:

        async def knocks(address: str, path: str = "") -> int:
            raw = Raw(*await asyncio.open_connection("127.0.0.1", node.settings.port))
            more = f"X-Forwarded-For: {address}\r\n"
            raw.writer.write(UPGRADE.format(path=PATH + path, key=KEY, more=more).encode())
            status = (await raw.head()).split(" ")[1]
            raw.close()
            return int(status)

        assert [await knocks("203.0.113.1", "/x") for _ in range(5)] == [404] * 5
        assert [await knocks("203.0.113.1") for _ in range(5)] == [101, 101, 503, 503, 503]
        assert await knocks("203.0.113.2") == 101
        refused = node.node.metrics.upgrades_refused
        assert (refused.labels("address").value, refused.labels("rate").value) == (3, 0)


async def test_given_a_nearly_full_node_when_a_crowd_comes_at_once_then_only_who_fits_gets_in(
    settings: Settings,
) -> None:
    async with generic_node(settings, max_sessions=SLICE + 2) as node:
        crowd = await knocking(node, 40)
        answers = [await raw.head() for raw in crowd]
        assert sum(" 101 " in answer for answer in answers) == SLICE + 2
        assert node.node.gateway.sessions == SLICE + 2
        for raw in crowd:
            raw.close()


async def test_given_some_who_wait_at_the_door_when_the_node_begins_to_drain_then_503(
    node: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = node.node.gateway
    crowd = await knocking(node, SLICE + 2)
    while not gateway.entrance.waiting:  # noqa: ASYNC110 - a count, not an event
        await asyncio.sleep(0)
    with monkeypatch.context() as patch:
        patch.setattr(gateway, "draining", True)
        answers = [await raw.head() for raw in crowd]
    assert [answer.split(" ")[1] for answer in answers] == ["101"] * SLICE + ["503"] * 2
    assert "Retry-After" in answers[-1]
    for raw in crowd:
        raw.close()


async def test_given_no_room_when_a_socket_comes_then_503_with_a_time_to_come_back(
    settings: Settings,
) -> None:
    async with generic_node(settings, upgrade_rate=0.001, upgrade_burst=1) as node:
        async with joined(node.ws_url, token()):
            with pytest.raises(InvalidStatus) as refused:
                async with opened(node.ws_url):
                    pass
            answer = refused.value.response
            assert answer.status_code == 503
            assert answer.body == b"not now: rate\n"
            assert 1 <= int(answer.headers["Retry-After"]) <= 5
        refusals = node.node.metrics.upgrades_refused.labels("rate").value
    assert refusals == 1


async def test_given_a_draining_or_full_node_when_a_socket_comes_then_it_says_which(
    settings: Settings,
) -> None:
    async with (
        generic_node(settings, max_sessions=1) as node,
        joined(node.ws_url, token()),
    ):
        with pytest.raises(InvalidStatus) as full:
            async with opened(node.ws_url):
                pass
        node.node.gateway.draining = True
        with pytest.raises(InvalidStatus) as draining:
            async with opened(node.ws_url):
                pass
    assert full.value.response.body == b"not now: full\n"
    assert draining.value.response.body == b"not now: draining\n"


async def test_given_too_many_who_connect_when_one_more_does_then_111_and_it_may_try_again(
    node: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(node.ws_url) as line:
        with monkeypatch.context() as patch:
            patch.setattr(admission, "CONNECTS_MOST", 0)
            reply = await line.says(connect={"token": token()})
        assert (reply["error"]["code"], reply["error"]["temporary"]) == (111, True)
        assert "connect" in await line.says(connect={"token": token()})


async def test_given_a_storm_when_hundreds_come_at_once_then_all_get_in(node: Platform) -> None:
    async def comes(number: int) -> None:
        async with joined(node.ws_url, token(f"u{number}")):
            pass

    async with asyncio.TaskGroup() as tasks:
        for number in range(300):
            tasks.create_task(comes(number))
    assert node.node.gateway.admission.connecting == 0

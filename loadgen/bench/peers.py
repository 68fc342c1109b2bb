"""`peyk bench --peers`: the same work on Peyk and on servers of others, side by side.

**direct**: pairs, 16 in flight each, the credit returns with the message. **room**: one writes, all
hear, 4 posts in flight. Peyk stores every message, with `fsync`, before anybody hears of it; NATS
and mosquitto (QoS 0) store nothing. Rounds alternate; what counts is the median of their ratios.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from statistics import median

import msgspec

from loadgen.bench.driver import LoadError
from loadgen.bench.fanout import measure as measure_room
from loadgen.bench.marks import Order, mark_of, text_of
from loadgen.bench.pairs import judged, paired
from loadgen.bench.peer_servers import Peer, installed, peer
from loadgen.bench.peer_wires import Wire
from loadgen.bench.procstat import Cost, Processes
from loadgen.bench.room import judge as judge_room
from loadgen.bench.room import opened
from loadgen.bench.row import Row, per_unit
from loadgen.bench.stage import Stage, seed_accounts, window

DIRECT, ROOM = "direct", "room"
IN_FLIGHT, W = 16, 4
CONNECT_S = 20.0
AT_ONCE = 50
SETTLE_S = 10.0
SPREAD = 0.15
PEYK = "peyk"

Measured = tuple[int, Cost]
Measure = Callable[[], Awaitable[Measured]]


class Crowd:
    """Connections to a peer, and what became of each numbered message."""

    def __init__(self, stage: Stage, to: Peer, streams: int, readers: int, in_flight: int) -> None:
        """`streams` of messages, each heard by `readers` who are numbered through."""
        self._stage = msgspec.structs.replace(stage, processes=Processes(to.pid))
        self._to = to
        self._readers = readers
        self._in_flight = in_flight
        self._topics = [b"load.%d" % stream for stream in range(streams)]
        self._senders: list[Wire] = []
        self._all: list[Wire] = []
        self.sent = [0] * streams
        self.order = Order(streams * readers)
        self.arrived = 0
        self._got: list[dict[int, int]] = [{} for _ in range(streams)]
        self._running = False

    async def connect(self) -> None:
        topics = [topic.decode() for topic in self._topics for _ in range(self._readers)]
        await self._open(list(enumerate(topics)))
        self._senders = await self._open([(-1, "")] * len(self._topics))

    async def measure(self) -> Measured:
        self._running = True
        for stream in range(len(self._topics)):
            for _ in range(self._in_flight):
                self._send(stream)
        measured = await window(self._stage, lambda: self.arrived)
        self._running = False
        deadline = time.monotonic() + SETTLE_S
        wanted = sum(self.sent) * self._readers
        while self.arrived < wanted and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks
            await asyncio.sleep(0.02)
        return measured

    def judge(self, row: Row) -> None:
        each = [self.sent[tag // self._readers] for tag in range(len(self.sent) * self._readers)]
        row.more["peer_lost"] = sum(self.order.missing(tag, sent) for tag, sent in enumerate(each))
        row.more["peer_reordered"] = self.order.reordered

    def close(self) -> None:
        for wire in self._all:
            if wire.transport is not None:
                wire.transport.abort()

    async def _open(self, wanted: Sequence[tuple[int, str]]) -> list[Wire]:
        made: list[Wire] = []
        waiting = iter(wanted)
        loop = asyncio.get_running_loop()

        async def worker() -> None:
            for tag, topic in waiting:
                kind = self._to.kind.wire
                wire = kind(self._heard, tag, topic)
                self._all.append(wire)
                await loop.create_connection(lambda wire=wire: wire, "127.0.0.1", self._to.port)  # type: ignore[misc]  # the default binds it
                async with asyncio.timeout(CONNECT_S):
                    await wire.ready
                made.append(wire)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(worker())
        return made

    def _send(self, stream: int) -> None:
        number = self.sent[stream]
        self.sent[stream] = number + 1
        self._got[stream][number] = 0
        self._senders[stream].publish(self._topics[stream], text_of(number).encode())

    def _heard(self, tag: int, body: bytes) -> None:
        number, stream = mark_of(body), tag // self._readers
        if not self.order.seen(tag, number):
            return
        self.arrived += 1
        got = self._got[stream]
        got[number] += 1
        if got[number] == self._readers:
            del got[number]
            if self._running:
                self._send(stream)


async def compare(stage: Stage) -> list[Row]:
    """A row for each peer and each kind of work; Peyk's own figures are beside them."""
    names, skipped = installed()
    if not names:
        raise LoadError(f"none is installed of: {', '.join(skipped)}")
    rows = []
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(peer(name)) for name in names]
        rows += await _direct(stage, peers)
        rows += await _room(stage, peers)
    for row in rows:
        row.more["skipped"] = skipped
    return rows


async def _direct(stage: Stage, peers: Sequence[Peer]) -> list[Row]:
    pairs = await paired(stage, await seed_accounts(stage, 2 * stage.scale.pairs))

    async def own() -> Measured:
        pairs.closed_loop = True
        for pair in range(len(pairs.chats)):
            for _ in range(IN_FLIGHT):
                pairs.send(pair, time.monotonic())
        measured = await window(stage, lambda: pairs.arrived)
        pairs.closed_loop = False
        await pairs.wait_settled()
        return measured

    crowds = {one.name: Crowd(stage, one, stage.scale.pairs, 1, IN_FLIGHT) for one in peers}
    rows = await _rounds(stage, DIRECT, own, crowds)
    for row in rows:
        await judged(stage, pairs, row)
    await stage.driver.close()
    return rows


async def _room(stage: Stage, peers: Sequence[Peer]) -> list[Row]:
    readers = stage.scale.readers
    room = await opened(stage, Row(name=ROOM), readers)
    crowds = {one.name: Crowd(stage, one, 1, readers, W) for one in peers}
    rows = await _rounds(stage, ROOM, lambda: measure_room(stage, room, W), crowds)
    for row in rows:
        await judge_room(stage, room, row)
    await stage.driver.close()
    return rows


async def _rounds(stage: Stage, work: str, own: Measure, crowds: dict[str, Crowd]) -> list[Row]:
    """Peyk and each peer in turn, again and again."""
    rows = {name: Row(name=f"{name}_{work}") for name in crowds}
    costs: dict[str, list[float]] = {name: [] for name in (PEYK, *crowds)}
    last: dict[str, Measured] = {}
    for crowd in crowds.values():
        await crowd.connect()
    for _ in range(stage.scale.peer_rounds):
        units, cost = await own()
        costs[PEYK].append(per_unit(cost, units)[0])
        for name, crowd in crowds.items():
            rows[name].doubt(cost)
            last[name] = await crowd.measure()
            rows[name].doubt(last[name][1])
            costs[name].append(per_unit(last[name][1], last[name][0])[0])
    for name, crowd in crowds.items():
        units, cost = last[name]
        rows[name].charge(cost, units)
        crowd.judge(rows[name])
        crowd.close()
        _conclude(rows[name], costs[PEYK], costs[name])
    return list(rows.values())


def _conclude(row: Row, ours: Sequence[float], theirs: Sequence[float]) -> None:
    """The row's own figures are the peer's."""
    ratios = [round(our / max(their, 1e-9), 3) for our, their in zip(ours, theirs, strict=True)]
    middle = median(ratios)
    spread = (max(ratios) - min(ratios)) / middle if middle else 0.0
    row.cpu_us = median(theirs)
    row.cpu_us_by = None
    row.more |= {"peyk_cpu_us": median(ours), "peyk_by_peer": round(middle, 3)}
    row.more |= {"ratios": ratios, "spread": round(spread, 3)}
    if spread > SPREAD:
        row.invalid(f"the ratios differ by {100 * spread:.0f} %")

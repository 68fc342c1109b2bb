"""`fanout_1k`, `fanout_10k`: a durable post to a chat that so many people have open on screen.

A post is complete when all have it; `W` posts are in flight. A unit is one delivery.
"""

import asyncio
import time
from array import array

from loadgen.bench.beside import beside
from loadgen.bench.driver import LoadError, Session
from loadgen.bench.groups import group
from loadgen.bench.marks import Order, SendFrame, mark_of
from loadgen.bench.procstat import Cost
from loadgen.bench.row import Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, fresh_random_id, seed_accounts, stored, window

W = 4
BESIDE_PAIRS, BESIDE_PER_S = 20, 200.0
OWN_COPY = b'{"push":{"channel":"user:'
SUBSCRIBE_TIMEOUT_S = 60.0
OPEN_AT_ONCE = 20
RETRY_S = 0.5
DRAIN_S = 10.0


class Room:
    """One writer (tag 0), everybody reads."""

    def __init__(self, chat: str, readers: int, first_random_id: int) -> None:
        self.readers = readers
        self.writer: Session | None = None
        self.sent = 0
        self.acked = 0
        self.arrived = 0
        self.refused = b""
        self.running = False
        self.subscribed = 0
        self.waiting: list[Session] = []
        """Not asked for the chat yet."""
        self.retried = 0
        """Subscriptions that were put off for the moment and asked for again, as SDKs do."""
        self.subscription = b'{"id":2,"subscribe":{"channel":"chat:%b"}}' % chat.encode()
        self.order = Order(readers)
        self.waits = array("d")
        self._frame = SendFrame(chat)
        self._random_id = first_random_id
        self._got: dict[int, int] = {}
        self._posted_at: dict[int, float] = {}

    def post(self) -> None:
        if self.writer is None:
            raise AssertionError("no writer")
        number, self.sent = self.sent, self.sent + 1
        self._random_id += 1
        self._got[number] = 0
        self._posted_at[number] = time.monotonic()
        self.writer.send(self._frame.of(number + 100, self._random_id, number))

    def heard(self, session: Session, data: bytes) -> None:
        number = mark_of(data)
        if number < 0:
            self._other(session, data)
        elif data.startswith(OWN_COPY):
            return  # the writer's account hears of its own post on `user:` too
        elif self.order.seen(session.tag, number):
            self.arrived += 1
            got = self._got[number] = self._got[number] + 1
            if got == self.readers:
                self._complete(number)

    @property
    def settled(self) -> bool:
        return self.arrived == self.sent * self.readers and self.acked == self.sent

    def open_next(self) -> None:
        """One more subscribes."""
        if self.waiting:
            self.waiting.pop().send(self.subscription)

    def forget_waits(self) -> None:
        self.waits = array("d")

    def _complete(self, number: int) -> None:
        self.waits.append(time.monotonic() - self._posted_at.pop(number))
        del self._got[number]
        if self.running:
            self.post()

    def _other(self, session: Session, data: bytes) -> None:
        if data.startswith(b'{"id":2,"error"') and b'"temporary":true' in data:
            self.retried += 1
            again = asyncio.get_running_loop().call_later
            again(RETRY_S, session.send, self.subscription)
        elif b'"error"' in data:
            self.refused = self.refused or data
        elif b'"subscribe":' in data[:30]:
            self.subscribed += 1
            self.open_next()
        elif data.startswith(b'{"id":'):
            self.acked += 1


async def run_1k(stage: Stage) -> Row:
    row = Row(name="fanout_1k")
    room, chat = await _opened(stage, row, stage.scale.readers)
    await _both(stage, room, row)
    await _judge(stage, room, row, chat)
    await stage.driver.close()
    return row


async def run_10k(stage: Stage) -> Row:
    """The same with 10,000; then once more at W posts in flight beside direct messages, which a
    process of its own sends and measures."""
    row = Row(name="fanout_10k")
    room, chat = await _opened(stage, row, stage.scale.many_readers)
    await _both(stage, room, row)
    async with beside(stage, BESIDE_PAIRS, BESIDE_PER_S) as direct:
        await asyncio.sleep(stage.scale.warm_up_s)
        await direct.window()
        units, cost = await _measure(stage, room, W)
        await _judge(stage, room, row, chat)
        heard = await direct.end(stage, row)
    row.doubt(cost)
    row.more["beside_cpu_us"] = per_unit(cost, units)[0]
    row.more |= {"direct_per_s": BESIDE_PER_S, "direct_p50_ms": heard.p50_ms}
    row.more |= {"direct_p99_ms": heard.p99_ms, "direct_worst_ms": heard.worst_ms}
    row.more["direct_lateness_p99_ms"] = heard.lateness_p99_ms
    await stage.driver.close()
    return row


async def _opened(stage: Stage, row: Row, readers: int) -> tuple[Room, str]:
    """A group of new accounts, all with the chat on screen; the first of them writes."""
    accounts = await seed_accounts(stage, readers)
    chat = await group(stage, accounts[0], accounts[1:])
    room = Room(chat, readers, first_random_id=fresh_random_id())
    await stage.driver.connect_all([stage.token(n) for n in accounts], room.heard)
    room.writer = stage.driver.sessions[0]
    await _open_chat(stage, room)
    row.more |= {"readers": readers, "in_flight": W, "unit": "delivery"}
    row.more["subscribe_retries"] = room.retried
    return room, chat


async def _both(stage: Stage, room: Room, row: Row) -> None:
    """With one post in flight, then with W."""
    units, cost = await _measure(stage, room, 1)
    row.doubt(cost)
    row.cpu_us_w1 = per_unit(cost, units)[0]
    row.more["w1_rate_per_s"] = round(units / cost.seconds, 1)
    row.more["w1_p50_ms"] = percentile_ms(room.waits, 0.5)
    row.more["w1_p99_ms"] = percentile_ms(room.waits, 0.99)
    units, cost = await _measure(stage, room, W)
    row.charge(cost, units)
    row.p50_ms, row.p99_ms = percentile_ms(room.waits, 0.5), percentile_ms(room.waits, 0.99)


async def _open_chat(stage: Stage, room: Room) -> None:
    """All subscribe, some at a time: ten thousand at once is another benchmark's question."""
    room.waiting = list(stage.driver.sessions)
    for _ in range(OPEN_AT_ONCE):
        room.open_next()
    async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
        while room.subscribed < room.readers:
            if room.refused:
                raise LoadError(room.refused[:200].decode(errors="replace"))
            await asyncio.sleep(0.02)


async def _measure(stage: Stage, room: Room, in_flight: int) -> tuple[int, Cost]:
    """Deliveries and their cost; the samples are left in the room."""
    room.running = True
    for _ in range(in_flight):
        room.post()
    measured = await window(stage, lambda: room.arrived, room.forget_waits)
    room.running = False
    deadline = time.monotonic() + DRAIN_S
    while not room.settled and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks count
        await asyncio.sleep(0.02)
    if room.refused:
        raise LoadError(room.refused[:200].decode(errors="replace"))
    return measured


async def _judge(stage: Stage, room: Room, row: Row, chat: str) -> None:
    held = (await stored(stage, [chat]))[chat]
    row.lost = sum(room.order.missing(reader, room.sent) for reader in range(room.readers))
    row.lost += max(0, room.sent - len(set(held)))
    row.duplicated = room.order.duplicated + len(held) - len(set(held))
    row.reordered = room.order.reordered + int(held != sorted(held))

"""`fanout_1k`: a durable post to a chat that a thousand people have open on screen.

A post is complete when all have it; `W` posts are in flight. A unit is one delivery.
"""

import asyncio
import time
from array import array

from loadgen.bench.driver import LoadError, Session
from loadgen.bench.marks import Order, SendFrame, mark_of
from loadgen.bench.row import Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, account_id, fresh_random_id, seed_accounts, stored, window
from messenger.client.errors import Json
from messenger.client.http import call

ADD_AT_ONCE = 100
W = 4
OWN_COPY = b'{"push":{"channel":"user:'
SUBSCRIBE_TIMEOUT_S = 30.0
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
            if self.retried <= self.readers:
                session.send(self.subscription)
        elif b'"error"' in data:
            self.refused = self.refused or data
        elif b'"subscribe":' in data[:30]:
            self.subscribed += 1
        elif data.startswith(b'{"id":'):
            self.acked += 1


async def run_1k(stage: Stage) -> Row:
    return await run(stage, "fanout_1k", stage.scale.readers)


async def run(stage: Stage, name: str, readers: int) -> Row:
    await seed_accounts(stage, readers)
    chat = await _create(stage, readers)
    room = Room(chat, readers, first_random_id=fresh_random_id())
    await stage.driver.connect_all([stage.token(n) for n in range(readers)], room.heard)
    room.writer = stage.driver.sessions[0]
    await _open_chat(stage, room)
    row = Row(name=name, more={"readers": readers, "in_flight": W, "unit": "delivery"})
    row.more["subscribe_retries"] = room.retried
    row.cpu_us_w1 = await _measure(stage, room, row, 1)
    row.more["w1_p50_ms"], row.more["w1_p99_ms"] = row.p50_ms, row.p99_ms
    row.more["w1_rate_per_s"] = row.rate_per_s
    await _measure(stage, room, row, W)
    await _judge(stage, room, row, chat)
    await stage.driver.close()
    return row


async def _create(stage: Stage, readers: int) -> str:
    """A group of all seeded accounts; account 0 owns it."""
    token, url = stage.token(0), stage.platform.url
    others = [str(account_id(n)) for n in range(1, readers)]
    request: Json = {"kind": "group", "title": "fan-out", "members": others[:ADD_AT_ONCE]}
    random_id = str(fresh_random_id())
    made = await call(url, "chats.create", {**request, "random_id": random_id}, token)
    chat = made["chat"] if isinstance(made["chat"], str) else made["chat"]["id"]
    for start in range(ADD_AT_ONCE, len(others), ADD_AT_ONCE):
        more = {"chat": chat, "accounts": others[start : start + ADD_AT_ONCE]}
        added = await call(url, "chats.add_members", more, token)
        if added.get("skipped"):
            raise LoadError(f"not added: {added['skipped'][:3]}")
    return str(chat)


async def _open_chat(stage: Stage, room: Room) -> None:
    for session in stage.driver.sessions:
        session.send(room.subscription)
    async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
        while room.subscribed < room.readers:
            if room.refused:
                raise LoadError(room.refused[:200].decode(errors="replace"))
            await asyncio.sleep(0.02)


async def _measure(stage: Stage, room: Room, row: Row, in_flight: int) -> float:
    room.running = True
    for _ in range(in_flight):
        room.post()
    units, cost = await window(stage, lambda: room.arrived, room.forget_waits)
    room.running = False
    deadline = time.monotonic() + DRAIN_S
    while not room.settled and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks count
        await asyncio.sleep(0.02)
    if room.refused:
        raise LoadError(room.refused[:200].decode(errors="replace"))
    row.charge(cost, units)
    row.p50_ms, row.p99_ms = percentile_ms(room.waits, 0.5), percentile_ms(room.waits, 0.99)
    return per_unit(cost, units)[0]


async def _judge(stage: Stage, room: Room, row: Row, chat: str) -> None:
    held = (await stored(stage, [chat]))[chat]
    row.lost = sum(room.order.missing(reader, room.sent) for reader in range(room.readers))
    row.lost += max(0, room.sent - len(set(held)))
    row.duplicated = room.order.duplicated + len(held) - len(set(held))
    row.reordered = room.order.reordered + int(held != sorted(held))

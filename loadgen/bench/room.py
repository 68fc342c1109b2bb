"""A group that many have open on screen: one writes, all must see every post, once and in order."""

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable, Sequence

from loadgen.bench.driver import LoadError, Session
from loadgen.bench.groups import group
from loadgen.bench.marks import PADDING, Order, SendFrame, mark_of
from loadgen.bench.row import Row
from loadgen.bench.stage import Stage, fresh_random_id, seed_accounts, stored

OWN_COPY = b'{"push":{"channel":"user:'
SUBSCRIBE_TIMEOUT_S = 120.0
OPEN_AT_ONCE = 20
RETRY_S = 0.5


class Room:
    """One writer (tag 0), everybody reads."""

    def __init__(self, chat: str, readers: int, padding: str = PADDING) -> None:
        self.chat = chat
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
        """From a post until the last reader has it."""
        self.each: array[float] | None = None
        """From a post until a reader has it, for each reader; only where it is asked for."""
        self._frame = SendFrame(chat, padding)
        self._random_id = fresh_random_id()
        self._got: dict[int, int] = {}
        self._posted_at: dict[int, float] = {}

    def post(self, meant_at: float | None = None) -> None:
        if self.writer is None:
            raise AssertionError("no writer")
        number, self.sent = self.sent, self.sent + 1
        self._random_id += 1
        self._got[number] = 0
        self._posted_at[number] = time.monotonic() if meant_at is None else meant_at
        self.writer.send(self._frame.of(number + 100, self._random_id, number))

    def heard(self, session: Session, data: bytes) -> None:
        number = mark_of(data)
        if number < 0:
            self._other(session, data)
        elif data.startswith(OWN_COPY):
            return  # the writer's account hears of its own post on `user:` too
        elif self.order.seen(session.tag, number):
            self.arrived += 1
            if self.each is not None:
                self.each.append(time.monotonic() - self._posted_at[number])
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

    def check_refused(self) -> None:
        if self.refused:
            raise LoadError(self.refused[:200].decode(errors="replace"))

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


Make = Callable[[Stage, int, Sequence[int]], Awaitable[str]]
"""(stage, owner, members) -> a chat of theirs."""


async def opened(
    stage: Stage, row: Row, readers: int, padding: str = PADDING, make: Make = group
) -> Room:
    """A chat of new accounts, all with it on screen; the first of them writes."""
    accounts = await seed_accounts(stage, readers)
    chat = await make(stage, accounts[0], accounts[1:])
    room = Room(chat, readers, padding)
    await seated(stage, row, room, accounts)
    return room


async def seated(stage: Stage, row: Row, room: Room, accounts: Sequence[int]) -> None:
    """All of them connected with the chat on screen."""
    await stage.driver.connect_all([stage.token(n) for n in accounts], room.heard)
    room.writer = stage.driver.sessions[0]
    await _open_chat(stage, room)
    row.more["readers"], row.more["unit"] = room.readers, "delivery"
    row.more["subscribe_retries"] = room.retried


async def _open_chat(stage: Stage, room: Room) -> None:
    """All subscribe, some at a time: ten thousand at once is another benchmark's question."""
    room.waiting = list(stage.driver.sessions)
    for _ in range(OPEN_AT_ONCE):
        room.open_next()
    async with asyncio.timeout(SUBSCRIBE_TIMEOUT_S):
        while room.subscribed < room.readers:
            room.check_refused()
            await asyncio.sleep(0.02)


async def judge(stage: Stage, room: Room, row: Row) -> None:
    """Delivered to every reader and stored must be the same posts."""
    held = (await stored(stage, [room.chat]))[room.chat]
    row.lost = sum(room.order.missing(reader, room.sent) for reader in range(room.readers))
    row.lost += max(0, room.sent - len(set(held)))
    row.duplicated = room.order.duplicated + len(held) - len(set(held))
    row.reordered = room.order.reordered + int(held != sorted(held))

"""Pairs of people who write to each other, and what became of every message.

Hot path: one call per frame, no task and no decoding.
"""

import asyncio
import time
from array import array
from collections.abc import Callable, Sequence

from msgspec import Struct

from loadgen.bench.driver import Driver, LoadError, Session
from loadgen.bench.marks import Order, SendFrame, mark_of, text_of
from loadgen.bench.row import Row
from loadgen.bench.stage import Stage, account_id, fresh_random_id, patient, stored

DRAIN_S = 10.0
AT_ONCE = 16
TICK_S = 0.001


class Outcome(Struct):
    """What became of the messages of all pairs, as the driver saw it."""

    sent: list[int]
    acked: list[int]
    undelivered: int
    duplicated: int
    reordered: int


class Pairs:
    """A sender and a recipient each; a message must be acked, delivered and stored, once each."""

    def __init__(self, chats: Sequence[str]) -> None:
        self.chats = chats
        self.senders: list[Session] = []
        self.sent = array("q", [0] * len(chats))
        self.acked = array("q", [0] * len(chats))
        self.acks = 0
        self.arrived = 0
        self.refused = 0
        self.first_refusal = b""
        self.order = Order(len(chats))
        self.waits = array("d")
        """From the intended send to the recipient's socket."""
        self.ack_waits = array("d")
        self.closed_loop = False
        self._frames = [SendFrame(chat) for chat in chats]
        self._random_id = fresh_random_id()
        self._meant_at: list[dict[int, float]] = [{} for _ in chats]
        self._ack_meant_at: list[dict[int, float]] = [{} for _ in chats]

    def send(self, pair: int, meant_at: float) -> None:
        number = self.sent[pair]
        self.sent[pair] = number + 1
        self._random_id += 1
        self._meant_at[pair][number] = self._ack_meant_at[pair][number] = meant_at
        self.senders[pair].send(self._frames[pair].of(number + 2, self._random_id, number))

    def delivered(self, session: Session, data: bytes) -> None:
        """What a recipient hears; its tag is the pair's number."""
        pair, number = session.tag, mark_of(data)
        if number < 0 or not self.order.seen(pair, number):
            return
        self.arrived += 1
        now = time.monotonic()
        self.waits.append(now - self._meant_at[pair].pop(number, now))
        if self.closed_loop:
            self.send(pair, now)

    def answered(self, session: Session, data: bytes) -> None:
        """What a sender hears. An ack counts once for each request, by its id."""
        if not data.startswith(b'{"id":'):
            return
        pair = session.tag
        meant_at = self._ack_meant_at[pair].pop(int(data[6 : data.find(b",", 6)]) - 2, None)
        if b'"error"' in data:
            self.refused += 1
            self.first_refusal = self.first_refusal or data
        elif meant_at is not None:
            self.acked[pair] += 1
            self.acks += 1
            self.ack_waits.append(time.monotonic() - meant_at)

    def acked_numbers(self, pair: int) -> list[int]:
        open_ones = self._ack_meant_at[pair]
        return [number for number in range(self.sent[pair]) if number not in open_ones]

    def forget_waits(self) -> None:
        """A measured window begins."""
        self.waits, self.ack_waits = array("d"), array("d")

    @property
    def settled(self) -> bool:
        return self.acked == self.sent and self.arrived == sum(self.sent)

    async def wait_settled(self, longest_s: float = DRAIN_S) -> None:
        """Until all is acked and delivered, or that long."""
        deadline = time.monotonic() + longest_s
        while not self.settled and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks count
            await asyncio.sleep(0.02)

    def outcome(self) -> Outcome:
        """Raises LoadError where the server refused any."""
        if self.refused:
            raise LoadError(f"{self.refused} refused: {self.first_refusal[:200]!r}")
        missing = sum(self.order.missing(pair, sent) for pair, sent in enumerate(self.sent))
        order = self.order
        sent, acked = self.sent.tolist(), self.acked.tolist()
        return Outcome(sent, acked, missing, order.duplicated, order.reordered)


def judge(outcome: Outcome, chats: Sequence[str], held: dict[str, list[str]], row: Row) -> None:
    """Add to the row what was not delivered, acked and stored alike; `held`: all texts
    by chat."""
    lost, doubled, swapped = outcome.undelivered, outcome.duplicated, outcome.reordered
    for chat, sent, acked in zip(chats, outcome.sent, outcome.acked, strict=True):
        texts = held[chat]
        distinct = set(texts)
        lost += sum(text_of(number) not in distinct for number in range(sent)) + sent - acked
        doubled += len(texts) - len(distinct)
        swapped += texts != sorted(texts)
    row.lost = (row.lost or 0) + lost
    row.duplicated = (row.duplicated or 0) + doubled
    row.reordered = (row.reordered or 0) + swapped


async def paired(stage: Stage, accounts: Sequence[int], to: Driver | None = None) -> Pairs:
    """The first with the second of `accounts`, ..; connected, recipients to the node of `to`."""
    chats = await open_directs(stage, accounts)
    pairs = Pairs(chats)
    tags = range(len(chats))
    tokens = [stage.token(n) for n in accounts]
    pairs.senders = await stage.driver.connect_all(tokens[::2], pairs.answered, tags=tags)
    await (to or stage.driver).connect_all(tokens[1::2], pairs.delivered, tags=tags)
    return pairs


async def judged(stage: Stage, pairs: Pairs, row: Row) -> None:
    """Compare with what the database holds."""
    judge(pairs.outcome(), pairs.chats, await stored(stage, pairs.chats), row)


async def open_directs(stage: Stage, accounts: Sequence[int]) -> list[str]:
    """Chats of the first with the second of `accounts`, the third with the fourth, .."""
    chats = [""] * (len(accounts) // 2)
    waiting = iter(range(len(chats)))

    async def worker() -> None:
        for pair in waiting:
            sender, recipient = accounts[2 * pair], accounts[2 * pair + 1]
            peer = {"account": str(account_id(recipient))}
            token = stage.token(sender)
            made = await patient(stage, "chats.open_direct", peer, token)
            chat = made["chat"]
            chats[pair] = chat if isinstance(chat, str) else chat["id"]

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())
    return chats


class Clock:
    """Sends by the clock, whatever the server does: an open loop."""

    def __init__(self, pairs: Pairs, rate_per_s: float) -> None:
        self.late = array("d")
        """How long after its time each message left: the driver's own fault."""
        self._pairs = pairs
        self._rate = rate_per_s

    async def run(self, go_on: Callable[[], bool]) -> None:
        """Pair after pair, until told otherwise."""
        start, fired, pairs = time.monotonic(), 0, self._pairs
        while go_on():
            due = int((time.monotonic() - start) * self._rate)
            for number in range(fired, due):
                meant_at = start + number / self._rate
                pairs.send(number % len(pairs.chats), meant_at)
                self.late.append(time.monotonic() - meant_at)
            fired = due
            await asyncio.sleep(TICK_S)

    async def run_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        await self.run(lambda: time.monotonic() < until)

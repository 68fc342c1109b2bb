"""`direct_durable`: a direct message from socket to commit to socket.

200 people in 100 pairs, 16 in flight a pair; the credit returns when the recipient has the
message. Then the same at half of that rate in an open loop, latency from the intended time.
"""

import asyncio
import time
from array import array
from collections.abc import Sequence

from loadgen.bench.driver import LoadError, Session
from loadgen.bench.marks import Order, SendFrame, mark_of, text_of
from loadgen.bench.procstat import between
from loadgen.bench.row import LATENESS_MS, Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import (
    Stage,
    account_id,
    fresh_random_id,
    seed_accounts,
    stored,
    window,
)
from messenger.client.http import call

IN_FLIGHT = 16
DRAIN_S = 10.0
AT_ONCE = 16


class Pairs:
    """Senders (even tags) and recipients (odd tags), and what became of each message."""

    def __init__(self, chats: list[str], before: dict[str, int], first_random_id: int) -> None:
        self.frames = [SendFrame(chat) for chat in chats]
        self.chats = chats
        self.before = before
        """Messages that were in the chats already."""
        self.sessions: list[Session] = []
        self.sent = array("q", [0] * len(chats))
        self.acked = array("q", [0] * len(chats))
        self.arrived = 0
        self.refused = 0
        self.first_refusal = b""
        self.order = Order(len(chats))
        self.waits = array("d")
        self.closed_loop = True
        self._random_id = first_random_id
        self._meant_at: list[dict[int, float]] = [{} for _ in chats]

    def send(self, pair: int, meant_at: float) -> None:
        number = self.sent[pair]
        self.sent[pair] = number + 1
        self._random_id += 1
        self._meant_at[pair][number] = meant_at
        frame = self.frames[pair].of(number + 2, self._random_id, number)
        self.sessions[2 * pair].send(frame)

    def heard(self, session: Session, data: bytes) -> None:
        pair, recipient = divmod(session.tag, 2)
        if not recipient:
            self._answered(pair, data)
            return
        number = mark_of(data)
        if number < 0 or not self.order.seen(pair, number):
            return
        self.arrived += 1
        now = time.monotonic()
        self.waits.append(now - self._meant_at[pair].pop(number, now))
        if self.closed_loop:
            self.send(pair, now)

    @property
    def settled(self) -> bool:
        return self.acked == self.sent and self.arrived == sum(self.sent)

    @property
    def missing(self) -> int:
        return sum(self.order.missing(pair, sent) for pair, sent in enumerate(self.sent))

    def _answered(self, pair: int, data: bytes) -> None:
        if b'"error"' in data:
            self.refused += 1
            self.first_refusal = self.first_refusal or data
        elif data.startswith(b'{"id":'):
            self.acked[pair] += 1


async def run(stage: Stage) -> Row:
    count = stage.scale.pairs
    await seed_accounts(stage, 2 * count)
    chats = await open_directs(stage, count)
    before = {chat: len(texts) for chat, texts in (await stored(stage, chats)).items()}
    pairs = Pairs(chats, before, fresh_random_id())
    tokens = [stage.token(n) for n in range(2 * count)]
    await stage.driver.connect_all(tokens, pairs.heard)
    pairs.sessions = stage.driver.sessions
    row = Row(name="direct_durable", more={"pairs": count, "in_flight": IN_FLIGHT})
    await _closed(stage, pairs, row)
    await _open(stage, pairs, row)
    await _judge(stage, pairs, row)
    await stage.driver.close()
    return row


async def open_directs(stage: Stage, pairs: int) -> list[str]:
    """Chats of the seeded accounts 0-1, 2-3, .."""
    chats = [""] * pairs
    waiting = iter(range(pairs))

    async def worker() -> None:
        for pair in waiting:
            peer = {"account": str(account_id(2 * pair + 1))}
            token = stage.token(2 * pair)
            made = await call(stage.platform.url, "chats.open_direct", peer, token)
            chat = made["chat"]
            chats[pair] = chat if isinstance(chat, str) else chat["id"]

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())
    return chats


async def _closed(stage: Stage, pairs: Pairs, row: Row) -> None:
    for pair in range(len(pairs.chats)):
        for _ in range(IN_FLIGHT):
            pairs.send(pair, time.monotonic())
    units, cost = await window(stage, lambda: pairs.arrived)
    row.charge(cost, units)
    row.more["peak_p50_ms"] = percentile_ms(pairs.waits, 0.5)
    row.more["peak_p99_ms"] = percentile_ms(pairs.waits, 0.99)
    pairs.closed_loop = False
    await _drained(pairs)


async def _open(stage: Stage, pairs: Pairs, row: Row) -> None:
    """Half the peak, fired by the clock whatever the server does."""
    rate = max(1.0, (row.rate_per_s or 0.0) / 2)
    late = array("d")
    before, arrived = stage.processes.read(), pairs.arrived
    start, warm_up_s = time.monotonic(), stage.scale.warm_up_s
    fired = 0
    while (elapsed := time.monotonic() - start) < stage.scale.open_s + warm_up_s:
        if elapsed >= warm_up_s and not late:
            pairs.waits = array("d")
            before, arrived = stage.processes.read(), pairs.arrived
        due = int(elapsed * rate)
        for number in range(fired, due):
            meant_at = start + number / rate
            pairs.send(number % len(pairs.chats), meant_at)
            if elapsed >= warm_up_s:
                late.append(time.monotonic() - meant_at)
        fired = due
        await asyncio.sleep(0.001)
    cost = between(before, stage.processes.read())
    _note_open(row, pairs, per_unit(cost, pairs.arrived - arrived)[0], rate, late)
    row.doubt(cost)
    await _drained(pairs)


def _note_open(row: Row, pairs: Pairs, cpu_us: float, rate: float, late: Sequence[float]) -> None:
    row.p50_ms, row.p99_ms = percentile_ms(pairs.waits, 0.5), percentile_ms(pairs.waits, 0.99)
    lateness = percentile_ms(late, 0.99) or 0.0
    row.more |= {"half_rate_per_s": round(rate), "half_cpu_us": cpu_us}
    row.more["half_lateness_p99_ms"] = lateness
    if lateness > LATENESS_MS:
        row.invalid(f"the driver was {lateness:.1f} ms late (p99) in the open loop")


async def _drained(pairs: Pairs) -> None:
    deadline = time.monotonic() + DRAIN_S
    while not pairs.settled and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks count
        await asyncio.sleep(0.02)


async def _judge(stage: Stage, pairs: Pairs, row: Row) -> None:
    """Delivered, acked and stored must be the same messages."""
    if pairs.refused:
        raise LoadError(f"{pairs.refused} refused: {pairs.first_refusal[:200]!r}")
    held = await stored(stage, pairs.chats, pairs.before)
    row.lost, row.duplicated = pairs.missing, pairs.order.duplicated
    row.reordered = pairs.order.reordered
    for pair, chat in enumerate(pairs.chats):
        meant = [text_of(number) for number in range(pairs.sent[pair])]
        row.lost += len(set(meant) - set(held[chat]))
        row.duplicated += len(held[chat]) - len(set(held[chat]))
        row.reordered += held[chat] != sorted(held[chat])
        row.lost += max(0, pairs.sent[pair] - pairs.acked[pair])

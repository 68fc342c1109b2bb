"""`channel_views`: readers scroll, on two devices, repeating themselves; every view is checked.

Each reader's ranges begin where the last one ended, so the truth is a number: a post was seen by
those who came at least so far. A unit is a range that was answered, thus durable.
"""

import asyncio
import random
import time
from array import array

from sqlalchemy import text

from loadgen.bench.channel import channel, posted
from loadgen.bench.driver import Session, rpc
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, seed_accounts, window

STEP = 12
"""Posts of one viewport at the most."""
AGAIN = 0.2
"""So often a reader tells the same again, from either device."""
DRAIN_S = 10.0
VIEWS = (
    "select v.seq, sum(v.d) over (order by v.seq) from channel_view v where v.chat_id = :chat"
    " order by v.seq"
)


class Reader:
    """One account with two devices."""

    __slots__ = ("asked_at", "at", "lo", "sessions")

    def __init__(self, sessions: list[Session]) -> None:
        self.sessions = sessions
        self.lo = 1
        self.at = 0
        """How far the reader has come, answered or not."""
        self.asked_at = 0.0


class Scrolling:
    """All readers, each with one range in flight."""

    def __init__(self, chat: str, posts: int, seed: int) -> None:
        self.chat = chat
        self.posts = posts
        self.readers: list[Reader] = []
        self.answered = 0
        self.asked = 0
        self.refused = b""
        self.running = False
        self.waits = array("d")
        self._draw = random.Random(seed)  # noqa: S311 - demand, not secrets

    def go_on(self, reader: Reader) -> None:
        """The next posts, or the same again."""
        draw = self._draw
        if reader.at == 0 or draw.random() > AGAIN:
            if reader.at >= self.posts:
                return
            reader.lo = reader.at + 1
            reader.at = min(self.posts, reader.at + draw.randint(1, STEP))
        view = {"chat": self.chat, "lo": reader.lo, "hi": reader.at}
        reader.asked_at = time.monotonic()
        self.asked += 1
        draw.choice(reader.sessions).send(rpc(5, "channels.view", {"views": [view]}))

    def heard(self, session: Session, data: bytes) -> None:
        if not data.startswith(b'{"id":5'):
            return
        if b'"error"' in data:
            self.refused = self.refused or data
            return
        reader = self.readers[session.tag // 2]
        self.answered += 1
        self.waits.append(time.monotonic() - reader.asked_at)
        if self.running:
            self.go_on(reader)

    def forget_waits(self) -> None:
        self.waits = array("d")

    def truth(self) -> dict[int, int]:
        """Views of every post, by how far each reader has come."""
        ends: dict[int, int] = {}
        for reader in self.readers:
            ends[reader.at] = ends.get(reader.at, 0) + 1
        views, left = {}, len(self.readers) - ends.get(0, 0)
        for seq in range(1, self.posts + 1):
            views[seq] = left
            left -= ends.get(seq, 0)
        return views


async def run(stage: Stage) -> Row:
    row, scale = Row(name="channel_views"), stage.scale
    owner, *accounts = await seed_accounts(stage, 1 + scale.viewers)
    chat = await channel(stage, owner, accounts)
    await posted(stage, chat, owner, scale.viewed)
    scrolling = Scrolling(chat, scale.viewed, stage.seed)
    tokens = [stage.token(number, device) for number in accounts for device in (0, 1)]
    sessions = await stage.driver.connect_all(tokens, scrolling.heard)
    for place in range(0, len(sessions), 2):
        scrolling.readers.append(Reader(sessions[place : place + 2]))
    scrolling.running = True
    for reader in scrolling.readers:
        scrolling.go_on(reader)
    units, cost = await window(stage, lambda: scrolling.answered, scrolling.forget_waits)
    scrolling.running = False
    await _drained(scrolling)
    row.charge(cost, units)
    row.p50_ms = percentile_ms(scrolling.waits, 0.5)
    row.p99_ms = percentile_ms(scrolling.waits, 0.99)
    row.more |= {"viewers": scale.viewers, "moves": scrolling.answered}
    row.more["wrong"] = await _wrong(stage, scrolling)
    if scrolling.refused:
        row.invalid(scrolling.refused[:200].decode(errors="replace"))
    row.lost = row.more["wrong"] + scrolling.asked - scrolling.answered
    await stage.driver.close()
    return row


async def _drained(scrolling: Scrolling) -> None:
    deadline = time.monotonic() + DRAIN_S
    while scrolling.answered < scrolling.asked and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def _wrong(stage: Stage, scrolling: Scrolling) -> int:
    """Posts whose number of views is not the truth."""
    async with stage.engine.connect() as connection:
        rows = await connection.execute(text(VIEWS), {"chat": int(scrolling.chat)})
        marks = {row[0]: int(row[1]) for row in rows}
    views, wrong = 0, 0
    for seq, truth in scrolling.truth().items():
        views = marks.get(seq, views)
        wrong += views != truth
    return wrong

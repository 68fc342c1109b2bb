"""`channel_views`: people scroll through a channel on two devices, with repeats and late calls.

What each has seen is kept here as a set, by the one rule that a cursor never goes back; at the end
the views of every post must be as many as there are sets that hold it.
"""

import asyncio
import random
import time
from array import array

from loadgen.bench.channel import channel, posted
from loadgen.bench.driver import LoadError, Session, rpc
from loadgen.bench.groups import Asker
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, seed_accounts, window

DEVICES = 2
PAGE = 100
RETRY_S = 0.2
DRAIN_S = 20.0
SCREEN = 8
"""Posts of a viewport, at most."""
REPEATED, JUMPED, LATE = 0.3, 0.15, 0.1

Span = tuple[int, int]


class Viewer:
    """What one person has seen, and what they do next."""

    def __init__(self, number: int, last: int, draw: random.Random) -> None:
        self.number = number
        self.seen: set[int] = set()
        self._last = last
        self._draw = draw
        self._cursor = 0
        self._before: Span = (1, 1)

    def next(self) -> list[tuple[int, Span]]:
        """(device, span)s that may come in any order: they count the same in all of them.

        They do where every span begins at the cursor or below, and where all are the same one.
        """
        draw, at = self._draw.random(), self._cursor
        if draw < LATE or at >= self._last:
            spans = [self._before]  # seen long ago, on a device that was offline
        elif draw < LATE + JUMPED:
            lo = min(self._last, at + self._draw.randint(2, 12))
            spans = [(lo, lo + self._draw.randint(0, SCREEN))] * DEVICES
        else:
            spans = [
                (max(1, at + 1 - self._draw.randint(0, 4)), at + self._draw.randint(1, SCREEN))
                for _ in range(self._draw.randint(1, DEVICES))
            ]
        for span in spans:
            self._look(span)
        calls = list(enumerate(spans))
        again = [call for call in calls if self._draw.random() < REPEATED]
        return calls + again

    def _look(self, span: Span) -> None:
        lo, hi = span
        self.seen |= {seq for seq in range(lo, min(hi, self._last) + 1) if seq > self._cursor}
        self._cursor, self._before = max(self.seen, default=0), span


class Scrolling:
    """All of them; who has every answer goes on."""

    def __init__(self, chat: str, viewers: list[Viewer]) -> None:
        self.running = True
        self.moves = 0
        """Answered."""
        self.put_off = 0
        self.waits = array("d")
        self.refused = b""
        self.devices: list[list[Session]] = []
        self._viewers = viewers
        self._left = [0] * len(viewers)
        self._chat = chat
        self._open: dict[tuple[int, int], tuple[float, Span]] = {}
        """(device's tag, command) -> when it was sent, and what."""
        self._next_id = 10

    @property
    def unanswered(self) -> int:
        return sum(self._left)

    def begin(self) -> None:
        for viewer in self._viewers:
            self._step(viewer)

    def heard(self, session: Session, data: bytes) -> None:
        if not data.startswith(b'{"id":'):
            return  # a head of the channel
        key = session.tag, int(data[6 : data.find(b",", 6)])
        sent = self._open.pop(key, None)
        if sent is None:
            return
        if b'"error"' in data:
            self._refused(session, sent[1], data)
            return
        self.moves += 1
        self.waits.append(time.monotonic() - sent[0])
        place = session.tag // DEVICES
        self._left[place] -= 1
        if not self._left[place] and self.running:
            self._step(self._viewers[place])

    def forget_waits(self) -> None:
        self.waits = array("d")

    def _step(self, viewer: Viewer) -> None:
        calls = viewer.next()
        self._left[viewer.number] = len(calls)
        for device, span in calls:
            self._send(self.devices[viewer.number][device], span)

    def _send(self, session: Session, span: Span) -> None:
        self._next_id += 1
        self._open[session.tag, self._next_id] = time.monotonic(), span
        view = {"chat": self._chat, "lo": span[0], "hi": span[1]}
        session.send(rpc(self._next_id, "channels.view", {"views": [view]}))

    def _refused(self, session: Session, span: Span, data: bytes) -> None:
        if b'"temporary":true' in data:
            self.put_off += 1
            asyncio.get_running_loop().call_later(RETRY_S, self._send, session, span)
        else:
            self.refused = self.refused or data


async def run(stage: Stage) -> Row:
    row, scale = Row(name="channel_views"), stage.scale
    accounts = await seed_accounts(stage, 1 + scale.viewers)
    chat = await channel(stage, accounts[0], accounts[1:])
    await posted(stage, chat, accounts[0], scale.viewed)
    draw = random.Random(f"views/{stage.seed}")  # noqa: S311 - not a secret
    viewers = [Viewer(number, scale.viewed, draw) for number in range(scale.viewers)]
    scrolling = Scrolling(chat, viewers)
    tokens = [stage.token(n, device) for n in accounts[1:] for device in range(DEVICES)]
    sessions = await stage.driver.connect_all(tokens, scrolling.heard, tags=range(len(tokens)))
    scrolling.devices = [sessions[n : n + DEVICES] for n in range(0, len(sessions), DEVICES)]
    scrolling.begin()
    moves, cost = await window(stage, lambda: scrolling.moves, scrolling.forget_waits)
    row.charge(cost, moves)
    row.p50_ms = percentile_ms(scrolling.waits, 0.5)
    row.p99_ms = percentile_ms(scrolling.waits, 0.99)
    await _end(scrolling)
    row.more |= {"unit": "move", "viewers": scale.viewers, "devices": len(tokens)}
    row.more |= {"moves": scrolling.moves, "put_off": scrolling.put_off}
    row.lost = scrolling.unanswered
    owner = Asker()
    await owner.connect(stage, accounts[0])
    await _judge(owner, chat, viewers, row)
    await stage.driver.close()
    return row


async def _end(scrolling: Scrolling) -> None:
    """Until all that was sent is answered."""
    scrolling.running = False
    deadline = time.monotonic() + DRAIN_S
    while scrolling.unanswered and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks count
        await asyncio.sleep(0.02)
    if scrolling.refused:
        raise LoadError(scrolling.refused[:200].decode(errors="replace"))


async def _judge(owner: Asker, chat: str, viewers: list[Viewer], row: Row) -> None:
    """Post by post: views that are missing are lost, those beyond are doubled."""
    counted: dict[int, int] = {}
    for viewer in viewers:
        for seq in viewer.seen:
            counted[seq] = counted.get(seq, 0) + 1
    last = max(counted)
    told: dict[int, int] = {}
    for first in range(1, last + 1, PAGE):
        seqs = list(range(first, min(first + PAGE, last + 1)))
        stats = await owner.ask("channels.stats", {"chat": chat, "seqs": seqs})
        told |= {post["seq"]: post["views"] for post in stats["posts"]}
    more = [told.get(seq, 0) - counted.get(seq, 0) for seq in range(1, last + 1)]
    row.more |= {"wrong": sum(one != 0 for one in more), "views": sum(counted.values())}
    row.lost = (row.lost or 0) - sum(one for one in more if one < 0)
    row.duplicated, row.reordered = sum(one for one in more if one > 0), 0

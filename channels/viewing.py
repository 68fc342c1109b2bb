"""Views: gathered for a moment, then cursors and counts moved in one transaction.

A call is answered when its views are durable, so a client that hears nothing repeats it: what was
counted before is not counted again. A node that dies takes along what it had not answered.
Readers who are no subscribers, and posts seen as forwards, go into an estimate of its own.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from channels.protocol import SPAN_MAX, Nothing, OfPosts, PostStats, StatsOfPosts, Views
from channels.reach import Reach
from channels.store.views import Reader, ViewStore
from channels.views import Span, queue_span
from messenger.chats.wire_ids import chat_of
from messenger.db.engine import StoreDown
from messenger.feature import Caller, Later, Refused
from messenger.ids import ChatId
from messenger.log.store import ChatStore
from messenger.wire.codes import ErrorCode

WINDOW_S = 0.5  # nobody waits for the answer; a person who scrolls sends several a second
MOVES = 500  # of one flush: 5 ms of the database
WAITING = 5_000  # calls; beyond it OVERLOADED
RETRY_MS = 1_000
KEPT_S = 5.0  # of a post's number of views; it is read with every page of history
POSTS_KEPT = 50_000  # numbers of views, ~200 bytes each; the oldest leave first
LAST_FLUSH_S = 2.0

log = logging.getLogger(__name__)


class _Call:
    """A call, and how many of its ranges are not durable yet."""

    __slots__ = ("later", "left")

    def __init__(self, left: int) -> None:
        self.left = left
        self.later = Later()

    def one_done(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.later.settle(Nothing())


class _Waiting(Struct):
    """What one reader of one channel has waiting, and who waits for it."""

    spans: list[Span]
    calls: list[tuple[int, _Call]]
    """With the place of the call's own range among those not durable yet."""
    counting: int = 0
    """1 while the first of them is with the database."""


class Viewing:
    """The rpcs `channels.view` and `channels.stats`, and the task behind them."""

    def __init__(
        self,
        store: ViewStore,
        chats: ChatStore,
        reach: Reach,
        on_moved: Callable[[Mapping[Reader, Span]], None] = lambda _moved: None,
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        """`on_moved` hears what each flush counted."""
        self._store = store
        self._chats = chats
        self._reach = reach
        self._on_moved = on_moved
        self._window_s = window_s
        self._waiting: dict[Reader, _Waiting] = {}
        self._calls = 0
        self._forwards: dict[tuple[ChatId, int], int] = {}
        self._known: OrderedDict[tuple[ChatId, int], tuple[float, int]] = OrderedDict()
        self._wake = asyncio.Event()
        self._full = asyncio.Event()

    def view(self, request: Views, caller: Caller) -> Later:
        """Answers once the views are durable; those of channels one is not in count for reach."""
        if self._calls >= WAITING:
            raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": RETRY_MS})
        ranges: list[tuple[ChatId, Span]] = []
        forwards: list[tuple[ChatId, Span]] = []
        for one in request.views:
            if one.hi < one.lo or one.hi - one.lo >= SPAN_MAX:
                why = {"field": "views", "why": "lo..hi is no viewport", "limit": SPAN_MAX}
                raise Refused(ErrorCode.INVALID, why)
            into = forwards if one.forwarded else ranges
            into.append((chat_of(one.chat), Span(one.lo, one.hi)))
        for chat, span in forwards:
            self._reach.seen(chat, caller.account, span)
        call = _Call(len(ranges) or 1)
        if not ranges:
            call.one_done()
        else:
            self._calls += 1
        for chat, span in ranges:
            self._queue((chat, caller.account), span, call)
        return call.later

    async def stats(self, request: OfPosts, caller: Caller) -> StatsOfPosts:
        """Of posts the caller may read; those that do not exist are left out."""
        chat = chat_of(request.chat)
        membership = await self._chats.membership(chat, caller.account)
        head = await self._chats.head(chat)
        if membership is None or membership.role <= 0 or head is None:
            raise Refused(ErrorCode.NO_CHAT)
        seqs = sorted({seq for seq in request.seqs if seq <= head.seq})
        views = await self.views_of(chat, seqs)
        stats = await self._store.stats(chat, seqs)
        return StatsOfPosts(
            [
                PostStats(
                    seq,
                    views.get(seq, 0),
                    stats[seq].forwards if seq in stats else 0,
                    stats[seq].reach if seq in stats else 0,
                )
                for seq in seqs
            ]
        )

    async def views_of(self, chat: ChatId, seqs: Sequence[int]) -> dict[int, int]:
        """At most `KEPT_S` old."""
        now = time.monotonic()
        found: dict[int, int] = {}
        for seq in seqs:
            kept = self._known.get((chat, seq))
            if kept is not None and now - kept[0] < KEPT_S:
                found[seq] = kept[1]
        missing = [seq for seq in seqs if seq not in found]
        if missing:
            for seq, count in (await self._store.views(chat, missing)).items():
                found[seq] = count
                self._known[chat, seq] = now, count
                self._known.move_to_end((chat, seq))
            while len(self._known) > POSTS_KEPT:
                self._known.popitem(last=False)
        return found

    def forwarded(self, chat: ChatId, seq: int) -> None:
        """At most a second of them is lost with the node."""
        self._forwards[chat, seq] = self._forwards.get((chat, seq), 0) + 1
        self._wake.set()

    async def run(self) -> None:
        """Flush until cancelled; then once more what is waiting."""
        try:
            while True:
                await self._wake.wait()
                await self._gather()
                await self.flush()
        finally:
            await self._flush_last()

    async def flush(self) -> None:
        """Count what is waiting now, one range a reader and at most `MOVES` of them."""
        self._full.clear()
        self._wake.clear()
        batch = self._take()
        try:
            if batch:
                self._counted(await self._store.record(batch), batch)
        except StoreDown:
            log.warning("views refused: the database is away")
            # whether they were counted is unknown, and does not matter: they are sent again
            self._refuse(batch, Refused(ErrorCode.OVERLOADED, {"retry_after_ms": RETRY_MS}))
        except Exception:  # the root of a background task: it outlives one bad batch
            log.exception("views not counted")
            self._refuse(batch, Refused(ErrorCode.INTERNAL))
        await self._flush_forwards()
        if self._waiting:  # it has waited for a whole statement: no window besides
            self._wake.set()
            self._full.set()

    def _take(self) -> dict[Reader, Span]:
        """What comes while a statement runs must not join a range that is being counted."""
        batch: dict[Reader, Span] = {}
        for reader, waiting in self._waiting.items():
            batch[reader] = waiting.spans.pop(0)
            waiting.counting = 1
            if len(batch) == MOVES:
                break
        return batch

    async def _flush_forwards(self) -> None:
        forwards, self._forwards = self._forwards, {}
        try:
            await self._store.add_forwards(forwards)
        except StoreDown:
            for post, count in forwards.items():
                self._forwards[post] = self._forwards.get(post, 0) + count
            await asyncio.sleep(RETRY_MS / 1_000)
            self._wake.set()
        except Exception:
            log.exception("forwards not counted")

    def _queue(self, reader: Reader, span: Span, call: _Call) -> None:
        waiting = self._waiting.get(reader)
        if waiting is None:
            waiting = self._waiting[reader] = _Waiting([], [])
        queue_span(waiting.spans, span)
        waiting.calls.append((waiting.counting + len(waiting.spans), call))
        self._wake.set()
        if len(self._waiting) >= MOVES:
            self._full.set()

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(self._window_s):
                await self._full.wait()
        except TimeoutError:
            pass  # the usual end: the window is over

    def _counted(self, members: Mapping[Reader, Span], batch: Mapping[Reader, Span]) -> None:
        moved = {reader: span for reader, span in members.items() if span.lo <= span.hi}
        for reader, span in batch.items():
            if reader not in members:
                self._reach.seen(reader[0], reader[1], span)
            self._settle(reader)
        self._on_moved(moved)

    def _settle(self, reader: Reader) -> None:
        """One range of the reader is durable."""
        waiting = self._waiting[reader]
        waiting.counting = 0
        left: list[tuple[int, _Call]] = []
        for place, call in waiting.calls:
            if place > 1:
                left.append((place - 1, call))
                continue
            call.one_done()
            self._calls -= call.left == 0
        waiting.calls = left
        if not waiting.spans:
            del self._waiting[reader]

    def _refuse(self, batch: Mapping[Reader, Span], refused: Refused) -> None:
        for reader in batch:
            for _, call in self._waiting.pop(reader).calls:
                if call.left > 0:
                    call.left = 0  # its other ranges may still be counted: nobody waits for them
                    self._calls -= 1
                    call.later.settle(refused)

    async def _flush_last(self) -> None:
        try:
            async with asyncio.timeout(LAST_FLUSH_S):
                while self._waiting or self._forwards:
                    await self.flush()
        except TimeoutError:
            log.warning("views left behind", extra={"readers": len(self._waiting)})

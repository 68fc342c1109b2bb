"""Group commit: every send of this node goes through one task and one held connection.

Sends are collected for `commit_window` (less when the node is quiet) or up to `commit_rows`, then
written by one call of the rendering (`rendering.py`). While a commit runs, the next batch fills.
Answers are callbacks in input order: no task and no future per message.

Where an answer is lost nobody knows whether the statement was executed: the batch is repeated as
it is, the function recognises what it wrote before by (device, random_id), and what an attempt of
this batch wrote is news like any other row. Rows whose time ends first leave their chats in doubt.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

from messenger.db.engine import StoreDownError
from messenger.feature import Refused
from messenger.ids import MAX_ID, ChatId
from messenger.log.held import BadRowError, Row
from messenger.log.rendering import Rendering
from messenger.log.sends import Done, Send, Written
from messenger.log.statuses import Status, refusal
from messenger.metrics import Metrics
from messenger.settings import Settings
from messenger.wire.codes import ErrorCode

QUIET_S = 0.020  # nothing committed for so long: answer fast
PAUSE_S = (0.02, 0.05, 0.1, 0.2)  # between attempts while the database is away
RETRY_AFTER_MS = 500

log = logging.getLogger(__name__)


Waiting = tuple[Send, Done, float]
"""A send, its callback, and the loop's time when it came."""


class Intents(Protocol):
    """Remembers outside this process which chats a batch touches, until all were told.

    Both return at once; the record is written before the database hears of the batch.
    """

    def begin(self, batch: int, chats: Sequence[ChatId]) -> None: ...

    def end(self, batch: int) -> None: ...

    def doubt(self, batch: int, chats: Sequence[ChatId]) -> None:
        """These may hold rows of the batch that nobody was told of; called before its `end`."""


class Committer:
    """Writes messages. `append` from anywhere on the loop, `run` as one task of the node."""

    def __init__(
        self,
        rendering: Rendering,
        settings: Settings,
        on_batch: Callable[[list[Written]], None],
        metrics: Metrics,
        *,
        intents: Intents | None = None,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        """`on_batch` gets the new messages of a commit, in order, before their answers leave."""
        self._rendering = rendering
        self._settings = settings
        self._on_batch = on_batch
        self._metrics = metrics
        self._accepted, self._fresh, self._repeated, self._refused, self._late = (
            metrics.sends.labels(outcome)
            for outcome in ("accepted", "committed", "repeated", "refused", "late")
        )
        self._intents = intents
        self._now_ms = now_ms
        self._queue: deque[Waiting] = deque()  # bound: commit_queue, then append refuses
        self._committing = 0
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._closing = False
        self._committed_at = 0.0
        self._batches = count(1)
        self._failures = 0  # of this batch
        self._attempted_at: int | None = None
        """`now` of the first statement of this batch whose outcome is unknown."""
        self._doubtful: set[ChatId] = set()

    def append(self, send: Send, done: Done) -> None:
        """Queue `send`; `done` gets the one answer, after the commit. Raises Refused at once
        where the queue is full, the node is closing, or the key is not a positive 63-bit number.
        """
        if not 0 < send.random_id <= MAX_ID:
            raise Refused(ErrorCode.INVALID, {"field": "random_id", "why": "not in 1..2^63-1"})
        if self._closing or len(self._queue) + self._committing >= self._settings.commit_queue:
            raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": RETRY_AFTER_MS})
        self._queue.append((send, done, asyncio.get_running_loop().time()))
        self._accepted.inc()
        self._wake.set()
        if len(self._queue) >= self._settings.commit_rows:
            self._full.set()

    @property
    def waiting(self) -> int:
        """Sends that have no answer yet."""
        return len(self._queue) + self._committing

    def close(self) -> None:
        """Take no more; `run` answers what is queued and returns."""
        self._closing = True
        self._wake.set()
        self._full.set()

    async def run(self) -> None:
        """Commit batch after batch until `close`, or until cancelled (queued sends stay unanswered:
        their callers repeat them)."""
        self._metrics.commit_queue.set_function(lambda: self.waiting)
        try:
            while await self._gather():
                await self._commit(self._take())
        finally:
            await self._rendering.drop()

    async def _gather(self) -> bool:
        """Wait for a batch to be due; False once closed and empty."""
        while not self._queue:
            if self._closing:
                return False
            self._wake.clear()
            await self._wake.wait()
        if len(self._queue) >= self._settings.commit_rows or self._closing:
            return True
        loop = asyncio.get_running_loop()
        quiet = loop.time() - self._committed_at > QUIET_S
        window = self._settings.commit_window_quiet if quiet else self._settings.commit_window
        self._full.clear()
        try:
            async with asyncio.timeout_at(self._queue[0][2] + window):
                await self._full.wait()
        except TimeoutError:
            pass  # the usual end: the window is over
        return True

    def _take(self) -> list[Waiting]:
        size = min(len(self._queue), self._settings.commit_rows)
        batch = [self._queue.popleft() for _ in range(size)]
        self._committing = size
        return batch

    async def _commit(self, batch: list[Waiting]) -> None:
        """Answer every row of `batch`, except copies, which go into the next one."""
        number = next(self._batches)
        if self._intents is not None:
            self._intents.begin(number, list({send.chat for send, _, _ in batch}))
            await asyncio.sleep(0)  # the record leaves with this turn, before the statement
        self._attempted_at = None
        self._rendering.begin()
        parts = [batch]
        self._failures = 0
        while parts:
            part = self._in_time(parts.pop())
            if part:
                parts.extend(await self._attempt(part))
        if self._intents is not None:
            if self._doubtful:
                self._intents.doubt(number, sorted(self._doubtful))
            self._intents.end(number)
        self._doubtful.clear()
        self._committed_at = asyncio.get_running_loop().time()

    async def _attempt(self, part: list[Waiting]) -> list[list[Waiting]]:
        """Write and answer; what is to be tried again, as a stack."""
        now = self._now_ms()
        try:
            rows = await self._write(part, now)
        except StoreDownError as error:
            self._metrics.commit_retries.inc()
            if self._attempted_at is None:
                self._attempted_at = now
            await self._lost(error)
            return [part]
        except BadRowError as error:
            self._metrics.commit_retries.inc()
            return self._halves(part, error)
        self._answer(part, rows)
        return []

    def _in_time(self, part: list[Waiting]) -> list[Waiting]:
        """Answer TIMEOUT to what waits too long, here and in the queue; what is left of `part`."""
        oldest = asyncio.get_running_loop().time() - self._settings.commit_deadline
        late: list[Waiting] = []
        if part[0][2] <= oldest:
            late = [waiting for waiting in part if waiting[2] <= oldest]
            part = [waiting for waiting in part if waiting[2] > oldest]
            self._committing -= len(late)
            if self._attempted_at is not None:
                self._doubtful.update(send.chat for send, _, _ in late)
        while self._queue and self._queue[0][2] <= oldest:
            late.append(self._queue.popleft())
        self._late.inc(len(late))
        for _, done, _ in late:
            done(Refused(ErrorCode.TIMEOUT))
        return part

    async def _write(self, part: list[Waiting], now: int) -> Sequence[Row]:
        """Within what is left of the oldest row's time."""
        began = asyncio.get_running_loop().time()
        deadline = part[0][2] + self._settings.commit_deadline
        rows = await self._rendering.commit([send for send, _, _ in part], now, deadline)
        self._metrics.commit_seconds.observe(asyncio.get_running_loop().time() - began)
        self._metrics.commit_rows.observe(len(part))
        return rows

    async def _lost(self, error: StoreDownError) -> None:
        if not self._failures:
            log.warning("commit repeated", extra={"why": str(error), "waiting": self.waiting})
        await self._rendering.drop()
        await asyncio.sleep(PAUSE_S[min(self._failures, len(PAUSE_S) - 1)])
        self._failures += 1

    def _halves(self, part: list[Waiting], error: BadRowError) -> list[list[Waiting]]:
        """The second half, then the first (a stack); the one bad row is answered instead."""
        if len(part) > 1:
            middle = len(part) // 2
            return [part[middle:], part[:middle]]
        self._committing -= 1
        if error.data:
            answer = Refused(ErrorCode.INVALID, {"field": "message", "why": "cannot be stored"})
        else:
            log.error("send failed", exc_info=error)
            answer = Refused(ErrorCode.INTERNAL)
        self._refused.inc()
        part[0][1](answer)
        return []

    def _answer(self, part: list[Waiting], rows: Sequence[Row]) -> None:
        fresh: dict[tuple[ChatId, int], Written] = {}
        answers: list[tuple[Done, Written | Refused]] = []
        copies: list[Waiting] = []
        for waiting, row in zip(part, rows, strict=True):
            send, done, _ = waiting
            status = row[0]
            if status <= Status.REPEATED:
                new = self._is_new(status, row[3]) and (send.chat, row[2]) not in fresh
                written = Written(send, row[1], row[2], row[3], not new, *row[6:11])
                if new:
                    fresh[send.chat, row[2]] = written
                else:
                    self._metrics.dedupe_hits.inc()
                    self._repeated.inc()
                answers.append((done, written))
            elif status == Status.COPY_IN_BATCH:
                copies.append(waiting)
            else:
                self._refused.inc()
                answers.append((done, refusal(status, row[1], row[4], row[5])))
        self._committing -= len(part)
        self._queue.extendleft(reversed(copies))
        self._fresh.inc(len(fresh))
        if fresh:
            self._on_batch(list(fresh.values()))
        now = asyncio.get_running_loop().time()
        for done, answer in answers:
            done(answer)
        for _, _, since in part:
            self._metrics.send_to_ack_seconds.observe(now - since)

    def _is_new(self, status: int, at: int) -> bool:
        """Whether this batch wrote the row: now, or in an attempt whose answer was lost."""
        if status == Status.WRITTEN:
            return True
        return self._attempted_at is not None and at >= self._attempted_at

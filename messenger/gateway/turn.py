"""One write per connection and loop turn.

A `send` costs the same for one frame as for ten, so frames of a turn leave together. Urgent ones
(replies, personal pushes, pings, closes) go first; the ten thousand of a large topic go in slices,
so that they do not stand in the way of everyone else.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from messenger.metrics import Count

log = logging.getLogger(__name__)

SLICE = 512  # bulk writes per turn: about 4 ms
PAUSE_S = 0.010  # between two rounds of bulk writes: posts that come meanwhile share the next


class Queued(IntEnum):
    """Where a connection waits for its flush."""

    IDLE = 0
    BULK = 1
    URGENT = 2


IDLE, BULK, URGENT = Queued.IDLE, Queued.BULK, Queued.URGENT


class Flushable(Protocol):
    """A connection with bytes to send."""

    queued: Queued

    def flush(self) -> None:
        """Send all that waits and become IDLE."""


class Turn:
    """The connections of this node that have something to send at the end of this turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop, writes: Count | None = None) -> None:
        self._loop = loop
        self._writes = writes or Count()
        self._urgent: list[Flushable] = []
        self._round: deque[Flushable] = deque()
        self._next: deque[Flushable] = deque()
        self._next_at = 0.0
        self._scheduled = False
        self._timed = False

    def urgent(self, connection: Flushable) -> None:
        if connection.queued is not URGENT:
            connection.queued = URGENT
            self._urgent.append(connection)
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._flush)

    def bulk(self, connection: Flushable) -> None:
        """In the next round: at once where the last one is long ago."""
        connection.queued = BULK
        self._next.append(connection)
        if not (self._scheduled or self._timed or self._round):
            self._begin_soon()

    def after_bulk(self, then: Callable[[], None]) -> None:
        """Call `then` once the bulk writes that wait now have left."""
        last = self._next or self._round
        if last:
            last.append(_Marker(then))
        else:
            then()

    def _flush(self) -> None:
        self._scheduled = False
        urgent, self._urgent = self._urgent, []
        for connection in urgent:
            _flush(connection)
        self._writes.value += len(urgent)
        if self._next and not self._round and self._loop.time() >= self._next_at:
            self._round, self._next = self._next, self._round
        if self._round:
            self._flush_slice()
        if self._next and not (self._scheduled or self._timed):
            self._begin_soon()

    def _flush_slice(self) -> None:
        bulk = self._round
        slice_ = min(SLICE, len(bulk))
        self._writes.value += slice_
        for _ in range(slice_):
            _flush(bulk.popleft())  # one that was flushed as urgent meanwhile has nothing left
        if bulk:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        else:
            self._next_at = self._loop.time() + PAUSE_S

    def _begin_soon(self) -> None:
        if self._loop.time() >= self._next_at:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        else:
            self._timed = True
            self._loop.call_at(self._next_at, self._on_time)

    def _on_time(self) -> None:
        self._timed = False
        if not self._scheduled:
            self._flush()


class _Marker:
    """Takes a connection's place among the bulk writes, to know when they have come so far."""

    def __init__(self, then: Callable[[], None]) -> None:
        self.queued = BULK
        self.flush = then


def _flush(connection: Flushable) -> None:
    try:
        connection.flush()
    except Exception:
        log.warning("flush failed", exc_info=True)

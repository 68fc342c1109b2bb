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
        self._bulk: deque[Flushable] = deque()
        self._scheduled = False

    def urgent(self, connection: Flushable) -> None:
        if connection.queued is not URGENT:
            connection.queued = URGENT
            self._urgent.append(connection)
            if not self._scheduled:
                self._scheduled = True
                self._loop.call_soon(self._flush)

    def bulk(self, connection: Flushable) -> None:
        connection.queued = BULK
        self._bulk.append(connection)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def after_bulk(self, then: Callable[[], None]) -> None:
        """Call `then` once the bulk writes that wait now have left."""
        if self._bulk:
            self._bulk.append(_Marker(then))
        else:
            then()

    def _flush(self) -> None:
        self._scheduled = False
        urgent, self._urgent = self._urgent, []
        for connection in urgent:
            _flush(connection)
        bulk = self._bulk
        slice_ = min(SLICE, len(bulk))
        self._writes.value += len(urgent) + slice_
        for _ in range(slice_):
            _flush(bulk.popleft())  # one that was flushed as urgent meanwhile has nothing left
        if bulk:
            self._scheduled = True
            self._loop.call_soon(self._flush)


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

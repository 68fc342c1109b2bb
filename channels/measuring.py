"""How soon a post reaches those who are online, counted where it leaves for their connections.

Each node counts its own readers: those with the channel open when the post is written to them,
the others when its head is. A large room leaves in slices, one after the other; its readers are
spread evenly between the first slice and the last.
"""

import time
from collections.abc import Callable

import msgspec
from msgspec import Struct

from messenger.ids import ChatId

BOUNDS_MS = (5, 10, 20, 50, 100, 200, 300, 500, 1_000, 2_000, 5_000, 10_000, 60_000)
PARTS = 20  # of a room that leaves in slices
WAITING = 20_000  # counts not written yet; beyond it they are lost, they are figures

Counts = dict[tuple[ChatId, int, int], int]


class _Post(Struct, frozen=True, gc=False):
    seq: int
    at: int


class _Told(Struct, frozen=True, gc=False):
    """What of `message.new` and of `chat.dirty` says which post it is of, and since when."""

    t: str
    seq: int = 0
    at: int = 0
    m: _Post | None = None


_told = msgspec.json.Decoder(_Told).decode


class Delays:
    """Called once a publication and node, never per reader."""

    def __init__(
        self,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._now_ms = now_ms
        self._counts: Counts = {}
        self.after_bulk: Callable[[Callable[[], None]], None] = lambda then: then()
        """Calls back once all that is written now has left; set by whoever owns the sockets."""

    def delivered(self, chat: ChatId, update: bytes, readers: int) -> None:
        """An update of a channel goes to `readers` sessions of this node."""
        if not readers:
            return
        told = _told(update)
        post = told.m if told.t == "message.new" else None
        if told.t == "chat.dirty":
            post = _Post(told.seq, told.at)
        if post is not None:
            seq, at, first = post.seq, post.at, self._now_ms()
            self.after_bulk(lambda: self._count(chat, seq, readers, first - at, at))

    def take(self) -> Counts:
        """What was counted since the last call."""
        taken, self._counts = self._counts, {}
        return taken

    def _count(self, chat: ChatId, seq: int, readers: int, first_ms: int, at: int) -> None:
        last_ms = max(first_ms, self._now_ms() - at)
        parts = min(PARTS, readers)
        for part in range(parts):
            delay = first_ms + (last_ms - first_ms) * part // max(1, parts - 1)
            share = readers * (part + 1) // parts - readers * part // parts
            key = chat, seq, bound_of(delay)
            if key in self._counts or len(self._counts) < WAITING:
                self._counts[key] = self._counts.get(key, 0) + share


def bound_of(delay_ms: int) -> int:
    """The bound within which it was; beyond the last one, the last one."""
    return next((bound for bound in BOUNDS_MS if delay_ms <= bound), BOUNDS_MS[-1])

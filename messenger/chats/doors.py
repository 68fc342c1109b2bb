"""The door of a chat that many want to come in by at once: a few at a time, the others told when.

Joins of one chat are one after the other in the database anyway, so who waits here takes nothing
from anybody else. Where the guard has refused one, the next are refused without being looked at:
five thousand a second must not be felt in any other chat.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from messenger.chats.protocol import Join
from messenger.feature import Caller, Refused
from messenger.wire.codes import ErrorCode

AT_ONCE = 2  # one holds the chat's row, the other reads meanwhile
WAITING = 100  # at one door; 5 to 50 ms each, so that the last is in before its call times out
SHUT_S = 1.0  # after a refusal; as many as the guard lets in within it then come together
CROWDED = {"rule": "join.waiting", "limit": WAITING, "why": "many come in at once"}
RETRY_MS = 1_000


class _Door:
    """Of one chat; it is there while somebody is at it, or while it is shut."""

    __slots__ = ("inside", "shut_until", "turn", "why")

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(AT_ONCE)
        self.inside = 0
        self.shut_until = 0.0
        self.why: Mapping[str, Any] = {}


class Doors:
    """By the word that a request names its chat with. Per node."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._doors: dict[str, _Door] = {}

    def check(self, _caller: Caller, request: Join) -> None:
        """Refused(JOIN_GUARD) where it is shut or too many wait; never awaits."""
        word = word_of(request)
        door = self._doors.get(word)
        if door is None:
            return
        left_s = door.shut_until - self._clock()
        if left_s > 0:
            retry = {"retry_after_ms": max(1, round(left_s * 1_000))}
            raise Refused(ErrorCode.JOIN_GUARD, {**door.why, **retry})
        if door.inside >= WAITING:
            raise Refused(ErrorCode.JOIN_GUARD, {**CROWDED, "retry_after_ms": RETRY_MS})
        self._tidy(word, door)

    @asynccontextmanager
    async def enter(self, request: Join) -> AsyncIterator[None]:
        """In turn. A refusal by the guard within shuts the door for a moment."""
        word = word_of(request)
        door = self._doors.setdefault(word, _Door())
        door.inside += 1
        try:
            async with door.turn:
                yield
        except Refused as refused:
            if refused.code is ErrorCode.JOIN_GUARD and _is_of_chat(refused):
                door.why, door.shut_until = refused.details, self._clock() + SHUT_S
            raise
        finally:
            door.inside -= 1
            self._tidy(word, door)

    def _tidy(self, word: str, door: _Door) -> None:
        if not door.inside and door.shut_until <= self._clock():
            self._doors.pop(word, None)


def word_of(request: Join) -> str:
    """Any secret of the same chat is the same door."""
    if request.link is not None:
        return request.link.partition(".")[0]
    return "@" + (request.username or "").removeprefix("@").lower()


def _is_of_chat(refused: Refused) -> bool:
    """One network's crowd is refused by itself; the door stays open for all others."""
    return refused.details.get("rule") != "join.net"

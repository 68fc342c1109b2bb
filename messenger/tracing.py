"""Which request a log line belongs to, at no cost for requests that nobody asks about.

A command over the socket has no place for a trace id, so its id is derived: from the session's
client id, which the app was told, and the command's number, which the app chose. Both ends can
compute it, and a node does so only when it writes a line. HTTP callers may give their own by W3C
Trace Context. Pure but for the one context variable.
"""

import re
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from hashlib import blake2b

from msgspec import Struct

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<more>-.*)?"
)
_SAMPLED = 0x01


class Asked(Struct, frozen=True, gc=False):
    """A request as a log line names it: a command of a session, or a trace given by HTTP."""

    session: str = ""
    command: int = 0
    trace: str = ""
    """Given or drawn by HTTP; empty for commands of a session."""
    sampled: bool = False
    """The caller's tracer keeps this one: it costs a log line."""

    @property
    def id(self) -> str:
        """32 hexadecimal digits, as W3C Trace Context has them."""
        return self.trace or derived(self.session, self.command)


current: ContextVar[Asked | None] = ContextVar("peyk_asked", default=None)
"""Of the task that works on it; log lines written below carry its id."""


def derived(session: str, command: int) -> str:
    """The trace id of a command: BLAKE2b-128 of `<client id>:<command id>`."""
    return blake2b(f"{session}:{command}".encode(), digest_size=16).hexdigest()


def from_traceparent(header: str) -> Asked:
    """The caller's trace, or a new one where the header is missing or not valid."""
    found = _TRACEPARENT.fullmatch(header)
    if (
        found is None
        or found["version"] == "ff"
        or (found["version"] == "00" and found["more"])
        or not int(found["trace"], 16)
        or not int(found["parent"], 16)
    ):
        return Asked(trace=secrets.token_hex(16))
    return Asked(trace=found["trace"], sampled=bool(int(found["flags"], 16) & _SAMPLED))


class Sparing:
    """At most `most` lines a second: what goes wrong under load goes wrong ten thousand times."""

    def __init__(self, now: Callable[[], float], most: int = 10) -> None:
        self._now = now
        self._most = most
        self._second = -1
        self._written = 0
        self.dropped = 0
        """Since the last line; told by it."""

    def may(self) -> bool:
        """Whether one more line may be written in this second."""
        second = int(self._now())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= self._most:
            self.dropped += 1
            return False
        self._written += 1
        return True

    def taken(self) -> int:
        """How many were dropped since this was last asked."""
        dropped, self.dropped = self.dropped, 0
        return dropped

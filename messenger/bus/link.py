"""One connection to one Redis: the commands of a loop turn leave in one write, replies match in
order.

A link that stalls, overflows or breaks is closed for good; every command it still owed an answer
gets `BusDown`, and whoever owns it opens another. Nothing can leave within a turn, so the bound on
what waits is judged over time: a turn may pass it by far while Redis reads, a Redis that does not
read ends the link. Hot path: a command costs 1-2 us (measured by tests/bus/measure.py), against
50 us for one awaited call of a general client.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import hiredis

from messenger.metrics import Metrics

Part = bytes | str | int | float
Command = tuple[Part, ...]
Done = Callable[[Any], None]
"""Gets the reply, or the error as a value: a hiredis.ReplyError or BusDown."""

log = logging.getLogger(__name__)

_NOTHING = object()
_STATES = frozenset(
    {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY"}
    | {"OOM", "MISCONF"}
)  # what Redis says of itself, not of the command: for callers the same as no Redis
_EVALSHA = b"\r\n$7\r\nEVALSHA\r\n$40\r\n"
_CHECKS = 4  # looks at a silent link per time-out
_WRITE_AT = 256 * 1024  # more of one turn is not joined: it goes to the kernel while we go on
_BURST = 8  # times the bound: what Redis, even while it reads, may lag behind
_STALL_S = 0.25  # over the bound with nothing taken by the kernel: Redis does not read


class BusDown(Exception):  # noqa: N818 - a state of the world that callers wait out
    """Redis is not reachable now; what was asked may or may not have been done."""


class Link(asyncio.Protocol):
    """A connected link, until `closed`."""

    __slots__ = (
        "_bound",
        "_checks",
        "_handed",
        "_heard",
        "_heard_before",
        "_loop",
        "_metrics",
        "_on_closed",
        "_on_moved",
        "_on_push",
        "_out",
        "_out_bytes",
        "_reader",
        "_refusals_close",
        "_scripts",
        "_stalls",
        "_taken",
        "_ticker",
        "_timeout_s",
        "_transport",
        "_waiting",
        "_watch",
        "closed",
        "reason",
    )

    def __init__(
        self,
        *,
        bound: int,
        timeout_s: float,
        metrics: Metrics,
        scripts: Mapping[str, str] | None = None,
        on_push: Callable[[list[Any]], None] | None = None,
        on_closed: Callable[[str], None] | None = None,
        on_moved: Callable[[], None] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._bound = bound
        self._timeout_s = timeout_s
        self._metrics = metrics
        self._scripts = scripts or {}
        self._on_push = on_push or _unexpected
        self._on_closed = on_closed
        self._on_moved = on_moved
        self._reader = hiredis.Reader(notEnoughData=_NOTHING)
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._handed = self._taken = self._stalls = 0
        self._watch: asyncio.TimerHandle | None = None  # runs while over the bound
        self._waiting: deque[tuple[Done | None, bytes]] = deque()
        self._refusals_close = False
        self._heard = self._heard_before = self._checks = 0
        self._ticker: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self.closed = False
        self.reason = ""

    @property
    def queued_bytes(self) -> int:
        """What the kernel has not taken yet."""
        transport = self._transport
        return self._out_bytes + (transport.get_write_buffer_size() if transport else 0)

    def send(self, command: Command, done: Done | None = None) -> None:
        """Queue a command for this turn's write. `done` is never called before this returns."""
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub says one part
        self.send_packed(packed, done)

    def send_packed(self, packed: bytes, done: Done | None = None) -> None:
        """The same for a command that is bytes already."""
        if self.closed:
            if done is not None:
                self._loop.call_soon(done, BusDown(self.reason))
            return
        self._waiting.append((done, packed))
        out = self._out
        if not out:
            self._loop.call_soon(self._flush)
        out.append(packed)
        self._out_bytes += len(packed)
        if self._out_bytes > _WRITE_AT:
            self._flush()

    def send_unanswered(self, command: Command) -> None:
        """For (un)subscribing: RESP3 confirms with a push; only a refusal is a reply, and fatal."""
        if self.closed:
            return
        self.send(command)
        if self._waiting:
            self._waiting.pop()
        self._refusals_close = True

    def ask(self, *command: Part) -> "asyncio.Future[Any]":
        """The same for callers that wait; the future always ends, at the latest with BusDown."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self.send(command, partial(settle, future))
        return future

    def close(self, reason: str) -> None:
        """End the link now; answers that are owed become BusDown in the next turn."""
        if not self.closed:
            self.closed, self.reason = True, reason
            if self._transport is not None:
                self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by duck typing
        self._ticker = self._loop.call_later(self._timeout_s / _CHECKS, self._tick)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed:
            self.closed, self.reason = True, type(exc).__name__ if exc else "closed by Redis"
        for timer in (self._ticker, self._watch):
            if timer is not None:
                timer.cancel()
        self._out.clear()
        self._out_bytes = 0
        while self._waiting:
            done, _ = self._waiting.popleft()
            if done is not None:
                self._give(done, BusDown(self.reason))
        if self._on_closed is not None:
            self._on_closed(self.reason)

    def data_received(self, data: bytes) -> None:
        self._heard += 1
        self._reader.feed(data)
        gets, waiting = self._reader.gets, self._waiting
        try:
            while (reply := gets()) is not _NOTHING:
                kind = type(reply)
                if kind is hiredis.PushNotification:
                    self._give(self._on_push, reply)
                    continue
                if kind is hiredis.ReplyError and self._refused(reply):
                    continue
                done, _ = waiting.popleft()
                if done is not None:
                    self._give(done, reply)
        except (hiredis.ProtocolError, IndexError):
            self.close("not understood")

    def _flush(self) -> None:
        transport = self._transport
        if not self._out or self.closed or transport is None:
            return
        transport.write(b"".join(self._out))
        self._out.clear()
        self._handed += self._out_bytes
        self._out_bytes = 0
        unsent = transport.get_write_buffer_size()
        if unsent > self._bound * _BURST:
            self.close("queue full")
        elif unsent > self._bound and self._watch is None:
            self._taken, self._stalls = self._handed - unsent, 0
            self._watch = self._loop.call_later(_STALL_S / _CHECKS, self._look)

    def _look(self) -> None:
        """While over the bound: close a link of which the kernel takes nothing any more."""
        self._watch = None
        unsent = self.queued_bytes - self._out_bytes
        if self.closed or unsent <= self._bound:
            return
        taken = self._handed - unsent
        self._stalls = 0 if taken > self._taken else self._stalls + 1
        self._taken = taken
        if self._stalls >= _CHECKS:
            self.close("queue full")
            return
        self._watch = self._loop.call_later(_STALL_S / _CHECKS, self._look)

    def _refused(self, error: Exception) -> bool:
        """Redis said no. True where that is dealt with here."""
        code = str(error).partition(" ")[0]
        if code == "MOVED" and self._on_moved is not None:
            self._on_moved()
        if self._refusals_close:
            self.close(f"subscription refused: {code}")
            return True
        if code == "NOSCRIPT":
            done, packed = self._waiting.popleft()
            self.send_packed(self._with_text(packed), done)
            return True
        self._metrics.bus_errors.labels(code if code.isupper() else "ERR").inc()
        if code not in _STATES:
            return False
        done, _ = self._waiting.popleft()
        if done is not None:
            self._give(done, BusDown(code))
        return True

    def _with_text(self, packed: bytes) -> bytes:
        """An EVALSHA as EVAL: Redis has forgotten the script, this time it learns it."""
        count, _, rest = packed.partition(_EVALSHA)
        text = self._scripts[rest[:40].decode()].encode()
        return b"%b\r\n$4\r\nEVAL\r\n$%d\r\n%b%b" % (count, len(text), text, rest[40:])

    def _give(self, take: Callable[[Any], None], reply: Any) -> None:
        try:
            take(reply)
        except Exception:
            log.exception("bus callback failed")

    def _tick(self) -> None:
        """Close a link that owes an answer and has been silent for the time-out; probe it."""
        silent = self._heard == self._heard_before
        self._heard_before = self._heard
        self._checks = self._checks + 1 if silent and self._waiting else 0
        if self._checks >= _CHECKS:
            self.close("no answer")
            return
        if not self._waiting:
            self.send(("PING",), partial(self._probed, self._loop.time()))
        self._ticker = self._loop.call_later(self._timeout_s / _CHECKS, self._tick)

    def _probed(self, began: float, pong: object) -> None:
        if not isinstance(pong, Exception):
            self._metrics.bus_seconds.observe(self._loop.time() - began)


def settle(future: "asyncio.Future[Any]", reply: Any) -> None:
    """End a future with a reply, unless its waiter has left."""
    if future.done():
        return
    if isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)


def packed_parts(*parts: Part) -> bytes:
    """Parts of a command, for commands put together from what is always the same."""
    texts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"".join(b"$%d\r\n%b\r\n" % (len(text), text) for text in texts)


def _unexpected(push: list[Any]) -> None:
    raise AssertionError(f"a push on a command link: {push[0]!r}")

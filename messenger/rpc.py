"""Method -> handler: is it known, may this caller, within the limits, well formed; then call it.

The only place where a refusal becomes an answer and a bug becomes error 100. Handlers that answer
by callback stay callbacks here: `call` returns a coroutine only where something must be awaited.
"""

import asyncio
import inspect
import logging
import random
import re
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from messenger.bus.link import BusDown
from messenger.db.engine import StoreDown
from messenger.feature import (
    Access,
    Answer,
    Caller,
    Feature,
    Later,
    Refused,
    Rpc,
    Shed,
    Sheds,
    sheds_nothing,
)
from messenger.limits import Check, Limits
from messenger.metrics import Metrics
from messenger.tracing import Asked, Sparing, current
from messenger.wire.codes import ErrorCode

HANDLER_TIMEOUT_S = 10.0  # statements have 2 s; a handler makes a few of them
SLOW_S = 1.0  # a person notices; told in the log with the trace, at most ten a second
LATER = {"retry_after_ms": 1_000}
SHED_MS = (5_000, 15_000)  # drawn, so that what was shed does not return at once
OFF = ("media.", "channels.", "calls.", "verification.", "accounts.push_token")

log = logging.getLogger(__name__)

Reply = Callable[[bytes | Refused], None]
_Mark = tuple[float, Caller | None, int | Asked]
"""When a call began, of whom, and which: a tuple, since every message makes one."""

_TOLD = ("rpc traced", "rpc slow")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class DuplicateMethodError(Exception):
    """Two features offer the same rpc: refused at start."""


class _Entry(Struct, frozen=True):
    rpc: Rpc
    decode: Callable[[bytes], Struct]
    waits: bool
    """A coroutine is needed: the handler is one, or one of its limits lives in Redis."""
    local: tuple[Check, ...]
    remote: tuple[str, ...]
    observe: Callable[[float], None]
    shed: Shed | None


class Rpcs:
    """The catalogue of this node."""

    def __init__(
        self,
        features: Iterable[Feature],
        limits: Limits,
        metrics: Metrics,
        *,
        enabled: bool,
        sheds: Sheds = sheds_nothing,
        slow_s: float = SLOW_S,
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._enabled = enabled
        self._sheds = sheds
        self._slow_s = slow_s
        self._sparing = (Sparing(time.monotonic), Sparing(time.monotonic))  # as _TOLD
        self._entries: dict[str, _Entry] = {}
        for feature in features:
            for rpc in feature.rpcs:
                self._add(feature.name, rpc)

    @property
    def methods(self) -> Sequence[Rpc]:
        return [entry.rpc for entry in self._entries.values()]

    def _add(self, feature: str, rpc: Rpc) -> None:
        if rpc.method in self._entries:
            raise DuplicateMethodError(f"{rpc.method} is offered twice, again by {feature}")
        remote = tuple(rule for rule in rpc.limits if not self._limits.is_local(rule))
        decoder: msgspec.json.Decoder[Struct] = msgspec.json.Decoder(rpc.request)
        self._entries[rpc.method] = _Entry(
            rpc=rpc,
            decode=decoder.decode,
            waits=bool(remote) or inspect.iscoroutinefunction(rpc.handler),
            local=(
                *map(self._limits.local_check, filter(self._limits.is_local, rpc.limits)),
                *rpc.gates,
            ),
            remote=remote,
            observe=self._metrics.rpc_seconds.labels(rpc.method).observe,
            shed=rpc.shed,
        )

    def call(
        self,
        method: str,
        data: bytes,
        caller: Caller | None,
        reply: Reply,
        *,
        http: bool = False,
        asked: int | Asked = 0,
    ) -> Coroutine[Any, Any, None] | None:
        """Call `method`; `reply` gets the encoded result or the refusal, exactly once.

        Returns a coroutine where the caller must run one; the reply comes at its end. `asked`: the
        number of the session's command, or what HTTP said of its trace.
        """
        mark = (time.perf_counter(), caller, asked)
        try:
            entry = self._find(method, caller, http=http)
            if entry.shed is not None and self._sheds(entry.shed):
                retry_ms = random.randint(*SHED_MS)  # noqa: S311 - spreads load
                raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": retry_ms})
            request = _decode(entry, data)
            for check in entry.local:
                check(caller, request)
            if entry.waits:
                return self._wait(entry, request, caller, reply, mark)
            answer = entry.rpc.handler(request, caller)
        except Exception as error:  # noqa: BLE001 - the session outlives a bug in one handler
            self._fail(method, error, reply, mark)
        else:
            if isinstance(answer, Later):
                answer.then(lambda settled: self._answer(entry, settled, reply, mark))
            else:
                self._answer(entry, answer, reply, mark)  # type: ignore[arg-type]  # not async
        return None

    def _find(self, method: str, caller: Caller | None, *, http: bool) -> _Entry:
        if not self._enabled:
            raise Refused(ErrorCode.NOT_AVAILABLE)
        entry = self._entries.get(method)
        if entry is None or (entry.rpc.access is Access.HTTP and not http):
            if method.startswith(OFF):
                raise Refused(ErrorCode.FEATURE_OFF, {"feature": method.partition(".")[0]})
            raise Refused(ErrorCode.METHOD_NOT_FOUND)
        if entry.rpc.access is Access.DEVICE and (caller is None or not caller.account):
            raise Refused(ErrorCode.UNAUTHORIZED)
        return entry

    async def _wait(
        self, entry: _Entry, request: Struct, caller: Caller | None, reply: Reply, mark: _Mark
    ) -> None:
        method = entry.rpc.method
        current.set(_asked(mark))
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                for rule in entry.remote:
                    await self._limits.check(rule, caller, request)
                answer = entry.rpc.handler(request, caller)
                if inspect.isawaitable(answer):
                    answer = await answer
        except Exception as error:  # noqa: BLE001 - the session outlives a bug in one handler
            self._fail(method, error, reply, mark)
        else:
            if isinstance(answer, Later):
                answer.then(lambda settled: self._answer(entry, settled, reply, mark))
            else:
                self._answer(entry, answer, reply, mark)

    def _answer(self, entry: _Entry, answer: Answer | Refused, reply: Reply, mark: _Mark) -> None:
        if isinstance(answer, Refused):
            self._refuse(entry.rpc.method, answer, reply, mark)
            return
        elapsed = time.perf_counter() - mark[0]
        entry.observe(elapsed)
        if elapsed > self._slow_s or mark[2].__class__ is Asked:
            self._tell(entry.rpc.method, elapsed, mark, answer)
        reply(msgspec.json.encode(answer))

    def _fail(self, method: str, error: Exception, reply: Reply, mark: _Mark) -> None:
        """Refusals are business; a store that is away is a refusal; the rest are bugs."""
        match error:
            case Refused():
                self._refuse(method, error, reply, mark)
            case TimeoutError():
                self._refuse(method, Refused(ErrorCode.TIMEOUT, LATER), reply, mark)
            case StoreDown() | BusDown():
                self._refuse(method, Refused(ErrorCode.OVERLOADED, LATER), reply, mark)
            case _:
                self._metrics.rpc_bugs.labels(method).inc()
                self._metrics.rpc_seconds.labels(method).observe(time.perf_counter() - mark[0])
                told = {"method": method, "trace": _asked(mark).id}
                log.error("rpc failed", extra=told, exc_info=error)
                reply(Refused(ErrorCode.INTERNAL))

    def _refuse(self, method: str, refused: Refused, reply: Reply, mark: _Mark) -> None:
        known = method if method in self._entries else "unknown"
        self._metrics.rpc_refused.labels(known, refused.code.name).inc()
        elapsed = time.perf_counter() - mark[0]
        self._metrics.rpc_seconds.labels(known).observe(elapsed)
        if elapsed > self._slow_s or mark[2].__class__ is Asked:
            self._tell(known, elapsed, mark, refused)
        reply(refused)

    def _tell(self, method: str, elapsed: float, mark: _Mark, answer: Answer | Refused) -> None:
        """A line for a slow call, and for one whose caller's tracer keeps it.

        Each sort is spared by itself, and only who has an account may ask for lines: else anybody
        could keep slow calls out of the log.
        """
        _, caller, _ = mark
        asked = _asked(mark)
        slow = elapsed > self._slow_s
        kept = asked.sampled and caller is not None and bool(caller.account)
        sparing = self._sparing[slow]
        if not (slow or kept) or not sparing.may():
            return
        told: dict[str, object] = {
            "method": method,
            "trace": asked.id,
            "seconds": round(elapsed, 4),
            "result": answer.code.name if isinstance(answer, Refused) else "answered",
            "lines_dropped": sparing.taken(),
        }
        for place in ("chat", "seq", "ev"):  # the same message on the bus and in the store
            if (number := getattr(answer, place, None)) is not None:
                told[place] = number
        log.log(logging.WARNING if slow else logging.INFO, _TOLD[slow], extra=told)


def _asked(mark: _Mark) -> Asked:
    _, caller, asked = mark
    if isinstance(asked, Asked):
        return asked
    return Asked(caller.session if caller is not None else "", asked)


def _decode(entry: _Entry, data: bytes) -> Struct:
    if rb"\u0000" in data and _NUL.search(data):  # no text may hold it, and no SQL text can
        raise Refused(ErrorCode.INVALID, {"field": "", "why": "NUL or half a character"})
    try:
        return entry.decode(data or b"{}")
    except msgspec.ValidationError as error:
        raise Refused(ErrorCode.BAD_REQUEST, _field_and_why(str(error))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Refused(ErrorCode.BAD_REQUEST, {"why": "data is not JSON"}) from None


def _field_and_why(message: str) -> dict[str, str]:
    """msgspec says: Expected `str`, got `int` - at `$.chat`; a missing field names itself."""
    found = _AT.search(message)
    why = message[: found.start()] if found else message
    path = found["path"] if found else ""
    missing = re.search(r"missing required field `(\w+)`", message)
    if missing:
        path = f"{path}.{missing[1]}" if path else missing[1]
    return {"field": path, "why": why.replace("`", "'")}

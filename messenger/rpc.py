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
from messenger.limits import Limits
from messenger.metrics import Metrics
from messenger.wire.codes import ErrorCode

HANDLER_TIMEOUT_S = 10.0  # statements have 2 s; a handler makes a few of them
LATER = {"retry_after_ms": 1_000}
SHED_MS = (5_000, 15_000)  # drawn, so that what was shed does not return at once
OFF = ("media.", "channels.", "calls.", "verification.", "accounts.push_token")

log = logging.getLogger(__name__)

Reply = Callable[[bytes | Refused], None]

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_AT = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


class DuplicateMethodError(Exception):
    """Two features offer the same rpc: refused at start."""


class _Entry(Struct, frozen=True):
    rpc: Rpc
    decode: Callable[[bytes], Struct]
    waits: bool
    """A coroutine is needed: the handler is one, or one of its limits lives in Redis."""
    local: tuple[str, ...]
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
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._enabled = enabled
        self._sheds = sheds
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
            local=tuple(rule for rule in rpc.limits if self._limits.is_local(rule)),
            remote=remote,
            observe=self._metrics.rpc_seconds.labels(rpc.method).observe,
            shed=rpc.shed,
        )

    def call(
        self, method: str, data: bytes, caller: Caller | None, reply: Reply, *, http: bool = False
    ) -> Coroutine[Any, Any, None] | None:
        """Call `method`; `reply` gets the encoded result or the refusal, exactly once.

        Returns a coroutine where the caller must run one; the reply comes at its end.
        """
        started = time.perf_counter()
        try:
            entry = self._find(method, caller, http=http)
            if entry.shed is not None and self._sheds(entry.shed):
                retry_ms = random.randint(*SHED_MS)  # noqa: S311 - spreads load
                raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": retry_ms})
            request = _decode(entry, data)
            for rule in entry.local:
                self._limits.check_now(rule, caller, request)
            if entry.waits:
                return self._wait(entry, request, caller, reply, started)
            answer = entry.rpc.handler(request, caller)
        except Exception as error:  # noqa: BLE001 - the session outlives a bug in one handler
            self._fail(method, error, reply, started)
        else:
            if isinstance(answer, Later):
                answer.then(lambda settled: self._answer(entry, settled, reply, started))
            else:
                self._answer(entry, answer, reply, started)  # type: ignore[arg-type]  # not async
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
        self, entry: _Entry, request: Struct, caller: Caller | None, reply: Reply, started: float
    ) -> None:
        method = entry.rpc.method
        try:
            async with asyncio.timeout(HANDLER_TIMEOUT_S):
                for rule in entry.remote:
                    await self._limits.check(rule, caller, request)
                answer = entry.rpc.handler(request, caller)
                if inspect.isawaitable(answer):
                    answer = await answer
        except Exception as error:  # noqa: BLE001 - the session outlives a bug in one handler
            self._fail(method, error, reply, started)
        else:
            if isinstance(answer, Later):
                answer.then(lambda settled: self._answer(entry, settled, reply, started))
            else:
                self._answer(entry, answer, reply, started)

    def _answer(
        self, entry: _Entry, answer: Answer | Refused, reply: Reply, started: float
    ) -> None:
        if isinstance(answer, Refused):
            self._refuse(entry.rpc.method, answer, reply, started)
            return
        entry.observe(time.perf_counter() - started)
        reply(msgspec.json.encode(answer))

    def _fail(self, method: str, error: Exception, reply: Reply, started: float) -> None:
        """Refusals are business; a store that is away is a refusal; the rest are bugs."""
        match error:
            case Refused():
                self._refuse(method, error, reply, started)
            case TimeoutError():
                self._refuse(method, Refused(ErrorCode.TIMEOUT, LATER), reply, started)
            case StoreDown() | BusDown():
                self._refuse(method, Refused(ErrorCode.OVERLOADED, LATER), reply, started)
            case _:
                self._metrics.rpc_bugs.labels(method).inc()
                self._metrics.rpc_seconds.labels(method).observe(time.perf_counter() - started)
                log.error("rpc failed", extra={"method": method}, exc_info=error)
                reply(Refused(ErrorCode.INTERNAL))

    def _refuse(self, method: str, refused: Refused, reply: Reply, started: float) -> None:
        known = method if method in self._entries else "unknown"
        self._metrics.rpc_refused.labels(known, refused.code.name).inc()
        self._metrics.rpc_seconds.labels(known).observe(time.perf_counter() - started)
        reply(refused)


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

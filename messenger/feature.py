"""What a feature hands to the core, and what the core hands to a feature's handlers.

A handler answers in one of three ways: it returns the result, it is a coroutine function, or it
returns `Later`, whose answer comes by callback after a commit (no task, no future per message).
An expected "no" is raised as `Refused`; anything else that escapes is a bug.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from enum import Enum, IntEnum
from typing import Any, Protocol

import msgspec
from msgspec import Struct
from starlette.routing import BaseRoute

from messenger.ids import AccountId, ChatId, DeviceId
from messenger.wire.codes import TEMPORARY, ErrorCode

ERROR_BYTES = 512  # of an error's message; the Centrifuge error has no field for details


class Refused(Exception):  # noqa: N818 - a refusal is normal business, not an error
    """An expected no: a code and the details that name rule, counter and retry time."""

    def __init__(self, code: ErrorCode, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details or {}

    @property
    def message(self) -> str:
        """`NAME {details}`: all that fits into the error's one text field."""
        if not self.details:
            return self.code.message
        details = msgspec.json.encode(self.details).decode()
        whole = f"{self.code.message} {details}"
        return whole if len(whole.encode()) <= ERROR_BYTES else self.code.message

    @property
    def temporary(self) -> bool:
        return self.code in TEMPORARY


class Caller(Struct, frozen=True, gc=False):
    """Who asks: a signed-in device, and where from."""

    account: AccountId
    device: DeviceId
    address: str
    """The peer's IP address, for limits only; never logged whole."""
    session: str = ""
    """The connection's client id on the wire; empty over HTTP."""


Answer = Struct | Mapping[str, Any] | msgspec.Raw


class Later:
    """An answer that follows the commit. Settled exactly once, read by at most one listener."""

    __slots__ = ("_answer", "_listener")

    def __init__(self) -> None:
        self._answer: Answer | Refused | None = None
        self._listener: Callable[[Answer | Refused], None] | None = None

    def settle(self, answer: Answer | Refused) -> None:
        if self._answer is not None:
            raise AssertionError("an answer is settled once")
        self._answer = answer
        if self._listener is not None:
            self._listener(answer)

    def then(self, listener: Callable[[Answer | Refused], None]) -> None:
        """Call `listener` with the answer: now if it is there, else when it comes."""
        self._listener = listener
        if self._answer is not None:
            listener(self._answer)


class Access(Enum):
    """Who may call an rpc."""

    DEVICE = "a signed-in device, by socket or HTTP"
    HTTP = "anyone, by HTTP only: the methods that make tokens"
    ANYONE = "any connection, signed in or not"


class Shed(IntEnum):
    """What a node leaves undone under load, in this order (`delivery/shedding.py`)."""

    PRESENCE = 1
    TYPING = 2
    VIEWS = 3
    RECEIPTS = 4
    HISTORY = 5
    SIGN_INS = 6


Sheds = Callable[[Shed], bool]
"""`Ladder.sheds`, whether to drop this now; or `Ladder.is_shedding`, whether to go easy on it."""


def sheds_nothing(_what: Shed) -> bool:
    """For parts that run without a ladder."""
    return False


Handler = Callable[[Any, Any], Answer | Later | Awaitable[Answer | Later]]
"""(request struct, Caller) -> answer. For `Access.HTTP` the caller's account and device are 0."""


class Rpc(Struct, frozen=True):
    """One method of the catalogue."""

    method: str
    request: type[Struct]
    handler: Handler
    limits: tuple[str, ...] = ()
    """Names of rules in `limits.py`; checked in order before the handler runs."""
    gates: tuple[Callable[[Caller, Any], None], ...] = ()
    """Asked with (caller, request) before any limit that lives in Redis; they refuse by raising."""
    access: Access = Access.DEVICE
    shed: Shed | None = None
    """Answered 1000 OVERLOADED while the ladder sheds this."""
    results: tuple[type[Struct], ...] = ()
    """What a handler that returns `Later` will answer; for others its annotation says so."""


class Background(Struct, frozen=True):
    """A task of the node: it runs until cancelled; if it dies, the node dies loudly."""

    name: str
    run: Callable[[], Coroutine[Any, Any, None]]
    worker: bool = False
    """Its work lies in the stores, for whichever worker claims it; a gateway alone leaves it."""


class NameGuard(Protocol):
    """Refuses names and usernames that look like a protected one (filled by verification)."""

    async def check(self, *, owner: int, name: str | None, username: str | None) -> None:
        """Raise Refused(NAME_REFUSED, {why, case}) or return."""
        ...


class WriteGate(Protocol):
    """May refuse a write to a chat that carries a candidate fact (filled by verification)."""

    def check(self, *, chat: ChatId, account: AccountId) -> None: ...


class ConsolePage(Struct, frozen=True):
    """A page a feature adds to the administrators' console."""

    title: str
    right: str
    routes: tuple[BaseRoute, ...]


class Feature(Struct, frozen=True):
    """All that a feature offers, listed in one place; nothing registers itself on import."""

    name: str
    rpcs: Sequence[Rpc] = ()
    routes: Sequence[BaseRoute] = ()
    tasks: Sequence[Background] = ()
    pages: Sequence[ConsolePage] = ()
    name_guard: NameGuard | None = None
    write_gate: WriteGate | None = None

"""Logs: one JSON object a line on stderr, a static event and fields.

What users wrote must not reach a log, whatever library reports it: only the template of a
message is kept, never its arguments, and of an exception its type and stack, never its text
(database drivers put values there).
"""

import ipaddress
import logging
import socket
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

import msgspec

from messenger.tracing import current

_EVENT_CHARS = 120
_FIELD_CHARS = 300
_FRAMES = 20
_SECRET = frozenset(
    {"text", "body", "name", "title", "phone", "code", "token", "password", "sdp", "candidate"}
    | {"secret", "authorization", "cookie", "address", "payload", "data", "account"}
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one line; fields come from `extra`."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node
        self._encode = msgspec.json.Encoder().encode

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": _event(record.msg),
            "node": self._node,
            "logger": record.name,
        }
        asked = current.get()
        if asked is not None:
            line["trace"] = asked.id
        for name, value in vars(record).items():
            if name not in _STANDARD and name not in line:
                line[name] = _field(name, value)
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            line["stack"] = _stack(record.exc_info[2])
            line["caused_by"] = _causes(record.exc_info[1])
        return self._encode(line).decode()


def configure(node: str, level: str = "info", stream: TextIO | None = None) -> logging.Handler:
    """Send everything to stderr as JSON lines, other libraries from warnings on only."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(node))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for package in ("messenger", "channels", "calls", "verification", "loadgen"):
        logging.getLogger(package).setLevel(level.upper())
    for chatty in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logger = logging.getLogger(chatty)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    return handler


def node_name(host: str, port: int) -> str:
    """As operators know it: who listens on all addresses is named by its machine."""
    everywhere = host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not listened on
    return f"{socket.gethostname() if everywhere else host}:{port}"


def network_of(address: str) -> str:
    """The /24 or /48 of an address: all that may be logged of it."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    prefix = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network((parsed, prefix), strict=False))


def _event(message: object) -> str:
    # asyncio's own reports append the representation of tasks and errors on further lines
    first = str(message).partition("\n")[0]
    return first[:_EVENT_CHARS]


def _field(name: str, value: object) -> object:
    if name in _SECRET:
        return "hidden"
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:_FIELD_CHARS]
    if isinstance(value, list | tuple | set | frozenset):
        return [_field(name, one) for one in list(value)[:_FRAMES]]
    return type(value).__name__


def _stack(trace: TracebackType | None) -> list[str]:
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _causes(error: BaseException | None) -> list[str]:
    """Types of what lies below: members of a group, then causes, innermost last."""
    found: list[str] = []
    waiting = [error] if error is not None else []
    while waiting and len(found) < _FRAMES:
        current = waiting.pop(0)
        below = [current.__cause__ or current.__context__]
        if isinstance(current, BaseExceptionGroup):
            below = [*current.exceptions, *below]
        for one in below:
            if one is not None:
                found.append(f"{type(one).__name__} {(_stack(one.__traceback__) or [''])[-1]}")
                waiting.append(one)
    return found

"""The opening handshake (RFC 6455, 4.2), for requests that have nothing unusual.

uvicorn has parsed the head already. Writing it out again, so that the library may parse it anew,
and keeping the library's state machine for sockets that never send anything but whole frames, were
a third of a login and of an idle session's memory. Whatever is not exactly usual goes to the
library, which then gives the answer: `usual_upgrade` refuses nothing itself.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from msgspec import Struct
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

PATH = "/connection/websocket"
PROTOBUF = "centrifuge-protobuf"
SUBPROTOCOLS = (PROTOBUF, "centrifuge-json")
_ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES, _KEY_CHARACTERS = 16, 24
_ONCE = frozenset(
    {b"connection", b"upgrade", b"host", b"origin"}
    | {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol"}
)
_WITH_BODY = frozenset({b"content-length", b"transfer-encoding"})


class Refusal(Exception):  # noqa: N818 - an expected no
    """An upgrade that is refused before the handshake, as an HTTP answer."""

    def __init__(self, status: HTTPStatus, why: str, retry_after_s: int = 0) -> None:
        super().__init__(why)
        self.status, self.why, self.retry_after_s = status, why, retry_after_s


class Upgrade(Struct, frozen=True, gc=False):
    """What a request for a WebSocket says, as far as anybody asks."""

    path: str
    """With the query."""
    key: bytes
    offered: Sequence[str] = ()
    """Subprotocols."""
    origin: str | None = None
    host: str = ""
    forwarded_for: str = ""


def usual_upgrade(
    method: str, url: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> Upgrade | None:
    """From a head of HTTP/1.1 with lower-case names; None: for the library."""
    said: dict[bytes, bytes] = {}
    forwarded: list[bytes] = []
    for name, value in headers:
        if name in _ONCE:
            if name in said:
                return None
            said[name] = value
        elif name == b"x-forwarded-for":
            forwarded.append(value)
        elif name in _WITH_BODY:
            return None
    key = said.get(b"sec-websocket-key", b"")
    tokens = said.get(b"connection", b"").lower().replace(b" ", b"").split(b",")
    usual = (
        method == "GET"
        and said.get(b"upgrade", b"").lower() == b"websocket"
        and b"upgrade" in tokens
        and said.get(b"sec-websocket-version") == b"13"
        and _is_key(key)
        and b"host" in said
    )
    if not usual:
        return None
    try:
        origin = said.get(b"origin")
        return Upgrade(
            path=url.decode("ascii"),
            key=key,
            offered=_tokens(said.get(b"sec-websocket-protocol", b"").decode("ascii")),
            origin=None if origin is None else origin.decode("ascii"),
            host=said[b"host"].decode("ascii"),
            forwarded_for=b",".join(forwarded).decode("ascii"),
        )
    except UnicodeDecodeError:
        return None


def forwarded_for(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """What a head says of it; any bytes do, `client_address` reads addresses alone."""
    said = [value for name, value in headers if name == b"x-forwarded-for"]
    return b",".join(said).decode("latin-1") if said else ""


def upgrade_of(request: Request) -> Upgrade:
    """The same from the library's request. Raises MultipleValuesError where one is given twice."""
    headers = request.headers
    return Upgrade(
        path=request.path,
        key=b"",
        offered=_tokens(",".join(headers.get_all("Sec-WebSocket-Protocol"))),
        origin=headers.get("Origin"),
        host=headers.get("Host", ""),
        forwarded_for=",".join(headers.get_all("X-Forwarded-For")),
    )


def accepted(upgrade: Upgrade) -> bytes:
    """The answer 101; without a date, which RFC 9110 (6.6.1) leaves to the server here."""
    digest = hashlib.sha1(upgrade.key + _ACCEPT_GUID, usedforsecurity=False).digest()
    chosen = next((name for name in SUBPROTOCOLS if name in upgrade.offered), None)
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n%b\r\n"
    ) % (
        base64.b64encode(digest),
        b"" if chosen is None else b"Sec-WebSocket-Protocol: %b\r\n" % chosen.encode(),
    )


def choose_subprotocol(_: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first we know; unlike the library's default, none offered is fine."""
    return next((Subprotocol(name) for name in SUBPROTOCOLS if name in offered), None)


def _tokens(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _is_key(key: bytes) -> bool:
    if len(key) != _KEY_CHARACTERS:
        return False
    try:
        return len(binascii.a2b_base64(key, strict_mode=True)) == _KEY_BYTES
    except binascii.Error:
        return False

"""The HTTP side of the node's socket: uvicorn's protocol, with the bounds it lacks.

Bounds of size: httptools keeps heads and trailers of any length. Bounds of time: uvicorn has none
until a request is complete. Bound of number: who has gone longest without a request goes first.
"""

import asyncio
import random
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from messenger.gateway.admission import retry_after_s
from messenger.gateway.entrance import Entrance
from messenger.gateway.handshake import PATH, Upgrade, forwarded_for, usual_upgrade

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

URL_BYTES = 8_192
HEAD_BYTES = 32_768
REQUEST_TIMEOUT_S = 10.0  # for a head; uvicorn has none
BODY_TIMEOUT_S = 15.0  # for the rest; `read_body` answers after 10, this ends who is not heard
SEND_TIMEOUT_S = 10.0  # a peer that does not read its answers
HTTP_MOST = 6_000  # as `upgrade_burst`: an upgrade is plain HTTP until its head is read
CROWD = "http_connections"


class HeadTooLongError(Exception):
    """Raised inside the parser, which answers with the status kept in the door."""


class Gate(Protocol):
    """What the node's gateway is to those who want to become WebSockets."""

    entrance: Entrance

    def knock(self, peer: str, forwarded_for: str) -> str | None:
        """Why they are not taken in now; None: come in."""
        ...


class RequestDoor(HttpToolsProtocol):
    """One connection until it is a WebSocket, or for all of its HTTP requests."""

    def __init__(
        self,
        config: "Config",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._crowd: dict[RequestDoor, None] = app_state.setdefault(CROWD, {})
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0  # moved by every step of a request; the timer follows when it fires
        self._stalled: asyncio.TimerHandle | None = None
        self._head = 0
        """Bytes of URL, headers and trailers of this request."""
        self._unparsed = 0
        """Bytes read since the parser last finished something: one endless header, say."""
        self._status = HTTPStatus.BAD_REQUEST
        self._retry_after_s = 0

    # what the loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._arm(REQUEST_TIMEOUT_S)
        self._crowd[self] = None
        if len(self._crowd) > HTTP_MOST:
            next(iter(self._crowd)).make_room()

    def data_received(self, data: bytes) -> None:
        if not self._deadline:
            self._arm(REQUEST_TIMEOUT_S)  # line breaks between requests begin none
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > HEAD_BYTES and not self.transport.is_closing():
            self._status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            self.send_400_response(self._status.phrase)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(SEND_TIMEOUT_S, self._end)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.let_go()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        """In its turn; while it waits nothing more is read. A refusal costs a tenth of a yes."""
        if self.url.partition(b"?")[0] != PATH.encode():
            self._status = HTTPStatus.NOT_FOUND
            self.send_400_response(f"the WebSocket is at {PATH}")
            return
        gate: Gate = self.app_state["gateway"]
        peer = self.client[0] if self.client else ""
        why = gate.knock(peer, forwarded_for(self.headers))
        if why is None:
            self.transport.pause_reading()
            gate.entrance.handshake(self._upgrade)
            return
        self._status = HTTPStatus.SERVICE_UNAVAILABLE
        self._retry_after_s = retry_after_s(random.random())  # noqa: S311 - spreads load
        self.send_400_response(f"not now: {why}")

    def _upgrade(self) -> None:
        if self.transport.is_closing():
            return
        self.transport.resume_reading()
        usual = None
        try:
            if self.scope["http_version"] == "1.1":
                usual = usual_upgrade(self.scope["method"], self.url, self.headers)
            if usual is None:
                super().handle_websocket_upgrade()
            else:
                self._hand_over(usual)
        except Exception:
            self.transport.abort()  # nobody would answer it any more
            raise

    def _hand_over(self, asked: Upgrade) -> None:
        """As uvicorn does, without writing the head out again."""
        self.connections.discard(self)
        make: Any = self.ws_protocol_class
        protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.app_state
        )
        protocol.connection_made(self.transport)
        protocol.upgrade(asked)
        self.transport.set_protocol(protocol)

    # what the parser calls

    def on_message_begin(self) -> None:
        self._head = self._unparsed = 0
        self._arm(REQUEST_TIMEOUT_S)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._grow(len(url), URL_BYTES, HTTPStatus.REQUEST_URI_TOO_LONG)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow(
            len(name) + len(value) + 4, HEAD_BYTES, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        )
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._crowd.pop(self, None)
        self._crowd[self] = None  # the youngest again
        self._arm(BODY_TIMEOUT_S)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        self._disarm()
        super().on_message_complete()

    # inside the package

    def let_go(self) -> None:
        """The connection is gone, or belongs to a WebSocket, whose door hears of the end alone."""
        self._crowd.pop(self, None)
        self._disarm()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def make_room(self) -> None:
        """Too many are here, and this one has been quiet for longest."""
        self._crowd.pop(self, None)
        if self.cycle is None or self.cycle.response_complete:  # type: ignore[redundant-expr]  # it begins as None
            self._status = HTTPStatus.SERVICE_UNAVAILABLE
            self.send_400_response(self._status.phrase)
        self._end()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's only answer to what cannot be parsed; here with the status that says why."""
        answer = f"{msg}\n".encode()
        self.transport.write(
            b"HTTP/1.1 %d %b\r\n" % (self._status, self._status.phrase.encode())
            + b"Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
            + (b"Retry-After: %d\r\n" % self._retry_after_s if self._retry_after_s else b"")
            + b"Content-Length: %d\r\n\r\n%b" % (len(answer), answer)
        )
        self.transport.close()

    def _grow(self, more: int, most: int, status: HTTPStatus) -> None:
        self._head += more
        if self._head > most:
            self._status = status
            raise HeadTooLongError

    def _arm(self, timeout_s: float) -> None:
        self._deadline = self.loop.time() + timeout_s
        if self._timer is None:
            self._timer = self.loop.call_later(timeout_s, self._look)

    def _disarm(self) -> None:
        self._deadline = 0.0

    def _look(self) -> None:
        self._timer = None
        left_s = self._deadline - self.loop.time()
        if not self._deadline:
            return
        if left_s > 0:
            self._timer = self.loop.call_later(left_s, self._look)
        else:
            self._end()

    def _end(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # a close would wait for a peer that does not read
        else:
            self.transport.close()

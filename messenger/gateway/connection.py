"""The transport below a session: frames, plugged into uvicorn as `ws=`.

This file and request_door.py know uvicorn's inside; tests/gateway/test_connection.py walks over
what they rely on. Above them nobody sees a socket. One write per connection and loop turn, see
turn.py. Budget: 10 KiB per idle session, one system call per write (bench idle_memory, fanout_1k).
"""

import asyncio
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from websockets.datastructures import MultipleValuesError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from messenger.gateway.door import ConnectionHandler, Door
from messenger.gateway.handshake import (
    Refusal,
    Upgrade,
    accepted,
    choose_subprotocol,
    upgrade_of,
)
from messenger.gateway.inbound import BINARY, TEXT, cut, whole_text
from messenger.gateway.request_door import RequestDoor
from messenger.gateway.turn import IDLE
from messenger.wire.codes import CloseCode

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

CLOSE_TIMEOUT_S = 5.0  # from our close frame to the abort
SLICE = 4_096  # bytes given to the general parser between two looks at what came of them
CONTROL_MOST = 1_000  # pings, pongs and fragments in a window; SDKs send one in 25 s
CONTROL_WINDOW_S = 10.0
SLOW_TIMEOUT_S = 1.0  # a peer that does not read gets no longer

WS_LOG = logging.getLogger("messenger.gateway.websocket")
WS_LOG.setLevel(logging.WARNING)  # it writes a line per connection at INFO


class GatewayProtocol(asyncio.Protocol):
    """One WebSocket connection. Nobody but `flush` and `finish` writes to the transport."""

    __slots__ = (
        "_binary_message",
        "_control",
        "_control_until",
        "_excused",
        "_flooded",
        "_fragments",
        "_library",
        "_rest",
        "_timer",
        "_usual",
        "binary",
        "closing",
        "door",
        "handler",
        "lagging",
        "out",
        "peer",
        "queued",
        "server_state",
        "transport",
        "up",
    )

    def __init__(
        self, config: "Config", server_state: "ServerState", app_state: dict[str, Any]
    ) -> None:
        self.server_state = server_state
        self.door: Door = app_state["gateway"]
        self.out: list[bytes] = []
        self.queued = IDLE
        self.handler: ConnectionHandler | None = None
        self.closing = False
        self.lagging = False
        self.binary = False
        self.peer = ""
        self.up = True
        self._library: ServerProtocol | None = None
        self._fragments: list[bytes] | None = None
        self._binary_message = False
        self._excused = 0
        self._rest = b""
        self._usual = True
        self._control = 0
        self._control_until = 0.0
        self._flooded = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP only
        http = transport.get_protocol()
        if isinstance(http, HttpToolsProtocol):
            http.parser = None  # type: ignore[assignment]  # breaks its cycle with the parser: connection_lost never comes
            if isinstance(http, RequestDoor):
                http.let_go()
        self.transport = transport
        address = transport.get_extra_info("peername")
        self.peer = address[0] if address else ""
        self.server_state.connections.add(self)  # type: ignore[arg-type]  # uvicorn names its own classes
        transport.set_write_buffer_limits(high=self.door.write_high, low=self.door.write_low)

    def upgrade(self, asked: Upgrade) -> None:
        """Called instead of `data_received` with a request that is already read, and usual."""
        try:
            self.handler = self.door.open(self, asked)
        except Refusal as refused:
            self._refuse(refused)
            self._send_control()
        else:
            self._put(accepted(asked))

    def data_received(self, data: bytes) -> None:
        if not self.up or self._flooded:
            return
        handler = self.handler
        if self._usual and handler is not None:
            text = None if self._rest or self.closing else whole_text(data, self.door.frame_bytes)
            if text is not None:
                handler.on_text(text)
                return
            data = self._cut(data)
        if data:
            self._parse(data)

    def _cut(self, data: bytes) -> bytes:
        """Handle the usual frames; returns what is for the library."""
        if self._rest:
            data = self._rest + data
        found = cut(data, self.door.frame_bytes)
        for first, payload in found.frames:
            if self._flooded:
                return b""
            if first in (TEXT, BINARY):
                self._on_message(payload, binary=first == BINARY)
            else:
                self._parse(payload)
        self._usual = found.usual
        self._rest = data[found.used :] if found.usual else b""
        return b"" if found.usual else data[found.used :]

    def _parse(self, data: bytes) -> None:
        """By the library, in slices: what a peer packs into one read must not stop the loop."""
        ws = self._websockets()
        for at in range(0, len(data), SLICE):
            ws.receive_data(data[at : at + SLICE])
            for event in ws.events_received():
                if isinstance(event, Request):
                    self._on_request(event, ws)
                elif isinstance(event, Frame) and not self._is_flood():
                    self._on_frame(event)
            self._send_control()
            if self._flooded:
                return

    def _is_flood(self) -> bool:
        """Pings and fragments cost more than they say, so they are counted before anything else."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._control_until:
            self._control, self._control_until = 0, loop.time() + CONTROL_WINDOW_S
        self._control += 1
        if self._control > CONTROL_MOST and not self._flooded:
            self._flooded = True
            self.close(CloseCode.TOO_MANY_REQUESTS, timeout_s=SLOW_TIMEOUT_S)
            self.pause_reading()
        return self._flooded

    def eof_received(self) -> None:
        if self.up:
            self._websockets().receive_eof()
            self._send_control()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        ws, handler = self._library, self.handler
        self.closing, self.up, self._library, self.handler = True, False, None, None
        self.out.clear()
        code = None
        if ws is not None:
            code = ws.close_rcvd.code if ws.close_rcvd is not None else None
            # its cycles: the parser's generator, `select_subprotocol`, a cut socket's traceback
            vars(ws).clear()
        if handler is not None:
            handler.on_closed(code)

    def pause_writing(self) -> None:
        self.lagging = True
        if self.handler is not None:
            self.handler.on_lagging()

    def resume_writing(self) -> None:
        self.lagging = False
        self._excused = 0
        if self.handler is not None:
            self.handler.on_drained()

    def shutdown(self) -> None:
        """uvicorn asks all connections to go; a session waits for its turn in the drain."""
        if self.handler is None:
            self.transport.close()
        else:
            self.door.leave(self.handler)

    # what sessions call

    def write(self, frame: bytes) -> None:
        """One or more complete frames; sent at the end of the turn, in order."""
        if not self.closing:
            self._put(frame)
            if self.lagging:
                self._check_lag()

    def write_bulk(self, frame: bytes) -> None:
        """As `write`, in slices after what is urgent: publications to very many sessions."""
        if not self.closing:
            self.out.append(frame)
            if self.queued is IDLE:
                self.door.turn.bulk(self)
            if self.lagging:
                self._check_lag()

    def write_reply(self, frame: bytes) -> None:
        """As `write`, for a bounded reply: only what queues behind it counts as lag."""
        if not self.closing:
            self._excused += len(frame)
            self._put(frame)

    def buffered(self) -> int:
        """Bytes that wait here and in the transport."""
        return self.transport.get_write_buffer_size() + sum(map(len, self.out))

    def close(self, code: CloseCode, *, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Flush, close frame, abort after the time-out."""
        if self.closing or not self.up:
            return
        ws = self._websockets()
        if ws.state is State.OPEN:
            ws.send_close(code, code.reason)
        self._close_soon(timeout_s)
        self._send_control()

    def pause_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def flush(self) -> None:
        """Hand all that waits to the transport in one write; called once a turn."""
        self.queued = IDLE
        out = self.out
        if out:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
            if not self.lagging:  # the reply has left: nothing is queued behind it
                self._excused = 0

    # inside

    def _websockets(self) -> ServerProtocol:
        """The library's state machine, made for the first thing that is not a whole frame."""
        if self._library is None:
            state = State.CONNECTING if self.handler is None else State.OPEN
            self._library = ServerProtocol(
                max_size=self.door.frame_bytes,
                select_subprotocol=choose_subprotocol,
                state=state,
                logger=WS_LOG,
            )
        return self._library

    def _on_request(self, request: Request, ws: ServerProtocol) -> None:
        headers = request.headers
        offered = headers.get_all("Sec-WebSocket-Protocol")
        if offered and not any(offered):
            del headers["Sec-WebSocket-Protocol"]  # old centrifuge-python sends an empty one
        try:
            handler = self.door.open(self, upgrade_of(request))
        except MultipleValuesError:
            self._refuse(Refusal(HTTPStatus.BAD_REQUEST, "a header is given twice"))
            return
        except Refusal as refused:
            self._refuse(refused)
            return
        response = ws.accept(request)
        ws.send_response(response)
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self.handler = handler
        else:
            handler.on_closed(None)

    def _refuse(self, refusal: Refusal) -> None:
        ws = self._websockets()
        response = ws.reject(refusal.status, refusal.why + "\n")
        if refusal.retry_after_s:
            response.headers["Retry-After"] = str(refusal.retry_after_s)
        ws.send_response(response)

    def _on_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT or frame.opcode is Opcode.BINARY:
            self._binary_message = frame.opcode is Opcode.BINARY
            if frame.fin:
                self._on_message(bytes(frame.data), binary=self._binary_message)
            else:
                self._fragments = [bytes(frame.data)]
        elif frame.opcode is Opcode.CONT and self._fragments is not None:
            if frame.data:
                self._fragments.append(bytes(frame.data))
            if frame.fin:
                message, self._fragments = b"".join(self._fragments), None
                self._on_message(message, binary=self._binary_message)
        elif frame.opcode is Opcode.PONG and self.handler is not None:
            self.handler.on_pong()

    def _on_message(self, data: bytes, *, binary: bool) -> None:
        handler = self.handler
        if handler is None or self.closing:
            return
        if binary:
            handler.on_binary(data)
        else:
            handler.on_text(data)

    def _send_control(self) -> None:
        """Queue what the protocol has to say: 101, pong, close, end of stream."""
        ws = self._library
        if ws is None:
            return
        for chunk in ws.data_to_send():
            if chunk:
                self._put(chunk)
            else:
                self._finish()
        if ws.state is State.CLOSING and not self.closing:
            self._close_soon(CLOSE_TIMEOUT_S)

    def _close_soon(self, timeout_s: float) -> None:
        self.closing = True
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(timeout_s, self.transport.abort)

    def _finish(self) -> None:
        self.closing = True
        self.flush()
        self.transport.close()

    def _put(self, data: bytes) -> None:
        self.out.append(data)
        self.door.turn.urgent(self)

    def _check_lag(self) -> None:
        over = self.buffered() - self._excused > self.door.lag_bytes
        if over and self.handler is not None:
            self.handler.cut_off()

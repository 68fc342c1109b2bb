"""The wires of the peers, as far as sending and hearing a message needs: NATS, MQTT 3.1.1 at QoS 0.

Hot path: one call per message, no task. Neither server stores anything here, and a sender gets no
ack: it is the price of pure delivery.
"""

import asyncio
from collections.abc import Callable
from typing import cast

Heard = Callable[[int, bytes], None]
"""Called with the connection's number and a message's body."""

CONNACK, PUBLISH, SUBACK = 0x20, 0x30, 0x90


class Nats(asyncio.Protocol):
    """One connection that listens to at most one subject."""

    def __init__(self, heard: Heard, tag: int, topic: str) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.WriteTransport | None = None
        self._heard, self._tag, self._topic = heard, tag, topic.encode()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.WriteTransport, transport)  # uvloop's own class
        listen = b"SUB %b 1\r\n" % self._topic if self._topic else b""
        transport.write(b'CONNECT {"verbose":false,"echo":true}\r\n%bPING\r\n' % listen)

    def publish(self, topic: bytes, body: bytes) -> None:
        if self.transport is not None:
            self.transport.write(b"PUB %b %d\r\n%b\r\n" % (topic, len(body), body))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at = 0
        while (end := data.find(b"\r\n", at)) >= 0:
            if data.startswith(b"MSG", at):
                stop = end + 2 + int(data[data.rfind(b" ", at, end) + 1 : end])
                if len(data) < stop + 2:
                    break
                self._heard(self._tag, data[end + 2 : stop])
                at = stop + 2
            else:
                self._other(data[at:end])
                at = end + 2
        self._rest = data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        _refuse(self.ready, f"closed: {error}")

    def _other(self, line: bytes) -> None:
        if line == b"PING" and self.transport is not None:
            self.transport.write(b"PONG\r\n")
        elif line == b"PONG" and not self.ready.done():
            self.ready.set_result(None)
        elif line.startswith(b"-ERR"):
            _refuse(self.ready, line.decode())


class Mqtt(asyncio.Protocol):
    """One connection that listens to at most one topic."""

    def __init__(self, heard: Heard, tag: int, topic: str) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.WriteTransport | None = None
        self._heard, self._tag, self._topic = heard, tag, topic.encode()
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport = cast(asyncio.WriteTransport, transport)  # uvloop's own class
        clean, no_keepalive = b"\x02", b"\x00\x00"
        body = b"\x00\x04MQTT\x04" + clean + no_keepalive + _text(b"load-%d" % id(self))
        transport.write(_packet(0x10, body))

    def publish(self, topic: bytes, body: bytes) -> None:
        if self.transport is not None:
            self.transport.write(_packet(PUBLISH, _text(topic) + body))

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        at, length = 0, len(data)
        while at + 2 <= length:
            size, body = _length(data, at + 1)
            if body < 0 or body + size > length:
                break
            kind = data[at] & 0xF0
            if kind == PUBLISH:
                topic = 2 + int.from_bytes(data[body : body + 2])
                self._heard(self._tag, data[body + topic : body + size])
            else:
                self._other(kind, data[body : body + size])
            at = body + size
        self._rest = data[at:]

    def connection_lost(self, error: Exception | None) -> None:
        _refuse(self.ready, f"closed: {error}")

    def _other(self, kind: int, body: bytes) -> None:
        if kind == CONNACK and body[1]:
            _refuse(self.ready, f"refused with {body[1]}")
        elif kind == CONNACK and self._topic and self.transport is not None:
            self.transport.write(_packet(0x82, b"\x00\x01" + _text(self._topic) + b"\x00"))
        elif kind in (CONNACK, SUBACK) and not self.ready.done():
            self.ready.set_result(None)


Wire = Nats | Mqtt


def _refuse(ready: "asyncio.Future[None]", why: str) -> None:
    if not ready.done():
        ready.set_exception(ConnectionError(why))


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def _packet(kind: int, body: bytes) -> bytes:
    """MQTT 3.1.1, 2.2.3: the length in groups of seven bits, lowest first."""
    left, length = len(body), bytearray()
    while True:
        left, low = divmod(left, 128)
        length.append(low | (0x80 if left else 0))
        if not left:
            return bytes([kind]) + bytes(length) + body


def _length(data: bytes, at: int) -> tuple[int, int]:
    """(remaining length, where the body starts); the second is -1 where bytes are missing."""
    size = shift = 0
    while at < len(data):
        size |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return size, at
        shift += 7
    return 0, -1

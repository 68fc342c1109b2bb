"""The connection under a real uvicorn: what it relies on, and what bad input gets (RFC 6455)."""

import asyncio
import base64
import gc
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.server import ServerProtocol

from messenger.gateway.connection import GatewayProtocol
from tests.gateway.conftest import Served

KEY = base64.b64encode(b"0123456789abcdef").decode()
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


def client_frame(payload: bytes, first: int = 0x81, *, masked: bool = True) -> bytes:
    length = len(payload)
    head = bytes([first])
    bit = 0x80 if masked else 0
    if length < 126:
        head += bytes([bit | length])
    elif length < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", length)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


class Raw:
    """A socket that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(
        cls, served: Served, path: str = "/connection/websocket", more: str = ""
    ) -> "Raw":
        raw = cls(*await asyncio.open_connection("127.0.0.1", served.port))
        raw.writer.write(UPGRADE.format(path=path, key=KEY, more=more).encode())
        return raw

    async def head(self) -> str:
        async with asyncio.timeout(5):
            return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def upgraded(self) -> "Raw":
        assert "101" in await self.head()
        return self

    async def close_code(self) -> int:
        """The code of the close frame that ends the stream."""
        async with asyncio.timeout(5):
            data = await self.reader.read(4096)
            assert data[0] == 0x88, data
            return int.from_bytes(data[2:4], "big")

    def close(self) -> None:
        self.writer.close()


async def test_given_an_upgrade_when_frames_come_then_the_handler_gets_whole_messages(
    echo: Served,
) -> None:
    async with connect(echo.url) as socket_:
        for size in (0, 1, 125, 126, 65_000):
            await socket_.send("x" * size)
            assert await socket_.recv() == "x" * size
        await socket_.send([b"ab", b"cd"])  # fragments
        assert await socket_.recv() == b"abcd"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["centrifuge-protobuf"], "centrifuge-protobuf"),
        (["other", "centrifuge-json"], "centrifuge-json"),
        (["other"], None),
        (None, None),
    ],
)
async def test_given_subprotocols_when_upgrading_then_ours_is_echoed_or_none(
    echo: Served, offered: Any, chosen: str | None
) -> None:
    async with connect(echo.url, subprotocols=offered) as socket_:
        assert socket_.subprotocol == chosen


async def test_given_an_empty_subprotocol_header_when_upgrading_then_it_is_accepted(
    echo: Served,
) -> None:
    raw = await Raw.open(echo, more="Sec-WebSocket-Protocol:\r\n")
    assert " 101 " in await raw.head()
    raw.close()


async def test_given_an_unknown_path_when_upgrading_then_404(echo: Served) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{echo.port}/elsewhere")
    assert refused.value.response.status_code == 404


async def test_given_a_full_node_when_upgrading_then_503_says_when_to_retry(echo: Served) -> None:
    echo.door.refuse = True
    with pytest.raises(InvalidStatus) as refused:
        await connect(echo.url)
    assert refused.value.response.status_code == 503
    assert refused.value.response.headers["Retry-After"] == "2"


@pytest.mark.parametrize(
    ("more", "replace", "status"),
    [
        ("", (f"Sec-WebSocket-Key: {KEY}", "X-No-Key: 1"), "400"),
        ("", ("Version: 13", "Version: 8"), "400"),
        ("", ("GET", "POST"), "405"),
    ],
)
async def test_given_a_broken_handshake_when_upgrading_then_an_http_error(
    echo: Served, more: str, replace: tuple[str, str], status: str
) -> None:
    raw = Raw(*await asyncio.open_connection("127.0.0.1", echo.port))
    text = UPGRADE.format(path="/connection/websocket", key=KEY, more=more).replace(*replace)
    raw.writer.write(text.encode())
    assert f" {status} " in await raw.head()
    raw.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (client_frame(b"x", masked=False), 1002),
        (client_frame(b"x", first=0xC1), 1002),
        (client_frame(b"x", first=0x83), 1002),
        (client_frame(b"x", first=0x80), 1002),
        (client_frame(b"x" * 70_000), 1009),
        (client_frame(b"x" * 40_000, first=0x01) + client_frame(b"x" * 40_000, first=0x80), 1009),
    ],
    ids=["unmasked", "reserved-bit", "unknown-opcode", "lone-continuation", "too-big", "in-sum"],
)
async def test_given_a_bad_frame_when_it_comes_then_the_close_code_says_why(
    echo: Served, data: bytes, code: int
) -> None:
    raw = await (await Raw.open(echo)).upgraded()
    raw.writer.write(data)
    assert await raw.close_code() == code
    await asyncio.wait_for(echo.door.handlers[-1].closed.wait(), 5)
    raw.close()


async def test_given_bytes_one_by_one_when_they_make_a_frame_then_it_is_heard(echo: Served) -> None:
    raw = await (await Raw.open(echo)).upgraded()
    for byte in client_frame(b"salaam"):
        raw.writer.write(bytes([byte]))
        await raw.writer.drain()
    async with asyncio.timeout(5):
        assert await raw.reader.readexactly(8) == b"\x81\x06salaam"
    raw.close()


async def test_given_a_close_from_us_when_the_peer_answers_then_the_handler_hears_it_once(
    echo: Served,
) -> None:
    async with connect(echo.url) as socket_:
        await socket_.send("close 3001")
        with pytest.raises(ConnectionClosed):
            await socket_.recv()
        assert (socket_.close_code, socket_.close_reason) == (3001, "shutdown")
    handler = echo.door.handlers[-1]
    await asyncio.wait_for(handler.closed.wait(), 5)
    assert [event for event in handler.events if event != "pong"] == [("closed", 3001)]


async def test_given_a_cut_socket_when_it_is_noticed_then_the_connection_is_forgotten(
    echo: Served,
) -> None:
    socket_ = await connect(echo.url)
    handler = echo.door.handlers[-1]
    assert len(echo.server.server_state.connections) == 1

    socket_.transport.abort()
    await asyncio.wait_for(handler.closed.wait(), 5)

    assert handler.events == [("closed", None)]
    assert echo.server.server_state.connections == set()


async def test_given_a_reader_that_stalls_when_too_much_waits_then_3008(echo: Served) -> None:
    raw = await (await Raw.open(echo)).upgraded()
    handler = echo.door.handlers[-1]
    body = client_frame(b"x" * 60_000)

    async def pump() -> None:
        while not handler.closed.is_set():
            raw.writer.write(body)
            await raw.writer.drain()

    pumping = asyncio.ensure_future(pump())
    await asyncio.wait_for(handler.closed.wait(), 10)
    pumping.cancel()
    await asyncio.wait([pumping])

    assert "lagging" in handler.events
    raw.writer.transport.abort()


async def test_given_http_beside_sockets_when_both_are_used_then_both_work(echo: Served) -> None:
    async with connect(echo.url) as socket_:
        for size in (0, 1, 60_000):
            reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
            writer.write(
                f"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n"
                "Connection: close\r\n\r\n".encode()
                + b"x" * size
            )
            assert (await reader.read()).endswith(b"\r\n\r\n" + str(size).encode())
            writer.close()
            await socket_.send("still here")
            assert await socket_.recv() == "still here"


async def test_given_a_shutdown_when_uvicorn_asks_then_sessions_queue_and_leave_with_3001(
    serve_echo: Callable[[], Any],
) -> None:
    async with serve_echo() as served:
        socket_ = await connect(served.url)
        half = socket.create_connection(("127.0.0.1", served.port))
        half.sendall(b"GET /connection")
    with pytest.raises(ConnectionClosed):
        await socket_.recv()
    assert socket_.close_code == 3001
    assert len(served.door.leaving) == 1
    half.close()


@pytest.mark.parametrize("cut", [False, True])
async def test_given_the_collector_off_when_connections_come_and_go_then_nothing_stays(
    echo: Served,
    cut: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    async def once() -> None:
        socket_ = await connect(echo.url)
        if cut:  # as a phone whose network goes away: no close frame
            socket_.transport.abort()
        else:
            await socket_.close()
        await asyncio.wait_for(echo.door.handlers[-1].closed.wait(), 5)
        echo.door.handlers.clear()

    for _ in range(5):
        await once()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await once()
        kinds = (GatewayProtocol, ServerProtocol)
        alive = sum(type(thing) in kinds for thing in gc.get_objects())
    finally:
        gc.enable()
    assert alive <= 2  # of the last one

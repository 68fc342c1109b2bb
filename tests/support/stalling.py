"""Readers that stop reading: bare sockets with small buffers, a session each, and then silence."""

import asyncio
import base64
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx

from messenger.tokens import ConnectionTokens
from tests.support.platform import Door

RECEIVE_BYTES = 4_096
AT_ONCE = 20
PATIENCE_S = 10.0
REFUSED_PAUSE_S = 0.2


async def stalls(door: Door, token: str) -> socket.socket:
    """A session that never reads again; the caller closes the socket."""
    while True:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await _session(door, token)
        except ConnectionRefusedError:
            await asyncio.sleep(REFUSED_PAUSE_S)  # the door lets in so many a second


async def _session(door: Door, token: str) -> socket.socket:
    loop = asyncio.get_running_loop()
    sock = socket.socket()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        sock.setblocking(False)  # noqa: FBT003 - the standard library's
        host, port = door.url.removeprefix("http://").split(":")
        await loop.sock_connect(sock, (host, int(port)))
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            f"GET /connection/websocket HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        await loop.sock_sendall(sock, head.encode())
        answer = await _until(sock, b"\r\n\r\n")
        if b" 101 " not in answer:
            raise ConnectionRefusedError(answer[:60])
        connect = f'{{"id":1,"connect":{{"token":"{token}"}}}}'
        await loop.sock_sendall(sock, masked(connect.encode()))
        reply = await _until(sock, b'"connect"')
        if b'"error"' in reply:
            raise ConnectionRefusedError(reply[-200:])
    except BaseException:
        sock.close()
        raise
    return sock


async def _until(sock: socket.socket, mark: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    heard = b""
    while mark not in heard and b'"error"' not in heard:
        more = await loop.sock_recv(sock, RECEIVE_BYTES)
        if not more:
            raise ConnectionRefusedError("closed")
        heard += more
    return heard


def masked(payload: bytes) -> bytes:
    """A client's text frame; a mask of zeros changes nothing."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + payload


@asynccontextmanager
async def stalled_readers(door: Door, account: str, count: int) -> AsyncIterator[None]:
    """So many sessions of one account, each of a device of its own, that read nothing."""
    key = (door.home / "secrets" / "token_keys").read_text(encoding="utf-8").strip()
    tokens = ConnectionTokens([key])
    async with AsyncExitStack() as stack:
        places = asyncio.Semaphore(AT_ONCE)

        async def one(device: int) -> None:
            async with places:
                token = tokens.sign(account, device=device)
                stack.callback((await stalls(door, token)).close)

        async with asyncio.TaskGroup() as tasks:
            for number in range(count):
                tasks.create_task(one(1_000 + number))
        yield


async def metric(ops_port: int, name: str) -> float:
    """A value from /metrics; 0 where it was never counted."""
    async with httpx.AsyncClient() as web:
        text = (await web.get(f"http://127.0.0.1:{ops_port}/metrics")).text
    found = [line.split()[-1] for line in text.splitlines() if line.startswith(name + " ")]
    return float(found[0]) if found else 0.0

"""One WebSocket as the client sees it: frames in and out, one kind of ending."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from messenger.client.waiting import TIMEOUT_S, Disconnected
from messenger.wire.codec import JSON_SUBPROTOCOL, PROTOBUF_SUBPROTOCOL

FRAME_BYTES = 4 * 2**20  # replies are bounded by the server; this only guards the client's memory


class Connection:
    """Open until an operation raises Disconnected."""

    def __init__(self, websocket: ClientConnection, *, binary: bool) -> None:
        self._websocket = websocket
        self._binary = binary

    async def send(self, message: bytes) -> None:
        try:
            await self._websocket.send(message, text=not self._binary)
        except ConnectionClosed as closed:
            raise _disconnected(closed) from closed

    async def receive(self, timeout_s: float) -> bytes | None:
        """The next frame's payload; None if none comes in time."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._websocket.recv(decode=False)
        except TimeoutError:
            return None
        except ConnectionClosed as closed:
            raise _disconnected(closed) from closed

    def abort(self) -> None:
        """Drop the TCP connection as a dead phone does."""
        self._websocket.transport.abort()

    async def close(self) -> None:
        await self._websocket.close(1000, "bye")


@asynccontextmanager
async def connected(url: str, *, binary: bool) -> AsyncIterator[Connection]:
    """A connection with its handshake done; raises Disconnected where there is none."""
    subprotocol = PROTOBUF_SUBPROTOCOL if binary else JSON_SUBPROTOCOL
    opening = open_websocket(
        url,
        subprotocols=[Subprotocol(subprotocol)],
        compression=None,
        ping_interval=None,
        proxy=None,
        open_timeout=TIMEOUT_S,
        close_timeout=TIMEOUT_S,
        max_size=FRAME_BYTES,
    )
    try:
        websocket = await opening
    except (OSError, InvalidHandshake, TimeoutError) as failed:
        raise Disconnected(None, str(failed)) from failed
    try:
        yield Connection(websocket, binary=binary)
    finally:
        await websocket.close()


def _disconnected(closed: ConnectionClosed) -> Disconnected:
    if closed.rcvd is None:
        return Disconnected(None, "connection lost")
    return Disconnected(closed.rcvd.code, closed.rcvd.reason)

"""A server that does what the test says: for closes and silences a healthy node does not make."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from msgspec import Raw
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from messenger.wire.codec import JSON
from messenger.wire.messages import (
    Command,
    ConnectRequest,
    ConnectResult,
    RefreshRequest,
    Result,
    RpcRequest,
    SubscribeRequest,
    SubscribeResult,
)

WHO = Raw(b'{"account":"71","device":"904","now":1}')
USER = SubscribeResult(recoverable=True, positioned=True, epoch="k", offset=4)


class Peer:
    """One connection, seen from the server."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self._commands: list[Command] = []

    async def hears(self) -> Command:
        """The next command that is not a pong."""
        while not self._commands:
            data = await self.socket.recv(decode=False)
            self._commands = [c for c in JSON.decode_frame(data, 128) if c.id]
        return self._commands.pop(0)

    async def says(self, message: bytes) -> None:
        await self.socket.send(message, text=True)

    async def replies(self, command: Command, result: Result) -> None:
        await self.says(JSON.reply(command.id, result))

    async def welcomes(
        self,
        *,
        product: bool = True,
        ttl: int = 0,
        ping: int = 25,
        recovered: bool = False,
        heads: bool = True,
    ) -> ConnectRequest:
        """Answer connect; for a product session also the heads that are asked for then."""
        command = await self.hears()
        assert isinstance(command.request, ConnectRequest)
        user = SubscribeResult(
            recoverable=True, epoch="k", offset=4, was_recovering=recovered, recovered=recovered
        )
        result = ConnectResult(
            client="c1", ping=ping, pong=True, expires=ttl > 0, ttl=ttl,
            **({"data": WHO, "subs": {"user:71": user}} if product else {}),
        )  # fmt: skip
        await self.replies(command, result)
        if product and heads:
            await self.says(JSON.rpc((await self.hears()).id, b'{"aev":0,"heads":[]}'))
        return command.request

    async def serves(self) -> None:
        """Answer rpcs with what they were asked, refreshes and subscriptions with yes."""
        while True:
            command = await self.hears()
            request = command.request
            if isinstance(request, RpcRequest):
                await self.says(JSON.rpc(command.id, bytes(request.data)))
            elif isinstance(request, SubscribeRequest):
                await self.replies(command, SubscribeResult())
            elif isinstance(request, RefreshRequest):
                await self.says(JSON.error(command.id, 100, "internal server error", True))  # noqa: FBT003 - positional by contract


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def playing(*scripts: Script) -> AsyncIterator[str]:
    """A server whose n-th connection follows the n-th script; the last one repeats."""
    left = list(scripts)

    async def handle(socket: ServerConnection) -> None:
        script = left.pop(0) if len(left) > 1 else left[0]
        try:
            await script(Peer(socket))
        except ConnectionClosed:
            return

    async with serve(handle, "127.0.0.1", 0, ping_interval=None) as server:
        host, port = next(iter(server.sockets)).getsockname()
        yield f"ws://{host}:{port}"

"""A bare JSON connection: sends commands as they are, hands out replies and pushes."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Json = dict[str, Any]
TIMEOUT_S = 10.0


class Line:
    """One connection; `pushes` holds what came without an id."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.pushes: list[Json] = []
        self.pings = 0
        self._ids = itertools.count(1)

    async def says(self, **command: Any) -> Json:
        """Send one command and return its reply; pushes before it are kept."""
        [reply] = await self.says_all([command])
        return reply

    async def says_all(self, commands: list[Json]) -> list[Json]:
        """Send several commands in one frame; their replies in the order of the commands."""
        ids = [next(self._ids) for _ in commands]
        lines = [json.dumps({"id": id, **c}) for id, c in zip(ids, commands, strict=True)]
        await self.socket.send("\n".join(lines))
        replies: dict[int, Json] = {}
        while len(replies) < len(ids):
            for message in await self._frame():
                if "id" in message:
                    replies[message["id"]] = message
                else:
                    self._keep(message)
        return [replies[id] for id in ids]

    async def hears(self, count: int = 1) -> list[Json]:
        """The next `count` pushes, oldest first."""
        while len(self.pushes) < count:
            for message in await self._frame():
                self._keep(message)
        heard, self.pushes = self.pushes[:count], self.pushes[count:]
        return heard

    async def hears_ping(self) -> None:
        seen = self.pings
        while self.pings == seen:
            for message in await self._frame():
                self._keep(message)

    async def close_code(self) -> tuple[int, str]:
        """Read to the end; the code and reason it ended with."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    await self.socket.recv()
        except ConnectionClosed:
            return self.socket.close_code or 0, self.socket.close_reason or ""

    async def _frame(self) -> list[Json]:
        async with asyncio.timeout(TIMEOUT_S):
            text = await self.socket.recv()
        assert isinstance(text, str)
        assert "\n\n" not in text
        return [json.loads(line) for line in text.split("\n")]

    def _keep(self, message: Json) -> None:
        if message == {}:
            self.pings += 1
        else:
            self.pushes.append(message["push"])


@asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Line]:
    """A connection without a session."""
    async with connect(url, **options) as socket:
        yield Line(socket)


@asynccontextmanager
async def joined(url: str, token: str = "", **connect_fields: Any) -> AsyncIterator[Line]:
    """A connection with a session."""
    async with opened(url) as line:
        reply = await line.says(connect={"token": token, **connect_fields})
        assert "connect" in reply, reply
        yield line

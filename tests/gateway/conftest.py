"""An echoing door behind a real uvicorn on a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from messenger.gateway.connection import GatewayProtocol
from messenger.gateway.door import ConnectionHandler
from messenger.gateway.entrance import Entrance
from messenger.gateway.handshake import Refusal, Upgrade
from messenger.gateway.request_door import RequestDoor
from messenger.gateway.turn import Turn
from messenger.settings import Settings
from messenger.wire.codes import CloseCode
from messenger.wire.frames import frame
from tests.gateway.generic import generic_node
from tests.support.platform import Platform


class Echo:
    """Sends back what it gets; keeps what happened."""

    def __init__(self, connection: GatewayProtocol) -> None:
        self.connection = connection
        self.events: list[object] = []
        self.closed = asyncio.Event()

    def on_text(self, data: bytes) -> None:
        if data.startswith(b"close "):
            self.connection.close(CloseCode(int(data[6:])))
        else:
            self.connection.write(frame(data, False))  # noqa: FBT003 - positional by contract

    def on_binary(self, data: bytes) -> None:
        self.connection.write(frame(data, True))  # noqa: FBT003 - positional by contract

    def on_pong(self) -> None:
        self.events.append("pong")

    def on_lagging(self) -> None:
        self.events.append("lagging")

    def on_drained(self) -> None:
        self.events.append("drained")

    def leave(self) -> None:
        self.connection.close(CloseCode.SHUTDOWN)

    def cut_off(self) -> None:
        self.connection.close(CloseCode.SLOW, timeout_s=1.0)

    def on_closed(self, code: int | None) -> None:
        self.events.append(("closed", code))
        self.closed.set()


class EchoDoor:
    """The smallest gateway."""

    def __init__(self) -> None:
        self.turn = Turn(asyncio.get_running_loop())
        self.entrance = Entrance(asyncio.get_running_loop())
        self.frame_bytes = 65_536
        self.write_high = 65_536
        self.write_low = 16_384
        self.lag_bytes = 131_072
        self.handlers: list[Echo] = []
        self.leaving: list[ConnectionHandler] = []
        self.refuse = False

    def knock(self, _peer: str, _forwarded_for: str) -> None:
        """Everybody may come in."""

    def open(self, connection: GatewayProtocol, asked: Upgrade) -> ConnectionHandler:
        if self.refuse:
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "full", 2)
        self.handlers.append(Echo(connection))
        return self.handlers[-1]

    def leave(self, handler: ConnectionHandler) -> None:
        self.leaving.append(handler)
        handler.leave()


class Served:
    """Where the door is, and what is behind it."""

    def __init__(self, door: EchoDoor, server: uvicorn.Server, port: int) -> None:
        self.door, self.server, self.port = door, server, port
        self.url = f"ws://127.0.0.1:{port}/connection/websocket"


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    door = EchoDoor()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        yield {"gateway": door}

    async def body(request: HttpRequest) -> PlainTextResponse:
        return PlainTextResponse(str(len(await request.body())))

    async def large(_: HttpRequest) -> PlainTextResponse:
        return PlainTextResponse("x" * 16_000_000)  # beyond what sockets hold

    routes = [Route("/body", body, methods=["GET", "POST"]), Route("/large", large)]
    app = Starlette(routes=routes, lifespan=lifespan)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=RequestDoor,
        ws=GatewayProtocol,
        lifespan="on",
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(server._serve([listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            yield Served(door, server, listening.getsockname()[1])
        finally:
            server.should_exit = True
            await asyncio.wait([task])


@pytest.fixture
async def echo() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


@pytest.fixture
def serve_echo() -> Callable[[], Any]:
    """For tests that stop the server themselves."""
    return serving


@pytest.fixture(scope="module")
async def node(settings: Settings) -> AsyncIterator[Platform]:
    """A node with generic topics."""
    async with generic_node(settings) as platform:
        yield platform

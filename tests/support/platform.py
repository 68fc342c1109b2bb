"""A real node inside the test's loop, and people who use it as apps do."""

import asyncio
import json
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from messenger.asgi import Node
from messenger.client.http import call
from messenger.client.websocket import Client
from messenger.serving import served
from messenger.settings import Settings

Json = dict[str, Any]


class Door:
    """Where a node listens, and the folder where it leaves codes."""

    def __init__(self, port: int, home: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.ws_url = f"ws://127.0.0.1:{port}/connection/websocket"
        self.home = home

    async def post(self, method: str, data: Json, token: str | None = None) -> Json:
        """POST /rpc/<method>; the result, or RpcError."""
        return await call(self.url, method, data, token)

    async def signs_up(self, name: str, phone: str | None = None) -> "SignedIn":
        """A new account with one device, through the real rpcs."""
        phone = phone or a_phone()
        ticket = (await self.post("accounts.request_code", {"phone": phone}))["ticket"]
        code = code_of(self.home, phone)
        device = {"name": "test", "platform": "test", "app": "1"}
        request = {"ticket": ticket, "code": code, "device": device, "name": name}
        result = await self.post("accounts.sign_in", request)
        return SignedIn(
            result["account"], result["device_id"], result["token"], result["refresh"], phone
        )


class Platform(Door):
    """A node, and where it listens."""

    def __init__(self, node: Node, settings: Settings) -> None:
        super().__init__(settings.port, settings.home)
        self.node = node
        self.settings = settings


class SignedIn(Struct, frozen=True):
    """What sign-in gave."""

    account: str
    device: str
    token: str
    refresh: str
    phone: str


@asynccontextmanager
async def running(settings: Settings, **changes: object) -> AsyncIterator[Platform]:
    """A platform of one node with changed settings, for the length of the block."""
    async with AsyncExitStack() as stack:
        public, private = (stack.enter_context(closing(free_socket())) for _ in range(2))
        yield await stack.enter_async_context(_served(settings, public, private, changes))


@asynccontextmanager
async def _served(
    settings: Settings, public: socket.socket, private: socket.socket, changes: Json
) -> AsyncIterator[Platform]:
    settings = msgspec.structs.replace(
        settings,
        port=public.getsockname()[1],
        ops_port=private.getsockname()[1],
        **changes,
    )
    async with served(settings, [public, private]) as (node, _):
        yield Platform(node, settings)


def free_socket() -> socket.socket:
    """A listening socket on a port in 20000-29999, where no outgoing connection is."""
    while True:
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", 20_000 + secrets.randbelow(10_000)))
        except OSError:
            listening.close()
            continue
        listening.listen(512)
        listening.setblocking(False)  # noqa: FBT003 - the standard library's
        return listening


def a_phone() -> str:
    """An Iranian mobile number nobody else has in this run."""
    return f"+98912{secrets.randbelow(10**7):07d}"


def code_of(home: Path, phone: str) -> str:
    """The newest code that the `file` sender wrote for `phone`."""
    lines = (home / "codes.jsonl").read_text().splitlines()
    codes = [line for line in map(json.loads, lines) if line["phone"] == phone]
    return str(codes[-1]["code"])


async def connected(platform: Platform, signed_in: SignedIn, **options: Any) -> Client:
    """A client of this device with a session."""
    async with asyncio.timeout(10):
        return await Client.connect(platform.ws_url, signed_in.token, **options)

"""Servers and buses for the bus's own tests; kill tests start servers of their own."""

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from messenger.bus.bus import Bus
from messenger.bus.streams import Streams
from messenger.metrics import Metrics
from messenger.settings import Settings
from tests.bus.redis_server import RedisServer
from tests.support.cluster import Cluster, running_cluster


class Ear:
    """What a bus heard, as a queue one can wait at."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.lost = asyncio.Event()
        self.back = asyncio.Event()

    async def next(self) -> tuple[str, bytes]:
        async with asyncio.timeout(5):
            return await self.heard.get()

    async def payloads(self, count: int) -> list[bytes]:
        return [(await self.next())[1] for _ in range(count)]


class Node:
    """A bus that runs, what it heard, and its streams."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.ear = Ear()
        self.metrics = Metrics()
        self.bus = Bus(
            url,
            lambda topic, payload: self.ear.heard.put_nowait((topic, payload)),
            self.ear.lost.set,
            self.ear.back.set,
            settings=settings,
            metrics=self.metrics,
        )
        self.streams = Streams(self.bus, settings)

    async def listens(self, topic: str) -> None:
        self.bus.listen(topic)
        await self.bus.listening(topic)


@asynccontextmanager
async def running(url: str, **options: Any) -> AsyncIterator[Node]:
    node = Node(url, Settings(**options))
    await node.bus.start(wait_s=5)
    task = asyncio.get_running_loop().create_task(node.bus.run())
    try:
        yield node
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await node.bus.close()


@pytest_asyncio.fixture(scope="session")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    await server.start()
    yield server
    await server.kill()


@pytest_asyncio.fixture
async def node(redis: RedisServer) -> AsyncIterator[Node]:
    async with running(redis.url) as node:
        yield node


@pytest_asyncio.fixture
async def other(redis: RedisServer) -> AsyncIterator[Node]:
    async with running(redis.url) as node:
        yield node


NewRedis = Callable[..., Awaitable[RedisServer]]


@pytest_asyncio.fixture
async def new_redis(tmp_path: Path) -> AsyncIterator[NewRedis]:
    """Starts servers that a test may kill; `cluster_enabled="no"` is ready at once."""
    async with AsyncExitStack() as stack:
        numbers = itertools.count()

        async def start(**options: str) -> RedisServer:
            server = RedisServer(tmp_path / f"redis{next(numbers)}", **options)
            stack.push_async_callback(server.kill)
            await server.start()
            return server

        yield start


@pytest.fixture
def refusals() -> Iterator[asyncio.Queue[str]]:
    """What the bus told the operator: why a Redis refused it."""
    told: asyncio.Queue[str] = asyncio.Queue()

    class Operator(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "bus refused":
                told.put_nowait(vars(record)["why"])

    operator = Operator()
    logger = logging.getLogger("messenger.bus")
    logger.addHandler(operator)
    yield told
    logger.removeHandler(operator)


_ids = itertools.count(1_000)


@pytest.fixture
def account() -> int:
    """A fresh account: tests share a database."""
    return next(_ids)


@pytest_asyncio.fixture
async def three_servers(tmp_path: Path) -> AsyncIterator[list[RedisServer]]:
    """A cluster of three masters, since one server forgives what three do not."""
    edges = (0, 5_461, 10_923, 16_384)
    async with AsyncExitStack() as stack:
        servers = []
        for number in range(3):
            server = RedisServer(tmp_path / f"shard{number}")
            stack.push_async_callback(server.kill)
            await server.start(slots=None)
            await server.ask("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
            await server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            servers.append(server)
        for server in servers[1:]:
            await servers[0].ask("CLUSTER", "MEET", "127.0.0.1", server.port, server.port + 1)
        for server in servers:
            await server.wait_ready()
        yield servers


@pytest.fixture
def three_shards(three_servers: list[RedisServer]) -> str:
    return f"redis+cluster://127.0.0.1:{three_servers[0].port}"


@pytest_asyncio.fixture(scope="session")
async def cluster() -> AsyncIterator[Cluster]:
    """Three primaries, three replicas; a test that hurts it heals it."""
    async with running_cluster() as cluster:
        yield cluster

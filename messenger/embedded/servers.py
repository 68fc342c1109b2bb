"""Both embedded servers of one home folder, as one thing that starts and stops.

A lock on the folder keeps a second start away. Stopped, killed or crashed: the next start finds
the same data, the same addresses and nothing in its way.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from messenger.embedded.binaries import EmbeddedError
from messenger.embedded.cluster import RedisCluster
from messenger.embedded.postgres import PostgresServer
from messenger.embedded.redis import RedisServer
from messenger.home import prepare
from messenger.processes import Program, keep


class Servers:
    """Running servers and their addresses, which survive restarts."""

    def __init__(self, postgres: PostgresServer, redis: Sequence[RedisServer], url: str) -> None:
        self.postgres = postgres
        self.redis = redis
        self.database_url = postgres.url
        self.redis_url = url

    @property
    def programs(self) -> list[Program]:
        return [server.program for server in _both(self.postgres, self.redis)]

    async def watch(
        self, on_death: Callable[[Program, int], None], on_restart: Callable[[], None]
    ) -> None:
        """Restart what dies, until cancelled. Raises GaveUpError when it dies too often."""
        now = asyncio.get_running_loop().time

        async def again(server: PostgresServer | RedisServer) -> None:
            await server.run()
            on_restart()

        async with asyncio.TaskGroup() as tasks:
            for server in _both(self.postgres, self.redis):
                kept = keep(server.program, partial(again, server), on_death, now)
                tasks.create_task(kept, name=f"keep {server.program.name}")


@asynccontextmanager
async def embedded(home: Path, *, redis_nodes: int | None = None) -> AsyncIterator[Servers]:
    """Servers that take writes; stopped cleanly at the end. Raises EmbeddedError."""
    home = prepare(home)
    with locked(home):
        async with AsyncExitStack() as stack:
            postgres = PostgresServer(home)
            redis = RedisCluster(home, _nodes_of(home, redis_nodes))
            for server in _both(postgres, redis.servers):
                stack.push_async_callback(server.program.stop)
            await _start(postgres, redis)
            yield Servers(postgres, redis.servers, redis.url)


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """The folder is ours until the end; the kernel lets go of it when we are killed."""
    path = home / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise EmbeddedError(f"{home} is in use by another peyk (pid {owner})") from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _nodes_of(home: Path, wanted: int | None) -> int:
    """As many as the folder has: a cluster does not grow by starting it."""
    found = len([*home.glob("redis/nodes.conf"), *home.glob("redis-*/nodes.conf")])
    if wanted is not None and found not in (0, wanted):
        raise EmbeddedError(f"{home} holds {found} Redis nodes, not {wanted}; take another --home")
    return found or wanted or 1


def _both(
    postgres: PostgresServer, redis: Sequence[RedisServer]
) -> list[PostgresServer | RedisServer]:
    return [postgres, *redis]


async def _start(postgres: PostgresServer, redis: RedisCluster) -> None:
    """Side by side; the first failure ends the other and comes out by itself."""
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(postgres.start(), name="start postgres")
            tasks.create_task(redis.start(), name="start redis")
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None

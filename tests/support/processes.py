"""A platform of real processes: stores that are watched and nodes that a test may kill."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from messenger.embedded.postgres import PostgresServer
from messenger.embedded.servers import Servers, embedded
from messenger.home import prepare
from messenger.processes import Program
from messenger.settings import LIMIT_RULES
from messenger.stores import migrated
from messenger.supervisor import answers
from tests.support.cluster import Cluster, running_cluster
from tests.support.homes import temporary_home
from tests.support.people import until
from tests.support.platform import Door
from tests.support.ports import free_ports

READY_S = 15.0


class NodeProcess(Door):
    """`peyk node` as a child of the test; the port stays over restarts, the clock may step."""

    def __init__(self, servers: Servers, home: Path, **environ: str) -> None:
        port = free_ports(2)
        super().__init__(port, home)
        self.ops_port = port + 1
        self.program = Program(
            f"node-{port}",
            [sys.executable, "-m", "tests.support.stepping"],
            stop=signal.SIGTERM,
            orphaned=signal.SIGKILL,
            environ={
                "PATH": os.defpath,
                "DATABASE_URL": servers.database_url,
                "REDIS_URL": servers.redis_url,
                "PEYK_HOME": str(home),
                "PEYK_PORT": str(port),
                "PEYK_OPS_PORT": str(self.ops_port),
                "PEYK_CONFIG": str(_without_limits(home)),
                "PEYK_DRAIN_NOTICE": "0.5",
                **environ,
            },
            log=home / f"node-{port}.log",
        )

    async def starts(self) -> None:
        """Returns once it serves."""
        await self.program.start()

        async def ready() -> bool:
            if not self.program.running:
                raise AssertionError(f"node ended with {self.program.exit_code}: {self.log()}")
            return await answers(self.ops_port, "/health/ready")

        await until(ready, READY_S)

    async def has_its_stores(self) -> bool:
        """Its link to Redis is there: after a restart of Redis a node needs a moment."""
        return await self._bus() == "up"

    async def misses_redis(self) -> bool:
        return await self._bus() == "down"

    async def _bus(self) -> str:
        async with httpx.AsyncClient() as web:
            answer = await web.get(f"http://127.0.0.1:{self.ops_port}/health/ready")
        return str(answer.json()["redis_bus"]["state"])

    async def dies(self) -> None:
        """kill -9; returns when it is gone."""
        self.program.send(signal.SIGKILL)
        await self.program.wait()

    def freezes(self) -> None:
        """As a machine that hangs: its sockets stay open and nobody answers."""
        self.program.send(signal.SIGSTOP)

    def thaws(self) -> None:
        self.program.send(signal.SIGCONT)

    def steps(self, *, ahead: bool) -> None:
        """Its wall clock, by ten minutes."""
        self.program.send(signal.SIGUSR1 if ahead else signal.SIGUSR2)

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.program.pid}/status").read_text(encoding="ascii")
        [line] = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) / 1024

    def log(self) -> str:
        return (self.home / f"{self.program.name}.log").read_text(encoding="utf-8")[-2_000:]


class Stores:
    """An embedded pair whose dead servers are started again, as `peyk serve` does it."""

    def __init__(self, servers: Servers, home: Path) -> None:
        self.servers = servers
        self.home = home
        self.restarts = 0
        self._deaths = 0

    async def kill_postgres(self) -> None:
        """kill -9; returns when it is gone."""
        await self._kill(self.servers.postgres.program)

    @asynccontextmanager
    async def stalled_postgres(self, at_least_s: float) -> AsyncIterator[None]:
        """A disk that does not answer: every process of the server stops where it is."""
        self._signal_postgres(signal.SIGSTOP)
        try:
            await asyncio.sleep(at_least_s)  # the fault itself, not a wait for something
            yield
        finally:
            self._signal_postgres(signal.SIGCONT)

    def _signal_postgres(self, number: signal.Signals) -> None:
        pid = self.servers.postgres.program.pid
        assert pid is not None
        for one in [pid, *children_of(pid)]:
            with contextlib.suppress(ProcessLookupError):  # a backend that has just ended
                os.kill(one, number)

    async def kill_redis(self, *, lose_data: bool = False) -> None:
        """kill -9; returns when it is gone. `lose_data`: it will start empty."""
        [redis] = self.servers.redis
        await self._kill(redis.program)
        if lose_data:
            for file in (redis.folder / "appendonlydir").iterdir():
                file.unlink()

    async def are_back(self) -> None:
        """Whatever was killed takes writes again."""

        async def all_restarted() -> bool:
            return self.restarts >= self._deaths

        await until(all_restarted, READY_S)

    async def _kill(self, program: Program) -> None:
        self._deaths += 1
        program.send(signal.SIGKILL)
        await program.wait()


@asynccontextmanager
async def watched_stores(home: Path) -> AsyncIterator[Stores]:
    """Migrated; watched until the end of the block."""
    async with embedded(home) as servers, _watched(servers, home) as stores:
        yield stores


@asynccontextmanager
async def own_stores() -> AsyncIterator[Stores]:
    """The same in a folder of their own, which goes with them: for tests that break them."""
    with temporary_home() as home:
        async with watched_stores(home) as stores:
            yield stores


@asynccontextmanager
async def clustered_stores(home: Path) -> AsyncIterator[tuple[Stores, Cluster]]:
    """The same with a Redis Cluster of six, whose dead nobody starts but the test."""
    postgres = PostgresServer(prepare(home))
    try:
        async with running_cluster() as cluster:
            await postgres.start()
            servers = Servers(postgres, [], cluster.url)
            async with _watched(servers, home) as stores:
                yield stores, cluster
    finally:
        postgres.program.send(signal.SIGCONT)
        await postgres.program.stop()


@asynccontextmanager
async def _watched(servers: Servers, home: Path) -> AsyncIterator[Stores]:
    await migrated(servers.database_url)
    stores = Stores(servers, home)

    def restarted() -> None:
        stores.restarts += 1

    watching = asyncio.ensure_future(servers.watch(lambda _program, _code: None, restarted))
    try:
        yield stores
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching


@asynccontextmanager
async def nodes(stores: Stores, count: int, **environ: str) -> AsyncIterator[list[NodeProcess]]:
    """Nodes that serve; whatever is left of them ends with the block."""
    started = [NodeProcess(stores.servers, stores.home, **environ) for _ in range(count)]
    try:
        await asyncio.gather(*(node.starts() for node in started))
        yield started
    finally:
        for node in started:
            if node.program.running:
                node.thaws()
                await node.dies()


def children_of(pid: int) -> list[int]:
    """As the kernel knows them now."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _without_limits(home: Path) -> Path:
    """A configuration in which no rate limit gets in the way."""
    path = home / "node.toml"
    rules = "\n".join(f'"{name}" = {{ burst = 1e6, per_s = 1e6 }}' for name in LIMIT_RULES)
    path.write_text(f"[limits]\n{rules}\n", encoding="utf-8")
    return path

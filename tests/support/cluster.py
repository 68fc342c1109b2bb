"""A real Redis Cluster of three primaries and three replicas, which a test may hurt."""

import asyncio
import contextlib
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from messenger.embedded.cluster import RedisCluster
from messenger.embedded.redis import RedisServer, command
from messenger.home import prepare
from tests.support.people import until

PRIMARIES = 3
NODE_TIMEOUT_MS = 1_000
"""After so long a silence the others take a node for dead; production has 15 s."""
HEALED_S = 20.0
OPTIONS = {
    "cluster-node-timeout": NODE_TIMEOUT_MS,
    "cluster-replica-validity-factor": 0,  # the replica stands in, however old its copy
    "repl-diskless-sync-delay": 0,
}


class Cluster:
    """Who holds what changes with every fail-over: roles are asked for, not remembered."""

    def __init__(self, cluster: RedisCluster) -> None:
        self._cluster = cluster
        self.servers = cluster.servers

    @property
    def url(self) -> str:
        return self._cluster.url

    async def primary_of(self, slot: int) -> RedisServer:
        """Who holds the slot, as one that answers says."""
        return self._of_port((await self._holders(slot))[0])

    async def freezes(self, server: RedisServer) -> None:
        """As a machine that hangs."""
        server.program.send(signal.SIGSTOP)

    async def thaws(self, server: RedisServer) -> None:
        server.program.send(signal.SIGCONT)

    async def dies(self, server: RedisServer) -> None:
        """kill -9; returns when it is gone."""
        server.program.send(signal.SIGKILL)
        await server.program.wait()

    async def passes_on(self, slot: int, old: RedisServer) -> RedisServer:
        """Wait until another holds the slot and takes writes; who."""

        async def elsewhere() -> bool:
            ports = await self._holders(slot, without=old)
            return bool(ports) and ports[0] != old.port

        await until(elsewhere, HEALED_S)
        new = self._of_port((await self._holders(slot, without=old))[0])
        await new.wait_writable()
        return new

    async def is_whole(self) -> None:
        """Start what is dead; returns when every primary has a replica that is up to date."""
        for server in self.servers:
            if not server.program.running:
                await server.start()
            server.program.send(signal.SIGCONT)
        await until(self._whole, HEALED_S)

    async def cut_clients(self) -> int:
        """CLIENT KILL of everybody's links, replication excepted; how many."""
        killed = 0
        for server in self.servers:
            for kind in ("normal", "pubsub"):
                killed += int(await _ask(server, "CLIENT KILL", "TYPE", kind, "SKIPME", "yes"))
        return killed

    async def _holders(self, slot: int, without: RedisServer | None = None) -> list[int]:
        """Ports of the slot's servers, the primary first; empty where nobody answers."""
        for server in self.servers:
            if server is without or not server.program.running:
                continue
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(1):
                    shards = await _ask(server, "CLUSTER SLOTS")
                return [
                    node[1]
                    for first, last, *nodes in shards
                    if first <= slot <= last
                    for node in nodes
                ]
        return []

    async def _whole(self) -> bool:
        primaries = 0
        for server in self.servers:
            try:
                info = await _ask(server, "INFO", "replication")
                state = await _ask(server, "CLUSTER INFO")
            except (RedisError, OSError):
                return False
            if info["role"] == "master":
                primaries += info["connected_slaves"] == 1
            elif info["master_link_status"] != "up":
                return False
            if state["cluster_state"] != "ok":
                return False
        return primaries == PRIMARIES

    def _of_port(self, port: int) -> RedisServer:
        return next(server for server in self.servers if server.port == port)


@asynccontextmanager
async def running_cluster() -> AsyncIterator[Cluster]:
    """Whole, in a folder of its own; ~2.5 s."""
    with tempfile.TemporaryDirectory(prefix="peyk-test-") as home:
        found = RedisCluster(prepare(Path(home)), PRIMARIES, 1, OPTIONS)
        try:
            await found.start()
            cluster = Cluster(found)
            await cluster.is_whole()
            yield cluster
        finally:
            for server in found.servers:
                server.program.send(signal.SIGCONT)
                server.program.send(signal.SIGKILL)  # nothing in it is needed any more
                if server.program.running:
                    await server.program.wait()


async def _ask(server: RedisServer, *words: str) -> Any:
    client = server.client()
    try:
        return await command(client, *words)
    finally:
        await client.aclose()

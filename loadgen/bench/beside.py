"""Direct messages by the clock from a process of their own, beside other work of the driver.

A driver that takes in ten thousand frames at once is late for everything else; what others notice
of the server can only be measured by a process that does nothing else. Run as a program it is that
process: commands come in and answers leave as lines.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO

import msgspec
import uvloop
from msgspec import Struct

from loadgen.bench.child import LINE_BYTES, Child, child
from loadgen.bench.driver import Driver
from loadgen.bench.pairs import Clock, Outcome, Pairs, judge, open_directs
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, seed_accounts, stored

START_S = 60.0
END_S = 30.0


class Plan(Struct):
    """What the process needs to know."""

    host: str
    port: int
    chats: list[str]
    tokens: list[str]
    """Sender and recipient of each chat in turn."""
    rate_per_s: float


class Figures(Struct):
    """What it measured since `window`."""

    p50_ms: float | None
    p99_ms: float | None


class Heard(Struct):
    """What it measured since `window`, and what became of all messages."""

    outcome: Outcome
    p50_ms: float | None
    p99_ms: float | None
    worst_ms: float | None
    lateness_p99_ms: float | None


class Beside:
    """The process, seen from the benchmark."""

    def __init__(self, process: Child, chats: list[str]) -> None:
        self._process = process
        self._chats = chats

    async def window(self) -> None:
        """Forget the samples so far."""
        await self._process.tell("window")

    async def figures(self) -> Figures:
        """Of the window that ends here; the next one begins."""
        await self._process.tell("figures")
        return await self._process.hear(Figures, END_S)

    async def end(self, stage: Stage, row: Row) -> Heard:
        """Stop sending, wait until all has arrived, and compare with the database."""
        await self._process.tell("end")
        heard = await self._process.hear(Heard, END_S)
        judge(heard.outcome, self._chats, await stored(stage, self._chats), row)
        return heard


@asynccontextmanager
async def beside(stage: Stage, pairs: int, rate_per_s: float) -> AsyncIterator[Beside]:
    """Sends between so many pairs of new accounts while it is open."""
    accounts = await seed_accounts(stage, 2 * pairs)
    chats = await open_directs(stage, accounts)
    tokens = [stage.token(n) for n in accounts]
    async with child("loadgen.bench.beside", stage.processes.drivers) as process:
        await process.tell(
            Plan(stage.platform.host, stage.platform.port, chats, tokens, rate_per_s)
        )
        await process.hear(str, START_S)
        yield Beside(process, chats)


async def serve(commands: asyncio.StreamReader, answers: IO[bytes]) -> None:
    """The process itself: a plan, `window` and `figures` any number of times, `end`."""
    plan = msgspec.json.decode(await commands.readline(), type=Plan)
    driver, pairs = Driver(plan.host, plan.port), Pairs(plan.chats)
    tags = range(len(plan.chats))
    pairs.senders = await driver.connect_all(plan.tokens[::2], pairs.answered, tags=tags)
    await driver.connect_all(plan.tokens[1::2], pairs.delivered, tags=tags)
    answers.write(b'"ready"\n')
    answers.flush()
    clock, going = Clock(pairs, plan.rate_per_s), True
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(clock.run(lambda: going), name="clock")
        while (command := (await commands.readline()).strip()) in (b'"window"', b'"figures"'):
            if command == b'"figures"':
                figures = Figures(*(percentile_ms(pairs.waits, q) for q in (0.5, 0.99)))
                answers.write(msgspec.json.encode(figures) + b"\n")
                answers.flush()
            pairs.forget_waits()
            clock.late = clock.late[:0]
        going = False
    await pairs.wait_settled()
    late = percentile_ms(clock.late, 0.99)
    p50, p99, worst = (percentile_ms(pairs.waits, q) for q in (0.5, 0.99, 1.0))
    answers.write(msgspec.json.encode(Heard(pairs.outcome(), p50, p99, worst, late)) + b"\n")
    answers.flush()
    await driver.close()


async def _main() -> None:
    commands = asyncio.StreamReader(limit=LINE_BYTES)
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await serve(commands, sys.stdout.buffer)


if __name__ == "__main__":
    uvloop.run(_main())

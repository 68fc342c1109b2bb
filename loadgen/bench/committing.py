"""A committer in a process of its own, for `group_commit`: the append statement and nothing else.

It stands for a node's share of the statement, so its CPU counts as the node's. Commands come in
and answers leave as lines.
"""

import asyncio
import random
import sys
import time
from array import array
from typing import IO

import msgspec
import uvloop
from msgspec import Struct

from loadgen.bench.marks import text_of
from loadgen.bench.samples import percentile_ms
from messenger.db.engine import Database
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.log.rendering import Many
from messenger.log.sends import Send

DEADLINE_S = 20.0
STATEMENT_S = 10.0
TEXT = text_of(0)


class Place(Struct):
    """Where to write: chats `first` to `first + chats - 1`, each with the one account."""

    url: str
    account: int
    seed: int


class Order(Struct):
    """Batches of so many messages into so many chats, for so long."""

    batch: int
    first: int
    chats: int
    seconds: float


class Done(Struct):
    """What was written, each row acknowledged."""

    written: int
    refused: int
    p50_ms: float | None
    p99_ms: float | None


class Work:
    """Makes batches and writes them."""

    def __init__(self, place: Place, rendering: Many) -> None:
        self._rendering = rendering
        self._draw = random.Random(place.seed)  # noqa: S311 - demand, not secrets
        self._account = AccountId(place.account)
        self._device = DeviceId(place.account + place.seed)
        self._random_id = time.time_ns()

    async def do(self, order: Order) -> Done:
        waits, written, refused = array("d"), 0, 0
        loop = asyncio.get_running_loop()
        until = loop.time() + order.seconds
        while loop.time() < until:
            sends = self._batch(order)
            began, now = time.perf_counter(), time.time_ns() // 1_000_000
            rows = await self._rendering.commit(sends, now, loop.time() + DEADLINE_S)
            waits.append(time.perf_counter() - began)  # uvloop's own clock counts milliseconds
            good = sum(row[0] == 0 for row in rows)
            written, refused = written + good, refused + len(rows) - good
        return Done(written, refused, percentile_ms(waits, 0.5), percentile_ms(waits, 0.99))

    def _batch(self, order: Order) -> list[Send]:
        chats = self._draw.choices(range(order.first, order.first + order.chats), k=order.batch)
        start, self._random_id = self._random_id + 1, self._random_id + order.batch
        return [
            Send(ChatId(chat), self._account, self._device, start + n, 1, 0, 0, None, None, TEXT,
                 None)
            for n, chat in enumerate(chats)
        ]  # fmt: skip


async def serve(commands: asyncio.StreamReader, answers: IO[bytes]) -> None:
    """A place, then any number of orders; ends with its input."""
    place = msgspec.json.decode(await commands.readline(), type=Place)
    database = await Database.connect(place.url, pool=2, statement_timeout=STATEMENT_S)
    rendering = Many(database)
    work = Work(place, rendering)
    try:
        answers.write(b'"ready"\n')
        answers.flush()
        while line := await commands.readline():
            done = await work.do(msgspec.json.decode(line, type=Order))
            answers.write(msgspec.json.encode(done) + b"\n")
            answers.flush()
    finally:
        await rendering.drop()
        await database.close()


async def _main() -> None:
    commands = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(commands)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
    await serve(commands, sys.stdout.buffer)


if __name__ == "__main__":
    uvloop.run(_main())

"""A database that stands still under a flood of sends: refusals in time, and a bounded node."""

import asyncio
import os
import signal
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from messenger.db.engine import Database
from messenger.embedded.postgres import PostgresServer
from messenger.feature import Refused
from messenger.log.committer import Committer
from messenger.log.sends import Written
from messenger.log.store import ChatStore
from messenger.wire.codes import ErrorCode
from tests.log.conftest import Answers, a_send, running
from tests.log.test_crash import CHAT, children, own_database, own_home, pid_of, postgres, repeat

__all__ = ["own_database", "own_home", "postgres"]

QUEUE = 1_000
DEADLINE_S = 1.0
TEXT = "x" * 200
OFFERS = 40  # each turn of the flood: many times what the queue holds until the deadline


class Flood:
    """Sends offered without pause, and what became of each that was taken."""

    def __init__(self, committer: Committer) -> None:
        self.committer = committer
        self.taken: dict[int, float] = {}
        self.answers: dict[int, Written | Refused] = {}
        self.waits: list[float] = []
        self.refused = Counter[tuple[ErrorCode, bool]]()
        """By code, and whether a time to retry was named."""
        self.most_waiting = 0

    def offer(self, count: int) -> None:
        for _ in range(count):
            self._one(len(self.taken) + 1)

    def _one(self, key: int) -> None:
        try:
            self.committer.append(a_send(CHAT, key, TEXT), partial(self._answer, key))
        except Refused as refused:
            self.refused[refused.code, refused.details["retry_after_ms"] > 0] += 1
        else:
            self.taken[key] = asyncio.get_running_loop().time()
        self.most_waiting = max(self.most_waiting, self.committer.waiting)

    def _answer(self, key: int, answer: Written | Refused) -> None:
        assert key not in self.answers
        self.answers[key] = answer
        self.waits.append(asyncio.get_running_loop().time() - self.taken[key])

    async def until(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            self.offer(OFFERS)
            await asyncio.sleep(0.005)

    async def answered(self) -> None:
        async with asyncio.timeout(15):
            while len(self.answers) < len(self.taken):  # noqa: ASYNC110 - counted from callbacks
                await asyncio.sleep(0.01)


async def all_repeated(committer: Committer, flood: Flood) -> dict[int, int]:
    """Every key's seq, after its sender repeated what had no answer that is one."""
    final = {key: one.seq for key, one in flood.answers.items() if isinstance(one, Written)}
    missing = [key for key in flood.answers if key not in final]
    for start in range(0, len(missing), QUEUE):
        answers = Answers()
        part = missing[start : start + QUEUE]
        for key in part:
            committer.append(a_send(CHAT, key, TEXT), answers.take)
        final |= {one.send.random_id: one.seq for one in await answers.written(len(part))}
    return final


@contextmanager
def frozen(postgres: PostgresServer) -> Iterator[None]:
    pids = children(pid_of(postgres))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(60)
async def test_given_postgres_frozen_when_flooded_then_the_node_stays_bounded_and_loses_nothing(
    postgres: PostgresServer, own_database: Database
) -> None:
    settings = {"commit_queue": QUEUE, "commit_deadline": DEADLINE_S}
    async with running(own_database, **settings) as committer:
        await repeat(committer, a_send(CHAT, 2**40))
        flood = Flood(committer)
        with frozen(postgres):
            await flood.until(DEADLINE_S / 2)  # the queue is full now
            tracemalloc.start()
            await flood.until(2 * DEADLINE_S)
            grown, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            in_the_dark = len(flood.answers)
            await flood.answered()
            longest = max(flood.waits)
        flood.offer(100)
        await flood.answered()
        codes = {one.code for one in flood.answers.values() if isinstance(one, Refused)}
        final = await all_repeated(committer, flood)

    assert in_the_dark > QUEUE  # refused while it stood still, not after
    assert set(flood.refused) == {(ErrorCode.OVERLOADED, True)}
    assert flood.refused.total() > QUEUE
    assert flood.most_waiting <= QUEUE
    assert grown < 4 * 1024 * 1024  # the queue once over, and what this test remembers
    assert longest < DEADLINE_S + 1.0
    assert codes == {ErrorCode.TIMEOUT}
    assert sorted(final.values()) == [*range(2, len(final) + 2)]
    head = await ChatStore(own_database).head(CHAT)
    assert head is not None
    assert (head.seq, head.ev) == (len(final) + 1, len(final) + 1)

"""PostgreSQL killed or frozen in the middle of sending: nothing acked is lost, nothing doubled."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from messenger.db.engine import Database
from messenger.db.migrate import migrate
from messenger.embedded.postgres import PostgresServer
from messenger.feature import Refused
from messenger.home import prepare
from messenger.ids import ChatId
from messenger.log.committer import Committer
from messenger.log.sends import Send, Written
from messenger.log.store import ChatStore
from messenger.wire.codes import ErrorCode
from tests.log.conftest import Answers, a_send, put_chat, running
from tests.support.homes import temporary_home

CHAT = ChatId(1)


@pytest.fixture
def own_home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


@pytest.fixture
async def postgres(own_home: Path) -> AsyncIterator[PostgresServer]:
    """A server of this test alone."""
    server = PostgresServer(prepare(own_home))
    await server.start()
    await migrate(server.url)
    yield server
    await server.program.stop()


@pytest.fixture
async def own_database(postgres: PostgresServer) -> AsyncIterator[Database]:
    database = await Database.connect(postgres.url, statement_timeout=1.0)
    await put_chat(database, CHAT, [1, 2, 3], kind=2, role=1)
    yield database
    await database.close()


def pid_of(server: PostgresServer) -> int:
    return int((server.data / "postmaster.pid").read_text().split("\n", 1)[0])


async def keep_sending(committer: Committer, until: asyncio.Event) -> dict[int, Answers]:
    """A send each turn of the loop, as long as there is room; what each key was answered."""
    answers: dict[int, Answers] = {}
    while not until.is_set():
        key = len(answers) + 1
        try:
            answers[key] = Answers()
            committer.append(a_send(CHAT, key), answers[key].take)
        except Refused:
            del answers[key]
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.0005)
    return answers


async def repeat(committer: Committer, send: Send) -> Written:
    """As a client does: the same key until there is an answer that is one."""
    while True:
        answers = Answers()
        committer.append(send, answers.take)
        [answer] = await answers.count(1)
        if isinstance(answer, Written):
            return answer
        assert answer.temporary


@pytest.mark.timeout(40)
async def test_given_postgres_killed_in_a_batch_when_it_is_back_then_each_send_is_there_once(
    postgres: PostgresServer, own_database: Database
) -> None:
    stop = asyncio.Event()
    async with running(own_database, commit_deadline=10.0) as committer:
        sending = asyncio.ensure_future(keep_sending(committer, stop))
        await at_least(own_database, 200)
        os.kill(pid_of(postgres), signal.SIGKILL)
        await postgres.program.wait()
        await postgres.run()
        await at_least(own_database, 400)
        stop.set()
        answers = await sending
        final = {key: (await waiting.count(1))[0] for key, waiting in answers.items()}
        for key, answer in final.items():
            if isinstance(answer, Refused):
                final[key] = await repeat(committer, a_send(CHAT, key))

    acked = {key: one.seq for key, one in final.items() if isinstance(one, Written)}
    assert len(acked) == len(final) > 400
    assert sorted(acked.values()) == [*range(1, len(acked) + 1)]
    head = await ChatStore(own_database).head(CHAT)
    assert head is not None
    assert (head.seq, head.ev) == (len(acked), len(acked))


@pytest.mark.timeout(40)
async def test_given_postgres_frozen_when_sends_wait_then_they_are_told_within_the_deadline(
    postgres: PostgresServer, own_database: Database
) -> None:
    loop = asyncio.get_running_loop()
    async with running(own_database, commit_deadline=1.0) as committer:
        await repeat(committer, a_send(CHAT, 1))
        frozen = children(pid_of(postgres))
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            began = loop.time()
            answers = Answers()
            committer.append(a_send(CHAT, 2), answers.take)
            await asyncio.sleep(0.3)
            committer.append(a_send(CHAT, 3), answers.take)
            found = await answers.count(2)
            waited = loop.time() - began
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        codes = [answer.code for answer in found if isinstance(answer, Refused)]
        second = await repeat(committer, a_send(CHAT, 2))
        third = await repeat(committer, a_send(CHAT, 3))

    assert codes == [ErrorCode.TIMEOUT, ErrorCode.TIMEOUT]
    assert waited < 2.0
    assert {second.seq, third.seq} == {2, 3}


def children(postmaster: int) -> list[int]:
    """The server and its processes: what a full disk or a lost host looks like from here."""
    found = [postmaster]
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == postmaster:
                found.append(int(name))
    return found


async def at_least(database: Database, seq: int) -> None:
    store = ChatStore(database)
    async with asyncio.timeout(15):
        while (head := await store.head(CHAT)) is None or head.seq < seq:  # noqa: ASYNC110
            await asyncio.sleep(0.02)

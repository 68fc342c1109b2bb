"""The committer against a function that fails as databases do."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from messenger.db.engine import Database
from messenger.db.migrate import migrate
from messenger.feature import Refused
from messenger.ids import ChatId
from messenger.log.rendering import DAY_MS
from messenger.log.sends import Written
from messenger.wire.codes import ErrorCode
from tests.db.conftest import EmptyDatabase, empty_database
from tests.log.conftest import Answers, a_send, put_chat, running

__all__ = ["empty_database"]

CHAT = ChatId(1)
Failing = Callable[[str, str], Awaitable[None]]


@pytest.fixture
async def own(empty_database: EmptyDatabase) -> AsyncIterator[Database]:
    async with empty_database() as url:
        await migrate(url)
        database = await Database.connect(url)
        await put_chat(database, CHAT, [1], kind=2, role=1)
        yield database
        await database.close()


async def fail_when(database: Database, condition: str, state: str) -> None:
    """Let `commit_messages_v2` raise SQLSTATE `state` where `condition` holds."""
    async with database.statement() as connection:
        await connection.exec_driver_sql("create sequence calls")
        rows = await connection.exec_driver_sql(
            "select pg_get_functiondef('commit_messages_v2'::regproc)"
        )
        broken = rows.scalar_one().replace(
            "begin\n",
            f"begin\n if {condition} then raise exception 'on purpose' using errcode = '{state}';"
            " end if;\n",
            1,
        )
        await connection.exec_driver_sql(broken)


@pytest.mark.parametrize("state", ["40P01", "55P03", "57P01", "53100"])
async def test_given_a_failure_that_passes_when_sent_then_the_batch_is_repeated_as_it_is(
    own: Database, state: str
) -> None:
    await fail_when(own, "nextval('calls') < 3", state)
    answers = Answers()
    async with running(own) as committer:
        for number in range(1, 11):
            committer.append(a_send(CHAT, number), answers.take)
        written = await answers.written(10)

    assert [one.seq for one in written] == [*range(1, 11)]


async def test_given_a_failure_that_stays_when_sent_then_the_answer_is_a_time_out(
    own: Database,
) -> None:
    await fail_when(own, "true", "53100")  # disk full
    answers = Answers()
    async with running(own, commit_deadline=0.2) as committer:
        committer.append(a_send(CHAT, 1), answers.take)
        [answer] = await answers.count(1)

    assert isinstance(answer, Refused)
    assert answer.code is ErrorCode.TIMEOUT


async def test_given_a_bug_met_by_one_row_when_batched_then_the_others_are_written(
    own: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await fail_when(own, "'bug' = any(p_body)", "XX000")
    answers = Answers()
    async with running(own) as committer:
        for number in range(1, 9):
            text = "bug" if number == 5 else "fine"
            committer.append(a_send(CHAT, number, text), answers.take)
        found = await answers.count(8)

    refused = [one for one in found if isinstance(one, Refused)]
    assert [one.code for one in refused] == [ErrorCode.INTERNAL]
    assert sorted(one.seq for one in found if isinstance(one, Written)) == [*range(1, 8)]
    assert "send failed" in caplog.text
    assert "fine" not in caplog.text  # people's words never reach the log


@pytest.mark.parametrize("state", ["42501", "40P01", "42P17"])
async def test_given_a_day_whose_partition_cannot_be_made_when_sent_then_the_committer_lives(
    own: Database, state: str
) -> None:
    async with own.statement() as connection:
        await connection.exec_driver_sql("alter function ensure_dedup_partitions rename to ensure")
        await connection.exec_driver_sql(
            "create function ensure_dedup_partitions(int) returns int language plpgsql as"
            f" $$ begin raise exception 'on purpose' using errcode = '{state}'; end $$"
        )
    answers = Answers()
    day = 25_000
    async with running(own, commit_deadline=1.0, now_ms=lambda: day * DAY_MS) as committer:
        committer.append(a_send(CHAT, 1), answers.take)
        [late] = await answers.count(1)
        day = int(time.time() * 1000) // DAY_MS
        committer.append(a_send(CHAT, 2), answers.take)
        _, written = await answers.count(2)

    assert isinstance(late, Refused)
    assert late.code is ErrorCode.TIMEOUT
    assert isinstance(written, Written)

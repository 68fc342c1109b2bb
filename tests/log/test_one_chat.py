"""One chat a call: what one chat's failure must not do to the others of its batch."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from messenger.db.engine import Database, StoreDownError
from messenger.db.statements import Statement
from messenger.feature import Refused
from messenger.log.held import BadRowError
from messenger.log.one_chat import One
from messenger.log.sends import Written
from messenger.log.statuses import Status
from messenger.log.store import ChatStore
from messenger.wire.codes import ErrorCode
from tests.log.conftest import NOW, AChat, Answers, a_send, commit, running, set_member

BAD = "a\0b"  # no text of PostgreSQL's holds it


@pytest.fixture
async def one(database: Database) -> AsyncIterator[One]:
    rendering = One(database, lanes=3)
    yield rendering
    await rendering.drop()


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


async def test_given_sends_of_many_chats_when_committed_then_rows_come_in_their_order(
    one: One, a_chat: AChat
) -> None:
    chats = [await a_chat() for _ in range(7)]
    sends = [a_send(chats[n % 7], n) for n in range(1, 101)]

    rows = await one.commit(sends, NOW, soon())

    places = dict.fromkeys(chats, 0)
    for send, row in zip(sends, rows, strict=True):
        places[send.chat] += 1
        assert (row[0], row[1]) == (Status.WRITTEN, places[send.chat])


async def test_given_a_bad_row_when_its_batch_is_repeated_then_the_others_are_told_once(
    one: One, a_chat: AChat
) -> None:
    good, bad = await a_chat(), await a_chat()
    sends = [a_send(good, 1), a_send(bad, 2, BAD), a_send(good, 1), a_send(good, 3)]
    with pytest.raises(BadRowError):
        await one.commit(sends, NOW, soon())

    first = await one.commit([sends[0]], NOW, soon())
    rest = await one.commit(sends[2:], NOW, soon())
    again = await one.commit([sends[0]], NOW, soon())

    assert [row[0] for row in (*first, *rest)] == [
        Status.WRITTEN,
        Status.COPY_IN_BATCH,
        Status.WRITTEN,
    ]
    assert again[0][0] == Status.REPEATED


async def test_given_a_bad_row_when_appended_then_the_rest_is_written_once_and_told_as_news(
    one: One, store: ChatStore, a_chat: AChat
) -> None:
    chats = [await a_chat() for _ in range(5)]
    answers = Answers()
    batches: list[list[Written]] = []
    async with running(one, batches) as committer:
        for number in range(1, 41):
            text = BAD if number == 17 else "salaam"
            committer.append(a_send(chats[number % 5], number, text), answers.take)
        found = await answers.count(40)

    written = [answer for answer in found if hasattr(answer, "seq")]
    assert len(written) == 39
    assert not any(answer.dup for answer in written)
    assert sum(map(len, batches)) == 39
    for chat in chats:
        seqs = [row.seq for row in await store.history(chat, limit=100)]
        assert seqs == [*range(1, len(seqs) + 1)]


async def test_given_a_locked_chat_when_time_is_over_then_the_others_of_its_batch_are_written(
    database: Database, store: ChatStore, one: One, a_chat: AChat
) -> None:
    locked, free = await a_chat(), await a_chat()
    sends = [a_send(locked, 1), a_send(free, 2)]
    async with database.transaction() as holder:
        await holder.exec_driver_sql("select 1 from chat where chat_id = $1 for update", (locked,))
        with pytest.raises(StoreDownError):
            await one.commit(sends, NOW, asyncio.get_running_loop().time() + 0.3)
    await one.drop()

    [first, second] = await one.commit(sends, NOW, soon())

    assert first[0] <= Status.REPEATED  # the server may go on when nobody waits any more
    assert second[0] == Status.WRITTEN  # it was written before, and nobody was told
    assert [row.seq for row in await store.history(free, limit=9)] == [1]


async def test_given_a_late_row_of_a_failed_batch_when_its_key_comes_again_then_the_log_answers(
    database: Database, one: One, a_chat: AChat
) -> None:
    locked, free = await a_chat(), await a_chat()
    late = a_send(free, 2)
    async with database.transaction() as holder:
        await holder.exec_driver_sql("select 1 from chat where chat_id = $1 for update", (locked,))
        with pytest.raises(StoreDownError):
            await one.commit(
                [a_send(locked, 1), late], NOW, asyncio.get_running_loop().time() + 0.3
            )
    await one.drop()

    [in_batch] = await one.commit([a_send(free, 2, "other")], NOW, soon())
    one.begin()
    [same] = await one.commit([late], NOW, soon())
    [other] = await one.commit([a_send(free, 2, "other")], NOW, soon())

    assert in_batch[0] == other[0] == Status.OTHER_BODY
    assert same[0] == Status.REPEATED


async def test_given_a_row_whose_time_ended_when_sent_with_other_words_then_nobody_reads_them(
    database: Database, one: One, a_chat: AChat
) -> None:
    locked, free = await a_chat(), await a_chat()
    answers, batches = Answers(), list[list[Written]]()
    async with running(one, batches, commit_deadline=0.3) as committer:
        async with database.transaction() as holder:
            lock = "select 1 from chat where chat_id = $1 for update"
            await holder.exec_driver_sql(lock, (locked,))
            committer.append(a_send(locked, 1), answers.take)
            committer.append(a_send(free, 2), answers.take)
            late = list(await answers.count(2))
        committer.append(a_send(free, 2, "other"), answers.take)
        other = (await answers.count(3))[2]

    assert [refused.code for refused in late if isinstance(refused, Refused)] == [
        ErrorCode.TIMEOUT,
        ErrorCode.TIMEOUT,
    ]
    assert isinstance(other, Refused)
    assert other.code == ErrorCode.IDEMPOTENCY_MISMATCH
    assert batches == []


REFUSING: Sequence[dict[str, int]] = (
    {"role": -1},
    {"role": -1, "until": 1},
    {"role": -1, "until": 2**50},
    {"role": 0},
    {"rights": 1},
    {"rights": 1, "until": 1},
    {"role": 3, "rights": 0},
    {"role": 3, "rights": 1},
    {"role": 4},
)


@pytest.mark.parametrize(
    "columns",
    [{}, {"flags": 2}, {"flags": 4}, {"rights": 1}, {"slow_s": 10}, {"kind": 3}],
    ids=str,
)
async def test_given_any_batch_when_both_renderings_write_it_then_they_answer_the_same(
    database: Database, one: One, a_chat: AChat, columns: dict[str, int]
) -> None:
    answers = []
    for rendering in ("many", "one"):
        chat = await a_chat(range(1, 10), **columns)
        for account, of_member in enumerate(REFUSING, 1):
            await set_member(database, chat, account, **of_member)
        batch = [a_send(chat, 100 + n, account=n % 11 + 1, reply=n % 4 or None) for n in range(40)]
        firsts = len(batch)  # what a copy is told does not matter: it goes into the next batch
        batch += [a_send(chat, 100, account=4), a_send(chat, 101, "other", account=9)]
        found = []
        for _ in range(2):
            if rendering == "one":
                rows = await one.commit(batch, NOW, soon())
            else:
                async with database.statement() as connection:
                    rows = await commit(connection, batch, NOW)
            found.append([tuple(row) for row in rows[:firsts]])
        answers.append(found)

    assert answers[0] == answers[1]


def test_given_a_statement_of_both_renderings_when_called_then_each_key_has_its_own_call() -> None:
    statement = Statement("many", key="chat_id", one="one", spread=(2, 3))

    assert statement.calls("many", (9, [5, 6, 5], ["a", "b", "c"])) == [
        ("many", (9, [5, 6, 5], ["a", "b", "c"]))
    ]
    assert statement.calls("one", (9, [5, 6, 5], ["a", "b", "c"])) == [
        ("one", (9, 5, ["a", "c"])),
        ("one", (9, 6, ["b"])),
    ]
    assert statement.calls("one", (9, [], [])) == []
    assert Statement("both", key="chat_id").calls("one", (1,)) == [("both", (1,))]

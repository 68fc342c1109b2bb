"""The committer: one answer a send, in order, whatever the database does."""

import asyncio
import contextlib
from collections.abc import Sequence

import msgspec
import pytest

from messenger.db.engine import Database
from messenger.feature import Refused
from messenger.ids import ChatId
from messenger.log.committer import Committer
from messenger.log.rendering import DAY_MS
from messenger.log.sends import Written
from messenger.log.store import ChatStore
from messenger.metrics import Metrics
from messenger.settings import Settings
from messenger.wire.codes import ErrorCode
from tests.log.conftest import (
    BOTH_RENDERINGS,
    AChat,
    Answers,
    a_send,
    rendering_of,
    running,
    set_member,
)

pytestmark = BOTH_RENDERINGS


async def test_given_many_sends_when_appended_then_answers_come_in_order_with_dense_numbers(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers = Answers()
    batches: list[list[Written]] = []
    async with running(database, batches) as committer:
        for number in range(1, 1_201):
            committer.append(a_send(chat, number), answers.take)
        written = await answers.written(1_200)

    assert [answer.send.random_id for answer in written] == [*range(1, 1_201)]
    assert [answer.seq for answer in written] == [*range(1, 1_201)]
    assert [answer.ev for answer in written] == [*range(1, 1_201)]
    assert max(map(len, batches)) == 500  # commit_rows
    assert [one for batch in batches for one in batch] == written


async def test_given_a_send_when_written_then_the_answer_carries_what_its_route_needs(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat(flags=1, member_ver=9, badge_epoch=4, epoch=2)
    answers = Answers()
    async with running(database) as committer:
        committer.append(a_send(chat, 1), answers.take)
        [written] = await answers.written(1)

    assert (written.chat_kind, written.chat_flags, written.member_ver) == (2, 1, 9)
    assert (written.badge_epoch, written.epoch, written.dup) == (4, 2, False)


async def test_given_a_repeated_send_when_appended_then_it_is_a_dup_and_no_news(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers = Answers()
    batches: list[list[Written]] = []
    async with running(database, batches) as committer:
        committer.append(a_send(chat, 7), answers.take)
        committer.append(a_send(chat, 7), answers.take)  # a copy in the same batch
        first, copy = await answers.written(2)
        committer.append(a_send(chat, 7), answers.take)
        _, _, again = await answers.written(3)

    assert (first.dup, copy.dup, again.dup) == (False, True, True)
    assert first.seq == copy.seq == again.seq
    assert sum(map(len, batches)) == 1


async def test_given_sends_that_may_not_be_when_appended_then_each_is_refused_by_its_code(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat(range(1, 6))
    await set_member(database, chat, 2, role=-1, until=99)
    await set_member(database, chat, 3, rights=1)
    slow = await a_chat(slow_s=60)
    answers = Answers()
    async with running(database) as committer:
        committer.append(a_send(chat, 1, account=9), answers.take)
        committer.append(a_send(chat, 2, account=2), answers.take)
        committer.append(a_send(chat, 3, account=3), answers.take)
        committer.append(a_send(chat, 4, "one"), answers.take)
        committer.append(a_send(slow, 5), answers.take)
        await answers.count(5)
        committer.append(a_send(chat, 4, "two"), answers.take)
        committer.append(a_send(slow, 6), answers.take)
        committer.append(a_send(chat, 7, reply=99), answers.take)
        committer.append(a_send(ChatId(5), 8), answers.take)
        found = await answers.count(9)

    refused = {one.code: one.details for one in found if isinstance(one, Refused)}
    assert set(refused) == {
        ErrorCode.NO_CHAT,
        ErrorCode.FORBIDDEN,
        ErrorCode.IDEMPOTENCY_MISMATCH,
        ErrorCode.SLOW_MODE,
        ErrorCode.REPLY_NOT_FOUND,
    }
    assert refused[ErrorCode.FORBIDDEN] == {"right": "post"}
    assert refused[ErrorCode.IDEMPOTENCY_MISMATCH] == {"seq": 1}
    assert 0 < refused[ErrorCode.SLOW_MODE]["retry_after_ms"] <= 60_000


async def test_given_a_banned_account_when_it_sends_then_it_learns_until_when(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    await set_member(database, chat, 2, role=-1, until=10**14)
    answers = Answers()
    async with running(database) as committer:
        committer.append(a_send(chat, 1, account=2), answers.take)
        [answer] = await answers.count(1)

    assert isinstance(answer, Refused)
    assert (answer.code, answer.details) == (ErrorCode.BANNED, {"until": 10**14})


@pytest.mark.parametrize(
    "bad",
    [
        {"body": "nul \0 in it"},
        {"body": "lone \ud800 surrogate"},
        {"extra": "not json"},
        {"reply": 2**31},
        {"account": 2**63},
        {"kind": 2**15},
    ],
    ids=lambda bad: next(iter(bad)),
)
async def test_given_a_row_that_cannot_be_stored_when_batched_then_its_sender_alone_is_refused(
    database: Database, store: ChatStore, a_chat: AChat, bad: dict[str, object]
) -> None:
    chat = await a_chat()
    answers = Answers()
    async with running(database) as committer:
        for number in range(1, 21):
            send = a_send(chat, number)
            if number == 13:
                send = msgspec.structs.replace(send, **bad)
            committer.append(send, answers.take)
        found = await answers.count(20)

    refused = [answer for answer in found if isinstance(answer, Refused)]
    assert [answer.code for answer in refused] == [ErrorCode.INVALID]
    assert [row.seq for row in await store.history(chat, limit=50)] == [*range(1, 20)]
    head = await store.head(chat)
    assert head is not None
    assert (head.seq, head.ev) == (19, 19)


@pytest.mark.parametrize("random_id", [0, -1, 2**63])
async def test_given_a_key_outside_63_bits_when_appended_then_it_is_refused_at_once(
    database: Database, a_chat: AChat, random_id: int
) -> None:
    chat = await a_chat()
    async with running(database) as committer:
        with pytest.raises(Refused) as refused:
            committer.append(a_send(chat, random_id), Answers().take)

    assert refused.value.code is ErrorCode.INVALID


async def test_given_a_full_queue_when_appended_then_it_is_refused_with_a_time_to_retry(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers = Answers()
    async with running(database, commit_queue=10) as committer:
        for number in range(1, 11):
            committer.append(a_send(chat, number), answers.take)
        with pytest.raises(Refused) as refused:
            committer.append(a_send(chat, 11), answers.take)
        await answers.written(10)
        committer.append(a_send(chat, 11), answers.take)  # there is room again
        await answers.written(11)

    assert refused.value.code is ErrorCode.OVERLOADED
    assert refused.value.details["retry_after_ms"] > 0


async def test_given_queued_sends_when_closed_then_all_are_answered_and_no_more_are_taken(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers = Answers()
    async with running(database, commit_window=60.0, commit_window_quiet=60.0) as committer:
        for number in range(1, 101):
            committer.append(a_send(chat, number), answers.take)
        committer.close()
        with pytest.raises(Refused):
            committer.append(a_send(chat, 101), answers.take)

    assert len(await answers.written(100)) == 100


async def test_given_a_day_without_partition_when_sent_then_it_is_made(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers = Answers()
    async with running(database, now_ms=lambda: 25_000 * DAY_MS) as committer:
        committer.append(a_send(chat, 1), answers.take)
        [written] = await answers.written(1)

    assert written.at == 25_000 * DAY_MS


async def test_given_the_connection_cut_in_a_batch_when_it_is_repeated_then_nothing_is_doubled(
    database: Database, store: ChatStore, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers = Answers()
    async with running(database) as committer:
        async with database.transaction() as holder:
            await holder.exec_driver_sql(
                "select 1 from chat where chat_id = $1 for update", (chat,)
            )
            for number in range(1, 51):
                committer.append(a_send(chat, number), answers.take)
            await cut_waiting(database, chat)
        written = await answers.written(50)

    assert [answer.seq for answer in written] == [*range(1, 51)]
    assert len(await store.history(chat, limit=100)) == 50


async def cut_waiting(database: Database, chat: ChatId) -> None:
    """Kill the server's side of the one connection that waits for a lock."""
    sql = (
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where wait_event_type = 'Lock' and query like '%commit_%'"
        " and datname = current_database()"
    )
    async with asyncio.timeout(5), database.statement() as connection:
        while not (await connection.exec_driver_sql(sql)).fetchall():  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)


async def test_given_a_chat_locked_for_too_long_when_sent_then_the_answer_is_a_time_out(
    database: Database, store: ChatStore, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers = Answers()
    async with running(database, commit_deadline=0.3) as committer:
        async with database.transaction() as holder:
            await holder.exec_driver_sql(
                "select 1 from chat where chat_id = $1 for update", (chat,)
            )
            committer.append(a_send(chat, 1), answers.take)
            [late] = await answers.count(1)
        committer.append(a_send(chat, 1), answers.take)  # the retry says what became of it
        _, again = await answers.count(2)

    assert isinstance(late, Refused)
    assert late.code is ErrorCode.TIMEOUT
    assert isinstance(again, Written)
    assert [row.seq for row in await store.history(chat, limit=10)] == [again.seq] == [1]


class Recorder:
    """Intents that remember the order of things."""

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []

    def begin(self, batch: int, chats: Sequence[ChatId]) -> None:
        self.log.append(("begin", len(chats)))

    def end(self, batch: int) -> None:
        self.log.append(("end", batch))


async def test_given_intents_when_a_batch_is_written_then_they_frame_the_telling(
    database: Database, a_chat: AChat
) -> None:
    chats = [await a_chat(), await a_chat()]
    recorder = Recorder()
    answers = Answers()

    def told(answer: Written | Refused) -> None:
        recorder.log.append(("answer", len(answers.all)))
        answers.take(answer)

    async with running(database, intents=recorder) as committer:
        for chat in chats:
            committer.append(a_send(chat, 1), told)
        await answers.written(2)

    assert recorder.log == [("begin", 2), ("answer", 0), ("answer", 1), ("end", 1)]


async def test_given_a_committer_when_cancelled_then_its_connection_goes_back(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers = Answers()
    committer = Committer(rendering_of(database), Settings(), lambda _batch: None, Metrics())
    task = asyncio.ensure_future(committer.run())
    committer.append(a_send(chat, 1), answers.take)
    await answers.written(1)

    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

    assert committer.waiting == 0

"""A commit that was written, but whose answer was lost on the way: it is news all the same."""

from collections.abc import Sequence

import pytest

from messenger.db.engine import Database, StoreDownError
from messenger.feature import Refused
from messenger.ids import ChatId
from messenger.log.committer import Committer
from messenger.log.held import Row
from messenger.log.rendering import Many
from messenger.log.sends import Send, Written
from messenger.metrics import Metrics
from messenger.settings import Settings
from messenger.wire.codes import ErrorCode
from tests.log.conftest import AChat, Answers, a_send, running


class Lossy(Many):
    """Loses the answers of the next `lose` commits on their way back."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.lose = 0

    async def commit(self, sends: Sequence[Send], now: int, deadline: float) -> Sequence[Row]:
        rows = await super().commit(sends, now, deadline)
        if self.lose:
            self.lose -= 1
            raise StoreDownError("answer lost")
        return rows


@pytest.fixture
def lossy(database: Database) -> Lossy:
    return Lossy(database)


class Doubts:
    """Intents as the committer leaves them."""

    def __init__(self) -> None:
        self.open: dict[int, Sequence[ChatId]] = {}
        self.doubted: list[ChatId] = []

    def begin(self, batch: int, chats: Sequence[ChatId]) -> None:
        self.open[batch] = chats

    def end(self, batch: int) -> None:
        del self.open[batch]

    def doubt(self, batch: int, chats: Sequence[ChatId]) -> None:
        self.doubted.extend(chats)


async def test_given_an_answer_lost_after_the_commit_when_repeated_then_the_rows_are_told(
    lossy: Lossy, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers, batches = Answers(), list[list[Written]]()
    lossy.lose = 2
    async with running(lossy, batches) as committer:
        for number in range(1, 6):
            committer.append(a_send(chat, number), answers.take)
        committer.append(a_send(chat, 5), answers.take)  # a copy: told once
        written = await answers.written(6)

    assert [one.seq for one in written] == [1, 2, 3, 4, 5, 5]
    assert [one.dup for one in written] == [False] * 5 + [True]
    assert [one.ev for batch in batches for one in batch] == [1, 2, 3, 4, 5]


async def test_given_an_old_repeat_in_a_batch_whose_answer_was_lost_then_it_alone_is_no_news(
    lossy: Lossy, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers, batches = Answers(), list[list[Written]]()
    now = 1_900_000_000_000
    async with running(lossy, batches, now_ms=lambda: now) as committer:
        committer.append(a_send(chat, 1), answers.take)
        await answers.written(1)
        now += 60_000
        lossy.lose = 1
        committer.append(a_send(chat, 2), answers.take)
        committer.append(a_send(chat, 1), answers.take)
        written = await answers.written(3)

    assert [(one.seq, one.dup) for one in written] == [(1, False), (2, False), (1, True)]
    assert [[one.ev for one in batch] for batch in batches] == [[1], [2]]


async def test_given_answers_lost_until_the_time_is_over_when_refused_then_the_chat_is_in_doubt(
    lossy: Lossy, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers, intents = Answers(), Doubts()
    lossy.lose = 1_000
    async with running(lossy, intents=intents, commit_deadline=0.3) as committer:
        committer.append(a_send(chat, 1), answers.take)
        [late] = await answers.count(1)
        lossy.lose = 0
        committer.append(a_send(await a_chat(), 2), answers.take)
        await answers.count(2)

    assert isinstance(late, Refused)
    assert late.code is ErrorCode.TIMEOUT
    assert intents.doubted == [chat]
    assert not intents.open


async def test_given_sends_that_never_left_when_their_time_is_over_then_nothing_is_in_doubt(
    lossy: Lossy, a_chat: AChat
) -> None:
    chat = await a_chat()
    answers, intents = Answers(), Doubts()
    committer = Committer(
        lossy, Settings(commit_deadline=0.0), lambda _batch: None, Metrics(), intents=intents
    )
    committer.append(a_send(chat, 1), answers.take)
    committer.close()
    await committer.run()

    assert isinstance(answers.all[0], Refused)
    assert not intents.doubted

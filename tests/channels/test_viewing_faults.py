"""Views when the database does not answer, when there are too many, and when a node leaves."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from channels.protocol import View, Views
from channels.store.views import Reader, ViewStore
from channels.viewing import WAITING, Viewing
from channels.views import Span
from messenger.db.engine import Database
from messenger.feature import Answer, Caller, Later, Refused
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.log.store import ChatStore
from messenger.wire.codes import ErrorCode
from tests.channels.studio import Studio
from tests.channels.test_viewing import a_channel

NOTHING: Any = None


@pytest.fixture
async def hasty(studio: Studio) -> AsyncIterator[Database]:
    """A database that gives up soon on what stands in its way."""
    database = await Database.connect(studio.url, 2, statement_timeout=0.3)
    yield database
    await database.close()


def viewing(database: Database, store: ViewStore | None = None) -> Viewing:
    return Viewing(store or ViewStore(database), ChatStore(database), NOTHING, window_s=0.01)


def sees(part: Viewing, chat: ChatId, account: int, lo: int, hi: int) -> Later:
    request = Views(views=(View(chat=str(chat), lo=lo, hi=hi),))
    return part.view(request, Caller(AccountId(account), DeviceId(1), ""))


async def answer(later: Later) -> Answer | Refused:
    done: asyncio.Future[Answer | Refused] = asyncio.get_running_loop().create_future()
    later.then(done.set_result)
    async with asyncio.timeout(5):
        return await done


async def test_given_a_row_that_is_locked_then_the_call_is_refused_and_a_repeat_counts_once(
    studio: Studio, hasty: Database
) -> None:
    chat, [account] = await a_channel(studio, 1)
    part = viewing(hasty)
    async with studio.db.transaction() as connection:
        await connection.exec_driver_sql(
            "select 1 from membership where chat_id = $1 for update", (chat,)
        )
        first = sees(part, chat, account, 1, 3)
        await part.flush()
        refused = await answer(first)

    again = [sees(part, chat, account, 1, 3), sees(part, chat, account, 10, 12)]
    await part.flush()
    await part.flush()

    assert isinstance(refused, Refused)
    assert (refused.code, refused.details["retry_after_ms"]) == (ErrorCode.OVERLOADED, 1_000)
    assert [isinstance(await answer(one), Refused) for one in again] == [False, False]
    seqs = [1, 3, 4, 10, 13]
    assert await ViewStore(studio.db).views(chat, seqs) == {1: 1, 3: 1, 4: 0, 10: 1, 13: 0}


async def test_given_a_bug_then_its_calls_are_answered_so_and_the_next_ones_are_counted(
    studio: Studio,
) -> None:
    class Broken(ViewStore):
        broken = True

        async def record(self, spans: Mapping[Reader, Span]) -> dict[Reader, Span]:
            if self.broken:
                raise ValueError("a bug")
            return await super().record(spans)

    chat, [account] = await a_channel(studio, 1)
    store = Broken(studio.db)
    part = viewing(studio.db, store)
    first = sees(part, chat, account, 1, 2)
    await part.flush()

    store.broken = False
    second = sees(part, chat, account, 1, 2)
    await part.flush()

    refused = await answer(first)
    assert isinstance(refused, Refused)
    assert refused.code is ErrorCode.INTERNAL
    assert not isinstance(await answer(second), Refused)
    assert await store.views(chat, [2]) == {2: 1}


async def test_given_more_calls_than_may_wait_then_the_next_is_told_to_come_back(
    studio: Studio,
) -> None:
    part = viewing(studio.db)
    for number in range(WAITING):
        sees(part, ChatId(5), 1_000 + number, 1, 1)

    with pytest.raises(Refused) as refused:
        sees(part, ChatId(5), 1, 1, 1)

    assert refused.value.code is ErrorCode.OVERLOADED


async def test_given_a_call_with_two_ranges_when_one_is_refused_then_it_is_answered_once(
    studio: Studio,
) -> None:
    class Once(ViewStore):
        calls = 0

        async def record(self, spans: Mapping[Reader, Span]) -> dict[Reader, Span]:
            self.calls += 1
            if self.calls == 1:
                raise ValueError("a bug")
            return await super().record(spans)

    chat, [account] = await a_channel(studio, 1)
    part = viewing(studio.db, Once(studio.db))
    both = Views(
        views=(View(chat=str(chat), lo=1, hi=2), View(chat=str(chat), lo=9, hi=9)),
    )
    later = part.view(both, Caller(AccountId(account), DeviceId(1), ""))

    await part.flush()

    assert isinstance(await answer(later), Refused)
    after = sees(part, chat, account, 1, 1)
    await part.flush()
    assert not isinstance(await answer(after), Refused)


async def test_given_forwards_that_cannot_be_written_then_they_are_counted_later(
    studio: Studio, hasty: Database
) -> None:
    chat, _ = await a_channel(studio, 1)
    await studio.run("insert into post_stat(chat_id, seq) values ($1, 4)", chat)
    part = viewing(hasty)
    async with studio.db.transaction() as connection:
        await connection.exec_driver_sql(
            "select 1 from post_stat where chat_id = $1 for update", (chat,)
        )
        part.forwarded(chat, 4)
        await part.flush()
    part.forwarded(chat, 4)

    await part.flush()

    assert (await ViewStore(studio.db).stats(chat, [4]))[4].forwards == 2


async def test_given_a_node_that_leaves_then_what_waits_is_counted_first(studio: Studio) -> None:
    chat, [account] = await a_channel(studio, 1)
    part = Viewing(ViewStore(studio.db), ChatStore(studio.db), NOTHING, window_s=60.0)
    running = asyncio.create_task(part.run())
    later = sees(part, chat, account, 1, 4)
    await asyncio.sleep(0)

    running.cancel()
    await asyncio.wait([running])

    assert not isinstance(await answer(later), Refused)
    assert await ViewStore(studio.db).views(chat, [4]) == {4: 1}

"""One bad row stops no task, and holds up nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from messenger.ids import AccountId, ChatId
from messenger.messages.aside import Aside
from messenger.messages.cursors import CursorStore, Receipts
from messenger.messages.indexing import Indexer
from messenger.messages.reacting import Reacting
from messenger.messages.reading import Cursors
from messenger.messages.scheduled import Schedule
from messenger.messages.store import MessageStore, Reacted
from tests.messages.office import Office
from tests.support.people import until

POISON = ChatId(2**70)  # no number of PostgreSQL: the statement fails, the server lives


@asynccontextmanager
async def running(run: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """The task, which must be alive at the end."""
    task = asyncio.get_running_loop().create_task(run())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_given_a_poison_entry_when_indexed_then_later_ones_are_found(office: Office) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    indexer = Indexer(office.database)
    indexer.deleted(POISON, [1])
    indexer.repaired(POISON)
    indexer.edited(POISON, 1, "poison")

    async def indexed() -> bool:
        sql = "select 1 from message_index where chat_id = $1"
        return bool(await office.rows(sql, chat))

    async with running(indexer.run):
        indexer.edited(chat, 1, "salaam")
        await until(indexed)


async def test_given_two_indexers_with_the_same_messages_when_they_write_then_none_is_stuck(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    one, other = Indexer(office.database), Indexer(office.database)
    for _ in range(10):
        for seq in range(1, 151):
            one.edited(chat, seq, f"salaam {seq}")
            other.edited(chat, 151 - seq, f"salaam {seq}")
        await asyncio.gather(one.flush(), other.flush())

    sql = "select count(*) from message_index where chat_id = $1"
    assert [tuple(row) for row in await office.rows(sql, chat)] == [(150,)]


async def test_given_a_poison_cursor_when_moved_then_own_ones_of_its_batch_are_kept(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await office.set_chat(chat, last_seq=5)
    cursors = Cursors(
        CursorStore(office.database, office.chats), Receipts(office.database, office.delivery)
    )
    cursors.sent_before(POISON, [(AccountId(5), 1)])
    cursors.sent_before(chat, [(mina.account, 5)])

    async with running(cursors.run):
        assert (await mina.hears("read.self", chat=str(chat)))["read_seq"] == 5


async def test_given_poison_counts_when_their_turn_comes_then_later_ones_are_told(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat)
    await office.rows(
        "insert into post_stat(chat_id, seq, reactions)"
        """ values ($1, 1, '{"n": {"👍": 1}, "at": 5, "late": true}') returning 1""",
        chat,
    )
    reacting = Reacting(MessageStore(office.database), office.delivery)
    reacting.late(POISON, 1)
    reacting.late(chat, 1)

    async with running(reacting.run):
        assert (await mina.hears("message.reactions"))["counts"] == {"👍": 1}


class Flushes(MessageStore):
    """Notes whose turn came."""

    def __init__(self) -> None:
        self.turns: list[tuple[int, int]] = []

    async def flush_reactions(self, chat: ChatId, seq: int, every: int) -> Reacted | None:
        self.turns.append((chat, seq))
        return None


async def test_given_an_earlier_turn_while_waiting_when_it_comes_then_each_comes_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes = Flushes()
    reacting = Reacting(flushes, office.delivery)
    async with running(reacting.run):
        monkeypatch.setattr("messenger.messages.reacting.EVERY_MS", 400)
        reacting.late(ChatId(1), 1)
        await asyncio.sleep(0)
        monkeypatch.setattr("messenger.messages.reacting.EVERY_MS", 50)
        reacting.late(ChatId(1), 2)
        await until(lambda: _is(len(flushes.turns) == 2))
        reacting.late(ChatId(1), 2)
        await until(lambda: _is(len(flushes.turns) == 3))

    assert flushes.turns == [(1, 2), (1, 1), (1, 2)]


async def test_given_many_in_slow_mode_when_due_then_they_wait_aside_and_others_are_sent(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    slow, chat = await office.chat([mina]), await office.chat([reza])
    in_an_hour = int(time.time() * 1000) + 3_600_000
    for _ in range(100):
        await mina.sends(slow, schedule_at=in_an_hour)
    await reza.sends(chat, schedule_at=in_an_hour)
    await office.set_chat(slow, slow_s=3600)
    await mina.sends(slow)
    await office.rows("update scheduled set due = 1 where chat_id = $1 returning 1", slow)
    await office.rows("update scheduled set due = 2 where chat_id = $1 returning 1", chat)
    schedule = Schedule(office.database, office.chats, office.committer, Aside())

    finished = [await schedule.fire() for _ in range(2)]

    assert sum(finished) <= 1  # the office's own task may have been faster
    await reza.hears("message.new", chat=str(chat))

    async def all_wait() -> bool:
        """The office's own task may hold some of them for a moment yet."""
        sql = "select count(*), min(due) from scheduled where chat_id = $1"
        [(left, first)] = await office.rows(sql, slow)
        assert left == 100
        return bool(first > time.time() * 1000 + 600_000)

    await until(all_wait)


async def _is(condition: bool) -> bool:  # noqa: FBT001 - its only one
    return condition

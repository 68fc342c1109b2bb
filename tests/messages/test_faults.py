"""What becomes of the package's own tasks when the database or a question fails."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

import messenger.messages.feature
from messenger.db.engine import Database, StoreDown
from messenger.feature import Answer, Refused
from messenger.ids import AccountId, ChatId
from messenger.log.store import ChatStore
from messenger.messages.aside import Aside
from messenger.messages.cursors import COPY, CursorStore, Receipts, rows_of
from messenger.messages.indexing import Indexer
from messenger.messages.protocol import (
    Cursor,
    Empty,
    ForwardMessages,
    MoveCursors,
    React,
    SendMessage,
)
from messenger.messages.reacting import Reacting
from messenger.messages.reading import Cursors
from messenger.messages.scheduled import Schedule
from messenger.messages.store import MessageStore
from messenger.wire.codes import ErrorCode
from tests.conftest import Stores
from tests.messages.office import Office, an_office


class Dam:
    """A pool with one connection, which the test may hold: nobody else gets to the database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._held = None

    async def close(self) -> None:
        self._held = await self.database.held()

    async def open(self) -> None:
        if self._held is not None:
            await self._held.close()
            self._held = None


@pytest.fixture
async def dam(stores: Stores) -> AsyncIterator[Dam]:
    database = await Database.connect(stores.database_url, pool=1, statement_timeout=0.2)
    dam = Dam(database)
    yield dam
    await dam.open()
    await database.close()


async def answer_of(later: object) -> Answer | Refused:
    answered: asyncio.Future[Answer | Refused] = asyncio.get_running_loop().create_future()
    later.then(answered.set_result)  # type: ignore[attr-defined]
    async with asyncio.timeout(8):
        return await answered


async def test_given_questions_that_fail_when_asked_aside_then_each_is_answered_and_work_goes_on(
    office: Office,
) -> None:
    async def store_down() -> Answer:
        raise StoreDown("gone")

    async def bug() -> Answer:
        raise ZeroDivisionError

    async def fine() -> Answer:
        return Empty()

    aside = Aside()
    task = asyncio.get_running_loop().create_task(aside.run())
    answers = [await answer_of(aside.ask(one)) for one in (store_down, bug, fine)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert [one.code for one in answers[:2] if isinstance(one, Refused)] == [
        ErrorCode.OVERLOADED,
        ErrorCode.INTERNAL,
    ]
    assert answers[2] == Empty()


async def test_given_no_database_when_cursors_move_then_calls_are_refused_and_own_sends_kept(
    office: Office, dam: Dam
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    await mina.sends(chat)
    store = CursorStore(dam.database, ChatStore(dam.database))
    cursors = Cursors(store, Receipts(dam.database, office.delivery))
    wanted = MoveCursors((Cursor(str(chat), 1),))
    await dam.close()

    cursors.sent_before(chat, [(reza.account, 2)])
    read = cursors.read(wanted, reza.caller)
    delivered = cursors.delivered(wanted, reza.caller)
    await cursors.flush()
    await dam.open()
    await cursors.flush()

    for later in (read, delivered):
        answer = await answer_of(later)
        assert isinstance(answer, Refused)
        assert answer.code == ErrorCode.OVERLOADED
    assert (await reza.hears("read.self"))["read_seq"] == 2


async def test_given_a_node_that_leaves_when_cursors_wait_then_they_are_moved_first(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    store = CursorStore(office.database, office.chats)
    cursors = Cursors(store, Receipts(office.database, office.delivery), window_s=60)
    task = asyncio.get_running_loop().create_task(cursors.run())
    later = cursors.read(MoveCursors((Cursor(str(chat), 1),)), reza.caller)
    await asyncio.sleep(0)  # the task takes notice of the call

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert not isinstance(await answer_of(later), Refused)


async def test_given_more_calls_than_a_flush_takes_when_flushed_then_all_are_answered(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    cursors = Cursors(
        CursorStore(office.database, office.chats), Receipts(office.database, office.delivery)
    )
    many = MoveCursors(tuple(Cursor(str(chat), 1) if n else Cursor("5", 1) for n in range(100)))
    others = tuple(Cursor(str(chat + 1_000 + n), 1) for n in range(99))
    calls = [
        cursors.read(MoveCursors((Cursor(str(chat), 1), *others)), reza.caller) for _ in range(12)
    ]
    calls.append(cursors.read(many, reza.caller))

    for _ in range(3):
        await cursors.flush()

    answers = [await answer_of(later) for later in calls]
    assert not [answer for answer in answers if isinstance(answer, Refused)]


async def test_given_a_flood_when_calls_wait_then_those_beyond_the_bound_are_refused(
    office: Office,
) -> None:
    mina = await office.person()
    cursors = Cursors(
        CursorStore(office.database, office.chats), Receipts(office.database, office.delivery)
    )
    wanted = MoveCursors((Cursor("5", 1),))
    for _ in range(5_000):
        cursors.delivered(wanted, mina.caller)

    with pytest.raises(Refused) as refused:
        cursors.delivered(wanted, mina.caller)

    assert refused.value.code == ErrorCode.OVERLOADED


async def test_given_a_deadlock_when_copies_move_then_the_statement_is_tried_again(
    office: Office,
) -> None:
    mina = await office.person()
    first, second = await office.chat([mina]), await office.chat([mina])
    for chat in (first, second):
        await office.set_chat(chat, last_seq=1)
    lock = "select 1 from membership where chat_id = $1 and account_id = $2 for update"
    blocked = (
        "select 1 from pg_stat_activity where wait_event_type = 'Lock'"
        " and query like '%move_receipts%'"
    )
    values = ([first, second], [mina.account] * 2, [0, 0], [1, 1])

    async with office.database.transaction() as other:
        await other.exec_driver_sql(lock, (second, mina.account))
        moving = asyncio.get_running_loop().create_task(rows_of(office.database, COPY, *values))
        async with asyncio.timeout(5):
            while not await office.rows(blocked):
                continue
        await other.exec_driver_sql(lock, (first, mina.account))  # the circle is closed
    rows = await moving

    assert [row[3] for row in rows] == [1, 1]


async def test_given_no_database_when_entries_wait_then_they_are_indexed_once_it_is_back(
    office: Office, dam: Dam
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    indexer = Indexer(dam.database)
    await dam.close()
    task = asyncio.get_running_loop().create_task(indexer.run())

    indexer.edited(chat, 1, "گنجشک")
    lag = indexer.lag_ms
    with pytest.raises(StoreDown):
        await indexer.flush()
    await dam.open()
    await indexer.flush()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    assert lag >= 0
    assert len(await office.rows("select 1 from message_index where chat_id = $1", chat)) == 1
    assert indexer.lag_ms == 0


async def test_given_no_database_when_reactions_are_late_then_they_are_told_once_it_is_back(
    office: Office, dam: Dam
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    reacting = Reacting(MessageStore(dam.database), office.delivery)
    for emoji in ("👍", "❤️"):
        await reacting.react(React(chat=str(chat), seq=1, emoji=emoji), reza.caller)
    await dam.close()
    task = asyncio.get_running_loop().create_task(reacting.run())

    await asyncio.sleep(1.3)  # its second is over, and the first attempt has failed
    await dam.open()

    await mina.hears("message.reactions", counts={"👍": 1})
    await mina.hears("message.reactions", counts={"❤️": 1})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_given_no_database_when_messages_are_due_then_the_worker_goes_on(
    office: Office, dam: Dam
) -> None:
    schedule = Schedule(dam.database, office.chats, office.committer, Aside())
    await dam.close()
    task = asyncio.get_running_loop().create_task(schedule.run())
    done, _ = await asyncio.wait([task], timeout=0.4)

    assert not done
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_given_a_full_index_queue_when_more_comes_then_it_is_counted_as_dropped(
    office: Office,
) -> None:
    indexer = Indexer(office.database)
    for seq in range(50_001):
        indexer.edited(ChatId(5), seq, "x")

    assert indexer.dropped == 1
    indexer.deleted(ChatId(5), range(50_001))
    assert indexer.lag_ms == 0


class Closed:
    """A gate that lets nobody write."""

    def check(self, *, chat: ChatId, account: AccountId) -> None:
        raise Refused(ErrorCode.FORBIDDEN, {"right": "post", "why": "candidate"})


async def test_given_a_gate_when_it_is_closed_then_nothing_is_sent_or_forwarded(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat)
    create = messenger.messages.feature.create
    closed = create(
        office.database, office.committer, office.chats, office.events, office.delivery,
        office.limits, office.cursors, office.indexer, gate=Closed(),
    )  # fmt: skip
    handlers = {rpc.method: rpc.handler for rpc in closed.rpcs}

    send = SendMessage(chat=str(chat), random_id="9", text="salaam")
    forward = ForwardMessages(source=str(chat), to=str(chat), seqs=(1,), random_ids=("9",))
    with pytest.raises(Refused):
        handlers["messages.send"](send, mina.caller)
    with pytest.raises(Refused):
        await handlers["messages.forward"](forward, mina.caller)  # type: ignore[misc]

    assert await office.counts(chat) == (1, 1)


async def test_given_a_full_committer_when_forwarded_or_due_then_each_is_refused_or_waits(
    stores: Stores, office: Office
) -> None:
    async with an_office(stores, commit_queue=1) as small:
        mina = await small.person()
        chat = await small.chat([mina])
        for _ in range(3):
            await mina.sends(chat)
        data = {"from": str(chat), "to": str(chat), "seqs": [1, 2, 3]}
        sent = await mina.call("messages.forward", **data, random_ids=["91", "92", "93"])
        schedule = Schedule(small.database, small.chats, small.committer, Aside())
        due = int(time.time() * 1000) + 60_000
        for _ in range(4):
            await mina.sends(chat, schedule_at=due)
        sql = "update scheduled set due = $2 where chat_id = $1 returning 1"
        await small.rows(sql, chat, due - 120_000)
        left = "select 1 from scheduled where chat_id = $1"
        while await small.rows(left, chat):
            await schedule.fire()

        codes = [one.get("error", {}).get("code") for one in sent["sent"]]
        assert codes == [None, ErrorCode.OVERLOADED, ErrorCode.OVERLOADED]
        assert await small.counts(chat) == (8, 8)


async def test_given_an_embargo_when_anything_is_written_then_it_is_refused(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat)
    await office.set_chat(chat, flags=2)
    asked = {"chat": str(chat), "seq": 1}

    for method, more in (
        ("messages.edit", {"text": "new"}),
        ("messages.react", {"emoji": "👍"}),
    ):
        with pytest.raises(Refused) as refused:
            await mina.call(method, **asked, **more)
        assert refused.value.details == {"right": "post", "why": "embargo"}
    assert await office.counts(chat) == (1, 1)


async def test_given_counts_that_may_not_be_told_yet_when_flushed_early_then_the_wait_is_named(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    store = MessageStore(office.database)
    for person in (mina, reza):
        await store.react(chat, 1, person.account, "👍", 20, 60_000)

    early = await store.flush_reactions(chat, 1, 60_000)
    none = await store.flush_reactions(chat, 2, 60_000)

    assert early is not None
    assert early.event is None
    assert 0 < early.wait_ms <= 60_000
    assert none is None

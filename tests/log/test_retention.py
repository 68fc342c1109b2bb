"""Retention: what is old goes in small steps, and every reader is told or sees no difference."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import pytest

from messenger.db.engine import Database, StoreDownError
from messenger.db.migrate import migrate
from messenger.ids import AccountId, ChatId
from messenger.keeping import StoreSettings
from messenger.log.account_log import AccountKind, AccountLog
from messenger.log.events import EventKind, EventLog
from messenger.log.purges import Due, Purges
from messenger.log.retention import DAY_MS, STEPS, Retention, bounds_of
from messenger.log.store import ChatStore
from messenger.metrics import Metrics
from tests.db.conftest import EmptyDatabase, empty_database
from tests.log.conftest import a_send, commit, put_chat
from tests.support.people import becomes

__all__ = ["empty_database"]

NOW = int(time.time() * 1000)
OLD = NOW - 40 * DAY_MS
SETTINGS = StoreSettings(
    keep_event_days=30, keep_message_days=30, purge_rows=7, purge_pause=0, purge_every=3600
)
MINA = AccountId(1)


@pytest.fixture(scope="module")
async def filled(empty_database: EmptyDatabase) -> AsyncIterator[str]:
    """A database with three chats, each half old, and an account with old facts."""
    async with empty_database() as url:
        await migrate(url)
        yield url


@pytest.fixture(params=["many", "one"])
async def own(filled: str, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    database = await Database.connect(filled, pool=4, rendering=request.param)
    async with database.statement() as connection:
        await connection.exec_driver_sql(
            "truncate dedup, chat, membership, message, chat_event, chat_gap, message_index,"
            " account_head, account_event, join_request, outbox_c, outbox_a, purge_job, pin"
        )
    for chat in (1, 2, 3):
        await put_chat(database, chat, [1], kind=2, role=1)
        await fill(database, ChatId(chat))
    clock: Iterator[int] = iter([OLD] * 20 + [NOW] * 10)
    facts = AccountLog(database, lambda: next(clock))
    for _ in range(30):
        await facts.append(MINA, AccountKind.PROFILE)
    yield database
    await database.close()


async def fill(database: Database, chat: ChatId) -> None:
    """20 old evs and 20 new ones: message, message, event, event.."""
    for at in (OLD, NOW):
        events = EventLog(database, lambda at=at: at)
        for number in range(5):
            async with database.statement() as connection:
                first = number * 2 + (1 if at == OLD else 101)
                await commit(connection, [a_send(chat, first), a_send(chat, first + 1)], at)
            for _ in range(2):
                await events.append_event(chat, EventKind.INFO, None, MINA, None)
    async with database.statement() as connection:
        for sql in (
            "insert into message_index select $1, s, '{1}' from generate_series(1, 20) s",
            "insert into pin(chat_id, seq, by_id) select $1, s, 1 from generate_series(9, 12) s",
            "insert into chat_gap values ($1, 4, 5), ($1, 10, 11), ($1, 15, 15)",
        ):
            await connection.exec_driver_sql(sql, (chat,))
        for account, at in ((7, OLD), (8, NOW)):
            await connection.exec_driver_sql(
                "insert into join_request(chat_id, account_id, at) values ($1, $2, $3)",
                (chat, account, at),
            )
            await connection.exec_driver_sql(
                "insert into outbox_c(chat_id, account_id, kind, at) values ($1, $2, 99, $3)",
                (chat, account, at),
            )


def a_node(database: Database, settings: StoreSettings = SETTINGS) -> Retention:
    return Retention(database, settings, Metrics(), now_ms=lambda: NOW)


async def whole_round(node: Retention) -> None:
    for job in ("chats", "accounts"):
        while await node.step(job):
            pass


async def counts(database: Database) -> dict[str, int]:
    tables = ("message", "chat_event", "message_index", "pin", "join_request", "outbox_c")
    async with database.statement() as connection:
        return {
            name: (await connection.exec_driver_sql(f"select count(*) from {name}")).scalar_one()  # noqa: S608
            for name in tables
        }


async def test_given_old_rows_when_a_round_is_over_then_they_are_gone_and_the_new_are_whole(
    own: Database,
) -> None:
    store, facts = ChatStore(own), AccountLog(own)
    before = {chat: await store.events_since(ChatId(chat), 20, 100) for chat in (1, 2, 3)}

    await whole_round(a_node(own))

    expected = {
        "message": 30, "chat_event": 30, "message_index": 30, "pin": 6, "join_request": 3,
        "outbox_c": 3,
    }  # fmt: skip
    assert await counts(own) == expected
    for chat in map(ChatId, (1, 2, 3)):
        head = await store.head(chat)
        assert head is not None
        assert (head.purged_ev, head.ev, head.seq) == (20, 40, 20)
        assert len(before[chat]) == 20
        for ev in range(20, 41):
            assert await store.events_since(chat, ev, 100) == before[chat][ev - 20 :]
        for ev in range(20):
            assert await store.events_since(chat, ev, 100) == []
        assert await store.gaps(chat, 0) == [(1, 11), (15, 15)]
    head = await facts.head(MINA)
    assert (head.aev, head.purged_aev) == (30, 20)
    assert [row.aev for row in await facts.since(MINA, 20, 100)] == [*range(21, 31)]


async def test_given_a_round_that_is_over_when_walked_again_then_it_waits_for_its_time(
    own: Database,
) -> None:
    node = a_node(own)
    await whole_round(node)

    assert not await node.step("chats")

    impatient = a_node(own, msgspec.structs.replace(SETTINGS, purge_every=0.001))
    await asyncio.sleep(0.002)
    assert await impatient.step("chats")


async def test_given_a_node_that_walks_when_another_comes_then_it_is_left_alone_until_it_is_dead(
    own: Database,
) -> None:
    first, second = a_node(own), a_node(own)
    assert await first.step("chats")

    assert not await second.step("chats")
    async with own.statement() as connection:
        await connection.exec_driver_sql("update purge_job set until = 0")  # its lease is over

    assert await second.step("chats")
    assert not await first.step("chats")


async def test_given_messages_kept_for_ever_when_a_round_is_over_then_none_is_gone(
    own: Database,
) -> None:
    await whole_round(a_node(own, msgspec.structs.replace(SETTINGS, keep_message_days=0)))

    found = await counts(own)
    assert (found["message"], found["pin"]) == (60, 12)
    assert found["chat_event"] == 30


async def test_given_more_than_is_kept_when_a_round_is_over_then_the_newest_so_many_are_left(
    own: Database,
) -> None:
    kept = msgspec.structs.replace(
        SETTINGS, keep_events=3, keep_facts=4, keep_message_days=0, keep_event_days=3_000
    )

    await whole_round(a_node(own, kept))

    assert (await counts(own))["chat_event"] == 9
    assert [row.aev for row in await AccountLog(own).since(MINA, 0, 100)] == [27, 28, 29, 30]


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
async def test_given_a_purge_that_dies_in_the_middle_when_another_goes_on_then_nothing_is_amiss(
    own: Database, steps: int
) -> None:
    store, bounds = ChatStore(own), bounds_of(SETTINGS, NOW)
    rows = await store.events_since(ChatId(1), 0, 100)
    order = [Due.MESSAGES, Due.EVENTS, Due.INDEX] * 3
    for what in order[:steps]:
        await Purges(own).step(ChatId(1), what, bounds, 3)

        head = await store.head(ChatId(1))
        assert head is not None
        for ev in range(head.purged_ev, 41):
            assert await store.events_since(ChatId(1), ev, 100) == rows[ev:]

    await whole_round(a_node(own))

    assert (await counts(own))["message"] == 30


async def test_given_a_server_process_killed_in_a_purge_when_it_is_repeated_then_all_is_done(
    own: Database,
) -> None:
    store, bounds = ChatStore(own), bounds_of(SETTINGS, NOW)
    async with own.transaction() as holder:
        # the messages are deleted when it comes to the pins, and waits
        await holder.exec_driver_sql("select 1 from pin where chat_id = 1 and seq = 9 for update")
        purge = asyncio.ensure_future(Purges(own).step(ChatId(1), Due.MESSAGES, bounds, 100))
        await kill_waiting(own)
        with pytest.raises(StoreDownError):
            await purge
        head = await store.head(ChatId(1))

        assert head is not None
        assert head.purged_ev == 0
        assert len(await store.events_since(ChatId(1), 0, 100)) == 40

    await whole_round(a_node(own))
    assert (await counts(own))["message"] == 30


async def kill_waiting(database: Database) -> None:
    sql = (
        "select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'"
        " and query like '%purge_messages(%' and datname = current_database()"
    )
    async with asyncio.timeout(5), database.statement() as connection:
        while not (await connection.exec_driver_sql(sql)).fetchall():  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)


async def test_given_writers_beside_a_purge_when_both_are_done_then_the_log_is_dense(
    own: Database,
) -> None:
    store = ChatStore(own)

    async def write(device: int) -> None:
        async with own.statement() as connection:
            for number in range(1, 31):
                await commit(connection, [a_send(ChatId(1), number, device=device)])

    await asyncio.gather(write(21), write(22), whole_round(a_node(own)))

    rows = await store.events_since(ChatId(1), 20, 1_000)
    assert [row.ev for row in rows] == [*range(21, 101)]


async def test_given_a_chat_with_more_than_a_turn_allows_when_walked_then_the_place_waits_for_it(
    own: Database,
) -> None:
    node = a_node(own, msgspec.structs.replace(SETTINGS, purge_rows=1))
    async with own.statement() as connection:
        await connection.exec_driver_sql(
            "insert into chat_event(chat_id, ev, seq_then, kind, at)"
            " select 2, -n, 0, 6, 1 from generate_series(1, $1::int) n",
            (STEPS,),
        )

    async def place() -> Sequence[int]:
        async with own.statement() as connection:
            found = await connection.exec_driver_sql(
                "select cursor from purge_job where name = 'chats'"
            )
            return list(found.scalars())

    assert await node.step("chats")
    assert await place() == [1]
    await whole_round(node)
    assert (await counts(own))["chat_event"] == 30


@asynccontextmanager
async def refusing(database: Database, table: str, event: str, rows: str) -> AsyncIterator[None]:
    """Statements that touch such rows end as if they had taken too long."""
    async with database.statement() as connection:
        await connection.exec_driver_sql(
            "create or replace function refuse() returns trigger language plpgsql as"
            " $$ begin raise exception 'on purpose' using errcode = '57014'; end $$"
        )
        await connection.exec_driver_sql(
            f"create trigger refusing before {event} on {table} for each row"
            f" when ({rows}) execute function refuse()"
        )
    try:
        yield
    finally:
        async with database.statement() as connection:
            await connection.exec_driver_sql(f"drop trigger refusing on {table}")


async def test_given_a_chat_that_cannot_be_purged_when_walked_then_it_alone_is_passed_over(
    own: Database,
) -> None:
    metrics = Metrics()
    node = Retention(own, SETTINGS, metrics, now_ms=lambda: NOW)

    async with refusing(own, "join_request", "delete", "old.chat_id = 2"):
        await whole_round(node)

    async with own.statement() as connection:
        left = await connection.exec_driver_sql(
            "select chat_id from join_request where account_id = 7"  # the old ones
        )
        assert [row[0] for row in left] == [2]
    assert (await counts(own))["message"] == 30
    assert metrics.purge_skipped.labels("chats").value == 1
    assert metrics.purge_rounds.labels("chats").value == 1


async def test_given_chats_that_cannot_be_walked_when_run_then_accounts_have_their_turn(
    own: Database,
) -> None:
    facts = AccountLog(own)

    async def left() -> int:
        return len(await facts.since(MINA, 0, 100))

    async with refusing(own, "purge_job", "update", "old.name = 'chats'"):
        task = asyncio.get_running_loop().create_task(a_node(own).run())
        try:
            await becomes(left, 10)
        finally:
            task.cancel()
            await asyncio.wait([task])

    assert (await counts(own))["message"] == 60

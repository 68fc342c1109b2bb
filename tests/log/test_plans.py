"""No hot function ever scans a table: asked of the server's own counters, empty and full."""

import time
from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from messenger.db.engine import Database
from messenger.db.migrate import migrate
from messenger.db.statements import RenderingName
from messenger.ids import AccountId, ChatId
from messenger.log.account_log import AccountKind, AccountLog, Move
from messenger.log.events import EventKind, EventLog
from messenger.log.purges import Bounds, Due, Purges
from messenger.log.rendering import DAY_MS
from messenger.log.store import ChatStore
from messenger.messages.cursors import COPY, MOVE
from messenger.messages.feed import DIFFERENCES
from messenger.messages.indexing import ADD
from messenger.messages.store import (
    AFTER,
    BEFORE,
    EDIT,
    FLUSH_REACTIONS,
    HIDE,
    REACT,
    STANDING,
    THESE,
    VIEW,
)
from tests.db.conftest import EmptyDatabase, empty_database
from tests.log.conftest import a_send, commit, commit_each, put_chat

__all__ = ["empty_database"]

FILL = (
    "insert into chat(chat_id, kind, last_seq, last_ev) select n, 2, 10, 10"
    " from generate_series(1000, 4000) n",
    "insert into membership(chat_id, account_id, role) select n, a, 1"
    " from generate_series(1000, 4000) n, generate_series(1, 5) a",
    "insert into message(chat_id, seq, ev, sender_id, device_id, sent_at, kind, body)"
    " select n, s, s, 1, 1, 1, 1, 'text' from generate_series(1000, 4000) n,"
    " generate_series(1, 10) s",
    "insert into chat_event(chat_id, ev, seq_then, kind, at) select n, 11, 10, 6, 1"
    " from generate_series(1000, 4000) n",
    "insert into member(account_id, chat_id, role) select n, c, 1"
    " from generate_series(1000, 4000) n, generate_series(1, 5) c",
    "insert into account_head(account_id) select n from generate_series(1000, 4000) n",
    "insert into dedup(chat_id, device_id, random_id, day, seq, ev, sent_at, digest)"
    " select n, 1, s, $day, s, s, 1, 1 from generate_series(1000, 4000) n,"
    " generate_series(1, 10) s",
    "analyze",
)


async def scans(connection: AsyncConnection) -> dict[str, int]:
    await connection.exec_driver_sql("select pg_stat_force_next_flush()")
    await connection.exec_driver_sql("select pg_stat_clear_snapshot()")
    rows = await connection.exec_driver_sql("select relname, seq_scan from pg_stat_user_tables")
    return {row[0]: row[1] for row in rows}


async def use_everything(database: Database, chat: ChatId) -> None:
    store, events, facts = ChatStore(database), EventLog(database), AccountLog(database)
    mina = AccountId(1)
    async with database.statement() as connection:
        sends = [a_send(chat, n) for n in range(1, 31)]
        now = int(time.time() * 1000)
        for _ in range(2):
            if database.rendering == "one":
                await commit_each(connection, sends, now, now // DAY_MS)
            else:
                await commit(connection, sends, now)
    await events.append_event(chat, EventKind.INFO, None, mina, None)
    await events.delete_messages(chat, [2, 3], mina, window_ms=0)
    await store.events_since(chat, 5, 100)
    await store.heads([chat, ChatId(2_000)])
    await store.history(chat, before=20, limit=10)
    await store.history(chat, after=2, limit=10)
    await store.messages(chat, [1, 2, 3])
    await store.gaps(chat, 0)
    await store.members(chat)
    await store.memberships([chat], mina)
    await store.readers(chat, 0, 200)
    await store.recent_senders(chat, 5, int(time.time() * 1000) - 60_000)
    await facts.append(mina, AccountKind.MUTE, chat)
    await facts.move_read([Move(mina, chat, 5), Move(AccountId(2_000), ChatId(1), 5)])
    await facts.since(mina, 0, 100)
    await facts.head(mina)
    await use_messages(database, chat)
    await purge(database, chat)


async def use_messages(database: Database, chat: ChatId) -> None:
    now, seq = int(time.time() * 1000), 5
    await database.rows(STANDING, now, chat, 1)
    await database.rows(EDIT, now, chat, seq, 1, 10**9, "text", None)
    await database.rows(REACT, now, chat, seq, 2, "+", 20, 0)
    await database.rows(FLUSH_REACTIONS, now, chat, seq, 0)
    await database.rows(HIDE, now, 1, chat, int(AccountKind.HIDDEN), [4])
    await database.rows(VIEW, 1, chat, 100)
    for page in (BEFORE, AFTER):
        await database.rows(page, chat, 10, 50)
    await database.rows(THESE, chat, [1, 5])
    await database.rows(DIFFERENCES, [chat, 2_000], [0, 3], [50, 50])
    await database.rows(MOVE, now, [1, 2_000], [chat, 1], [6, 7])
    await database.rows(COPY, [chat, 2_000], [2, 3], [6, 5], [6, 5])
    await database.rows(ADD, [chat, 2_000], [6, 5], [1, 3], [1, 2, 3, 4], [2, 4])


async def purge(database: Database, chat: ChatId) -> None:
    purges, late = Purges(database), 2**62
    bounds = Bounds(1, late, 1, late, late, late, late)
    await purges.due([chat, ChatId(2_000)], bounds)
    for what in Due:
        await purges.step(chat, what, bounds, 3)
    await purges.facts_due([AccountId(1)], bounds)
    await purges.facts(AccountId(1), bounds, 3)


@pytest.mark.parametrize("rendering", ["many", "one"])
@pytest.mark.parametrize("fill", [(), FILL], ids=["empty", "full"])
async def test_given_a_database_when_every_hot_function_runs_then_no_table_is_scanned(
    empty_database: EmptyDatabase, fill: Sequence[str], rendering: RenderingName
) -> None:
    async with empty_database() as url:
        await migrate(url)
        # one connection, so that its counters are flushed when asked
        database = await Database.connect(url, 1, 20, rendering)
        today = str(int(time.time() * 1000) // DAY_MS)
        async with database.statement() as connection:
            for statement in fill:
                await connection.exec_driver_sql(statement.replace("$day", today))
        chat = await put_chat(database, 1, [1, 2, 3], kind=2, role=1)
        async with database.statement() as connection:
            await connection.exec_driver_sql("insert into member values (1, 1, 2, 1)")
            before = await scans(connection)

        await use_everything(database, chat)

        async with database.statement() as connection:
            after = await scans(connection)
        await database.close()
    assert {name for name in after if after[name] > before.get(name, 0)} == set()

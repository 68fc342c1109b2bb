"""The day partitions of dedup."""

import asyncio
from uuid import uuid4

import pytest

from messenger.db.engine import Database
from messenger.db.migrate import migrate
from messenger.log.partitions import DedupPartitions
from messenger.log.rendering import DAY_MS
from tests.db.conftest import EmptyDatabase, empty_database
from tests.log.conftest import a_send, commit, put_chat

__all__ = ["empty_database"]

DAY = 21_000


async def days(database: Database) -> list[int]:
    async with database.statement() as connection:
        rows = await connection.exec_driver_sql(
            "select substr(inhrelid::regclass::text, 7)::int from pg_inherits"
            " where inhparent = 'dedup'::regclass order by 1"
        )
        return [row[0] for row in rows]


async def test_given_days_that_pass_when_kept_then_three_are_there_and_older_ones_go(
    empty_database: EmptyDatabase,
) -> None:
    async with empty_database() as url:
        await migrate(url)
        database = await Database.connect(url)
        now = DAY * DAY_MS
        partitions = DedupPartitions(database, lambda: now)

        first = await partitions.keep()
        again = await partitions.keep()
        now += DAY_MS
        next_day = await partitions.keep()
        found = await days(database)

        await database.close()
    assert (first, again, next_day) == ((3, 3), (0, 0), (1, 1))
    assert found == [DAY, DAY + 1, DAY + 2]


async def test_given_writers_when_partitions_are_made_and_dropped_beside_them_then_none_fails(
    empty_database: EmptyDatabase,
) -> None:
    async with empty_database() as url:
        await migrate(url)
        database = await Database.connect(url)
        chat = await put_chat(database, 1, [1], kind=2, role=1)

        async def write(device: int) -> None:
            async with database.statement() as connection:
                for number in range(1, 31):
                    [row] = await commit(connection, [a_send(chat, number, device=device)])
                    assert row[0] == 0

        async def keep() -> None:
            for day in range(DAY, DAY + 10):
                async with database.statement() as connection:
                    await connection.exec_driver_sql("select ensure_dedup_partitions($1)", (day,))

        async with asyncio.TaskGroup() as tasks:
            for device in range(3):
                tasks.create_task(write(device))
                tasks.create_task(keep())

        found = await days(database)
        await database.close()
    assert set(range(DAY - 1, DAY + 11)) <= set(found)


async def test_given_a_table_that_is_locked_when_run_then_it_is_tried_again(
    empty_database: EmptyDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with empty_database() as url:
        await migrate(url)
        database = await Database.connect(url, statement_timeout=0.05)
        partitions = DedupPartitions(database, lambda: DAY * DAY_MS, retry_s=0.01)
        async with database.transaction() as holder:
            await holder.exec_driver_sql("lock table dedup")
            running = asyncio.ensure_future(partitions.run())
            await asyncio.wait([running], timeout=0.2)  # a few tries
            assert not running.done()

        async with asyncio.timeout(5):
            while "dedup partitions" not in caplog.messages:  # noqa: ASYNC110 - logs have none
                await asyncio.sleep(0.01)
        assert await days(database) == [DAY - 1, DAY, DAY + 1]

        running.cancel()
        await asyncio.wait([running], timeout=5)
        await database.close()


async def test_given_a_role_that_may_not_make_tables_when_it_keeps_partitions_then_it_can(
    empty_database: EmptyDatabase,
) -> None:
    role = f"r_{uuid4().hex}"
    async with empty_database() as url:
        await migrate(url)
        database = await Database.connect(url)
        async with database.statement() as connection:
            await connection.exec_driver_sql(f"create role {role}")
            await connection.exec_driver_sql(f"set role {role}")
            for sql in ("ensure_dedup_partitions", "drop_dedup_partitions"):
                await connection.exec_driver_sql(f"select {sql}($1)", (DAY,))
            await connection.exec_driver_sql("reset role")
            await connection.exec_driver_sql(f"drop role {role}")

        found = await days(database)
        await database.close()
    assert found[:2] == [DAY, DAY + 1]

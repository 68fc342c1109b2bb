"""The pool: what commits when, and how a lost database is called."""

import zlib
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError, ProgrammingError

from messenger.db.engine import ContentionError, Database, StoreDown
from messenger.db.statements import Statement
from tests.conftest import Stores

SLEEP = "select pg_sleep(5)"
ONE = Statement("select 1", key="none")


async def test_given_a_statement_when_it_returns_then_others_see_its_effect(
    database: Database,
) -> None:
    async with database.statement() as one, database.statement() as other:
        await one.exec_driver_sql("insert into generator values (1023, 'seen', 0)")

        rows = await other.exec_driver_sql(
            "delete from generator where gen_id = 1023 returning owner"
        )

        assert rows.scalar_one() == "seen"


async def test_given_a_transaction_when_its_body_raises_then_nothing_is_kept(
    database: Database,
) -> None:
    async def change_my_mind() -> None:
        async with database.transaction() as connection:
            await connection.exec_driver_sql("insert into generator values (1022, 'x', 0)")
            raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed my mind"):
        await change_my_mind()

    async with database.statement() as connection:
        rows = await connection.exec_driver_sql("select 1 from generator where gen_id = 1022")
        assert rows.fetchall() == []


async def test_given_a_slow_statement_when_its_time_is_over_then_the_store_is_down(
    stores: Stores,
) -> None:
    database = await Database.connect(stores.database_url, pool=1, statement_timeout=0.05)

    with pytest.raises(StoreDown):
        async with database.statement() as connection:
            await connection.exec_driver_sql(SLEEP)

    async with database.statement() as connection:  # and the pool still serves
        assert (await connection.exec_driver_sql("select 1")).scalar_one() == 1
    await database.close()


async def test_given_every_connection_taken_when_one_more_is_asked_then_the_store_is_down(
    stores: Stores,
) -> None:
    database = await Database.connect(stores.database_url, pool=1, statement_timeout=0.05)

    async with database.statement():
        with pytest.raises(StoreDown):
            await database.held()

    await database.close()


async def test_given_a_connection_cut_by_the_server_when_used_then_the_store_is_down(
    database: Database,
) -> None:
    async def use_a_cut_connection() -> None:
        async with database.statement() as victim:
            pid = (await victim.exec_driver_sql("select pg_backend_pid()")).scalar_one()
            async with database.statement() as killer:
                await killer.exec_driver_sql("select pg_terminate_backend($1)", (pid,))
            await victim.exec_driver_sql("select 1")

    with pytest.raises(StoreDown):
        await use_a_cut_connection()

    async with database.statement() as connection:
        assert (await connection.exec_driver_sql("select 1")).scalar_one() == 1


@pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
async def test_given_another_transaction_in_the_way_when_run_then_it_is_to_be_repeated(
    database: Database, state: str
) -> None:
    with pytest.raises(ContentionError):
        async with database.statement() as connection:
            await connection.exec_driver_sql(
                f"do $$ begin raise exception 'on purpose' using errcode = '{state}'; end $$"
            )


async def test_given_no_server_when_connecting_then_the_store_is_down() -> None:
    with pytest.raises(StoreDown):
        await Database.connect("postgresql+asyncpg://peyk@/peyk?host=/nonexistent")


async def test_given_a_running_node_when_its_log_in_is_refused_then_the_store_is_down(
    stores: Stores, database: Database, tmp_path: Path
) -> None:
    """As between the change of a password and the restart that brings the new one."""
    role = f"r{zlib.crc32(str(tmp_path).encode())}"
    async with database.statement() as connection:
        await connection.exec_driver_sql(f"create role {role} login")
    url = make_url(stores.database_url).set(username=role)
    node = await Database.connect(url.render_as_string(hide_password=False), pool=1)
    async with database.statement() as connection:
        await connection.exec_driver_sql(f"alter role {role} nologin")
        await connection.exec_driver_sql(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = $1",
            (role,),
        )

    with pytest.raises(StoreDown):  # the connection that was cut
        await node.rows(ONE)
    with pytest.raises(StoreDown, match="not permitted to log in"):
        await node.rows(ONE)
    with pytest.raises(StoreDown, match="not permitted to log in"):
        await node.held()

    async with database.statement() as connection:
        await connection.exec_driver_sql(f"alter role {role} login")
    assert [tuple(row) for row in await node.rows(ONE)] == [(1,)]
    await node.close()
    async with database.statement() as connection:
        await connection.exec_driver_sql(f"drop role {role}")


async def test_given_no_such_database_when_connecting_then_the_store_is_down(
    stores: Stores,
) -> None:
    with pytest.raises(StoreDown, match="does not exist"):
        await Database.connect(stores.database_url.replace("/peyk?", "/unknown?"))


async def test_given_a_wrong_statement_when_run_then_it_is_not_called_an_outage(
    database: Database,
) -> None:
    with pytest.raises(ProgrammingError):
        async with database.statement() as connection:
            await connection.exec_driver_sql("select nothing_of_the_kind")


async def test_given_a_value_that_does_not_fit_when_run_then_it_is_not_called_an_outage(
    database: Database,
) -> None:
    with pytest.raises(DBAPIError):
        async with database.statement() as connection:
            await connection.exec_driver_sql("select $1::int", (2**31,))


async def test_given_json_when_read_then_it_is_decoded(database: Database) -> None:
    async with database.statement() as connection:
        row = await connection.exec_driver_sql("select $1::jsonb", ('{"a": [1, "سلام"]}',))

        assert row.scalar_one() == {"a": [1, "سلام"]}


async def test_given_a_connection_that_has_lost_its_transaction_when_used_then_it_is_replaced(
    stores: Stores,
) -> None:
    database = await Database.connect(stores.database_url, pool=1)
    async with database.statement() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.transaction().start()
        await driver.execute("rollback")  # the server has none, the driver believes in one

    with pytest.raises(StoreDown, match="transaction blocks"):
        async with database.transaction() as connection:
            await connection.exec_driver_sql("select 1")

    async with database.transaction() as connection:
        assert (await connection.exec_driver_sql("select 1")).scalar_one() == 1
    await database.close()


async def test_given_a_node_that_hangs_in_a_transaction_when_others_wait_then_its_locks_end(
    stores: Stores,
) -> None:
    hanging = await Database.connect(stores.database_url, pool=1, idle_in_transaction=0.2)
    other = await Database.connect(stores.database_url, pool=1)
    lock = "select pg_advisory_xact_lock(7301882731)"

    async def hangs() -> None:
        async with hanging.transaction() as connection:
            await connection.exec_driver_sql(lock)
            async with other.transaction() as waiting:
                await waiting.exec_driver_sql(lock)
            await connection.exec_driver_sql("select 1")

    with pytest.raises(StoreDown):
        await hangs()
    async with hanging.statement() as connection:
        assert (await connection.exec_driver_sql("select 1")).scalar_one() == 1
    await hanging.close()
    await other.close()

"""Citus: every table has its place. Where the extension is installed, for real."""

import os
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from messenger.db.citus import (
    EXTENSION,
    REFERENCE,
    TABLES,
    NoCitusError,
    Placement,
    distribute,
    placements,
)
from messenger.db.engine import Database
from messenger.db.migrate import migrate

LOCAL = {"generator", "report", "sanction", "purge_job", "schema_version"}
"""The coordinator's: leases, and what moderators read."""
UNIQUE = """
    select c.relname, array(select a.attname::text from pg_attribute a
      where a.attrelid = c.oid and a.attnum = any(i.indkey))
    from pg_index i join pg_class c on c.oid = i.indrelid
    where i.indisunique and c.relnamespace = 'public'::regnamespace and not c.relispartition
"""


async def tables(database: Database) -> list[tuple[str, str]]:
    async with database.statement() as connection:
        return [(row[0], row[1]) for row in await connection.exec_driver_sql(TABLES)]


async def test_given_the_migrated_tables_when_placed_then_only_known_ones_stay_local(
    database: Database,
) -> None:
    found = await tables(database)

    placed = placements(found)

    assert {name for name, _ in found} - {one.table for one in placed} == LOCAL
    roots = [one.table for one in placed if one.beside == "none"]
    assert {"chat", "account", "phone", "username", "otp"} <= set(roots)
    for one in placed:
        if one.beside != "none":
            assert roots.index(one.beside) < placed.index(one)


async def test_given_a_unique_key_when_its_table_is_spread_then_the_key_is_part_of_it(
    database: Database,
) -> None:
    keys = {one.table: one.key for one in placements(await tables(database)) if one.key}
    async with database.statement() as connection:
        unique = [tuple(row) for row in await connection.exec_driver_sql(UNIQUE)]

    assert [
        (name, columns) for name, columns in unique if keys.get(name, columns[0]) not in columns
    ] == []


def test_given_the_kinds_of_tables_when_placed_then_the_calls_say_how() -> None:
    found = placements(
        [
            ("message", "chat_id"),
            ("chat", "chat_id"),
            ("direct", "lo_id"),
            ("badge", "id"),
            ("generator", "gen_id"),
            ("otp", "phone_hash"),
        ]
    )

    assert {one.table: one.sql for one in found} == {
        "badge": "select create_reference_table('badge')",
        "chat": "select create_distributed_table('chat', 'chat_id', colocate_with := 'none',"
        " shard_count := 128)",
        "otp": "select create_distributed_table('otp', 'phone_hash', colocate_with := 'none',"
        " shard_count := 128)",
        "direct": "select create_distributed_table('direct', 'lo_id', colocate_with := 'account')",
        "message": "select create_distributed_table('message', 'chat_id', colocate_with := 'chat')",
    }
    assert Placement("badge", None) in found
    assert "badge" in REFERENCE


async def test_given_a_server_without_the_extension_when_distributed_then_it_says_what_is_missing(
    database: Database,
) -> None:
    async with database.statement() as connection:
        if (await connection.exec_driver_sql(EXTENSION)).first() is not None:
            pytest.skip("this PostgreSQL has Citus; the test is of one without")
        url = connection.engine.url.render_as_string(hide_password=False)

    with pytest.raises(NoCitusError, match="no extension citus"):
        await distribute(url)


@pytest.fixture
async def spread() -> AsyncIterator[str]:
    """A migrated database on the coordinator that CITUS_URL names."""
    url = os.environ.get("CITUS_URL")
    if url is None:
        pytest.skip("NOT TESTED: Citus. Set CITUS_URL to a coordinator's database to test it")
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    name = f"t_{uuid4().hex}"
    async with engine.connect() as connection:
        await connection.exec_driver_sql(f"create database {name}")
    own = engine.url.set(database=name).render_as_string(hide_password=False)
    await migrate(own)
    yield own
    async with engine.connect() as connection:
        await connection.exec_driver_sql(f"drop database {name} with (force)")
    await engine.dispose()


async def test_given_citus_when_distributed_then_a_commit_is_one_task_and_nothing_is_left_to_do(
    spread: str,
) -> None:
    assert await distribute(spread)
    assert await distribute(spread) == []
    database = await Database.connect(spread, rendering="one")
    async with database.statement() as connection:
        await connection.exec_driver_sql("insert into chat(chat_id, kind) values (7, 2)")
        plan = await connection.exec_driver_sql("explain select * from chat where chat_id = 7")
        text = "\n".join(row[0] for row in plan)
    await database.close()
    assert "Task Count: 1" in text

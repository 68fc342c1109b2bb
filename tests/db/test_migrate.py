"""Migrations: forward only, one line, and what they make is what the packages declare."""

import asyncio
import importlib
import time

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from messenger.db.engine import Database, metadata
from messenger.db.migrate import MIGRATIONS, VERSION_TABLE, migrate, newest, schema_version
from tests.db.conftest import EmptyDatabase

TABLES = (
    "messenger.accounts",
    "messenger.chats",
    "messenger.db",
    "messenger.log",
    "messenger.messages",
    "channels",
)
DAY_MS = 86_400_000


def declare_all() -> None:
    for package in TABLES:
        importlib.import_module(f"{package}.tables")


def differences(connection: Connection) -> list[object]:
    def ours(_thing: object, name: str | None, kind: str, *_: object) -> bool:
        partition = (name or "").removeprefix("dedup_")[:5].isdigit()
        return not (kind in ("table", "index") and (partition or name == VERSION_TABLE))

    options = {
        "include_object": ours,
        "compare_type": True,
        "compare_server_default": True,
    }
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, metadata))


async def test_given_an_empty_database_when_migrated_then_it_has_the_newest_version(
    empty_database: EmptyDatabase,
) -> None:
    async with empty_database() as url:
        before = await schema_version(url)

        migrated = await migrate(url)

        assert before is None
        assert migrated == await schema_version(url) == newest()


async def test_given_three_processes_when_all_migrate_at_once_then_none_fails(
    empty_database: EmptyDatabase,
) -> None:
    async with empty_database() as url:
        versions = await asyncio.gather(*(migrate(url) for _ in range(3)))

        assert versions == [newest()] * 3


async def test_given_a_migrated_database_when_migrated_again_then_nothing_happens(
    empty_database: EmptyDatabase,
) -> None:
    async with empty_database() as url:
        first = await migrate(url)

        assert await migrate(url) == first


async def test_given_a_migrated_database_when_compared_then_it_equals_the_declarations(
    database: Database,
) -> None:
    declare_all()

    async with database.transaction() as connection:
        found = await connection.run_sync(differences)

    assert found == []


async def test_given_a_migrated_database_when_read_then_hot_rows_have_room_to_change_in_place(
    database: Database,
) -> None:
    declare_all()
    declared = {
        table.name: table.dialect_options["postgresql"]["with"]["fillfactor"]
        for table in metadata.tables.values()
        if table.dialect_options["postgresql"]["with"]
    }

    async with database.statement() as connection:
        rows = await connection.execute(
            text(
                "select relname, split_part(reloptions[1], '=', 2)::int from pg_class"
                " where relkind = 'r' and reloptions is not null"
                " and relnamespace = 'public'::regnamespace"
            )
        )
        found = {row[0]: row[1] for row in rows}

    assert found == declared


async def test_given_a_new_database_when_read_then_three_days_of_dedup_are_there(
    empty_database: EmptyDatabase,
) -> None:
    async with empty_database() as url:
        await migrate(url)
        fresh = await Database.connect(url)
        async with fresh.statement() as connection:
            rows = await connection.exec_driver_sql(
                "select inhrelid::regclass::text from pg_inherits"
                " where inhparent = 'dedup'::regclass"
            )
            found = {row[0] for row in rows}
        await fresh.close()

    today = int(time.time() * 1000) // DAY_MS
    assert found == {f"dedup_{day}" for day in (today - 1, today, today + 1)}


def test_given_the_revisions_when_walked_then_they_are_one_numbered_line() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])

    revisions = [script.revision for script in scripts.walk_revisions()]

    assert len(scripts.get_heads()) == 1
    assert revisions[::-1] == [f"{number:04}" for number in range(1, len(revisions) + 1)]

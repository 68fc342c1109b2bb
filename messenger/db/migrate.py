"""Forward-only migrations: Alembic's revision graph and version table, without its `alembic.ini`.

Several processes may start at once: an advisory lock lets one of them migrate, the others wait
and find nothing left to do.
"""

import asyncio
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, RevisionStep, StampStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from messenger.db.engine import store_errors

MIGRATIONS = Path(__file__).parent.parent / "migrations"
VERSION_TABLE = "schema_version"
LOCK = 0x7065_796B  # "peyk"
LOCK_SECONDS = 60.0
LOCK_TIMEOUT = "2s"  # a table lock that is not free at once must not stop the platform

Steps = list[RevisionStep | StampStep]


def newest() -> str:
    """The newest revision this code knows."""
    head = _scripts().get_current_head()
    if head is None:
        raise AssertionError("no migrations found")
    return head


async def schema_version(url: str) -> str | None:
    """The revision of the database, None where nothing was migrated yet."""
    engine = create_async_engine(url, poolclass=NullPool)
    with store_errors():
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(_revision)
        finally:
            await engine.dispose()


async def migrate(url: str) -> str:
    """Bring the database to the newest revision; returns it. Safe to call from many processes."""
    engine = create_async_engine(url, poolclass=NullPool)
    with store_errors():
        try:
            async with engine.connect() as guard:
                async with asyncio.timeout(LOCK_SECONDS):
                    await guard.exec_driver_sql("select pg_advisory_lock($1)", (LOCK,))
                async with engine.connect() as connection:
                    await connection.run_sync(_upgrade)
            return newest()
        finally:
            await engine.dispose()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])


def _revision(connection: Connection) -> str | None:
    options = {"version_table": VERSION_TABLE}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def _upgrade(connection: Connection) -> None:
    scripts = _scripts()

    def steps(current: tuple[str, ...], _context: MigrationContext) -> Steps:
        return list(scripts._upgrade_revs("head", current))  # type: ignore[arg-type]

    connection.exec_driver_sql(f"set lock_timeout = '{LOCK_TIMEOUT}'")
    connection.commit()
    options = {
        "version_table": VERSION_TABLE,
        "transaction_per_migration": True,
        "fn": steps,
    }
    context = MigrationContext.configure(connection, opts=options)
    with Operations.context(context):
        context.run_migrations()

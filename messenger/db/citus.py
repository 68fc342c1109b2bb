"""Citus: which table lies on which shards, and the refusals of a server that cannot do it.

The key of a table is the first column of its primary key. Tables of one key are colocated, so that
a transaction of one chat (one account) stays on one shard group. What has no key of the platform
stays on the coordinator.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from messenger.db.engine import store_errors

SHARDS = 128
"""Of a colocation group: up to 128 workers, and a shard of 15 TB of messages is 120 GB. It cannot
be changed without moving every row."""
ROOTS = {"chat_id": "chat", "account_id": "account", "lo_id": "account"}
"""The table whose shards others of the key lie beside."""
OWN = {"phone_hash", "name_fold", "media_id"}
REFERENCE = {"badge", "authority", "election"}
"""Small and read everywhere: whole on every worker."""

TABLES = """
    select c.relname, a.attname from pg_class c
    join pg_index i on i.indrelid = c.oid and i.indisprimary
    join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    and not c.relispartition order by c.relname
"""
EXTENSION = "select default_version from pg_available_extensions where name = 'citus'"
PRELOADED = "select setting from pg_settings where name = 'shared_preload_libraries'"
WORKERS = "select count(*) from pg_dist_node where noderole = 'primary' and shouldhaveshards"
DONE = "select logicalrelid::regclass::text from pg_dist_partition"


class NoCitusError(Exception):
    """The server cannot spread tables; the text names what is missing."""


class Placement(Struct, frozen=True):
    """Where a table lies."""

    table: str
    key: str | None
    """None: a reference table."""
    beside: str = "none"

    @property
    def sql(self) -> str:
        """The call that spreads it, its rows too."""
        if self.key is None:
            return f"select create_reference_table('{self.table}')"
        count = f", shard_count := {SHARDS}" if self.beside == "none" else ""
        return (
            f"select create_distributed_table('{self.table}', '{self.key}',"
            f" colocate_with := '{self.beside}'{count})"
        )


def placements(tables: Iterable[tuple[str, str]]) -> list[Placement]:
    """What to spread of (table, first column of its key), roots first; the rest is local."""
    found = []
    for table, key in tables:
        if table in REFERENCE:
            found.append(Placement(table, None))
        elif key in ROOTS:
            beside = ROOTS[key]
            found.append(Placement(table, key, "none" if table == beside else beside))
        elif key in OWN:
            found.append(Placement(table, key))
    return sorted(found, key=lambda one: (one.beside != "none", one.table))


async def distribute(url: str) -> list[Placement]:
    """Spread what is not spread yet; may be repeated. Raises NoCitusError, StoreDown."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with store_errors():
        try:
            async with engine.connect() as connection:
                await _ready(connection)
                done = await _column(connection, DONE)
                rows: Sequence[Any] = (await connection.exec_driver_sql(TABLES)).fetchall()
                wanted = placements((row[0], row[1]) for row in rows)
                todo = [one for one in wanted if one.table not in done]
                for one in todo:
                    await connection.exec_driver_sql(one.sql)
                return todo
        finally:
            await engine.dispose()


async def _ready(connection: AsyncConnection) -> None:
    """The extension is there, loaded, made, and has somewhere to put shards."""
    if not await _column(connection, EXTENSION):
        raise NoCitusError(
            "this PostgreSQL has no extension citus: install its package on every server"
            " (embedded servers have none)"
        )
    [preloaded] = await _column(connection, PRELOADED)
    if "citus" not in str(preloaded):
        raise NoCitusError("citus is installed, but shared_preload_libraries does not load it")
    await connection.exec_driver_sql("create extension if not exists citus")
    [workers] = await _column(connection, WORKERS)
    if not workers:
        raise NoCitusError(
            "citus has no worker that takes shards: select citus_add_node('host', 5432)"
        )


async def _column(connection: AsyncConnection, sql: str) -> Sequence[object]:
    return list((await connection.exec_driver_sql(sql)).scalars())

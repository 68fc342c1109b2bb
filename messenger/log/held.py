"""A statement prepared on a connection that nobody else uses, ended at once when its time is over.

It speaks with the driver itself: SQLAlchemy's share of a batch of 100 was a third of this
process's time (decision 17).
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from messenger.db.engine import Database, StoreDownError, passes, store_errors
from messenger.db.statements import Statement

ENSURE_DAY = Statement("select ensure_dedup_partitions($1)", key="day", cold=True)
DROP_S = 1.0

_NO_PARTITION = "23514"
_BAD_ROW = ("22", "23")
"""SQLSTATE classes that one row's data causes; errors of encoding have no SQLSTATE at all."""

_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_Raw: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_Prepared: TypeAlias = "PreparedStatement[asyncpg.Record]"

log = logging.getLogger(__name__)

Row = Sequence[Any]


class BadRowError(Exception):
    """Some row of the batch cannot be written as it is; `data`: for what the sender wrote."""

    def __init__(self, error: Exception, *, data: bool) -> None:
        super().__init__(str(error)[:200])
        self.state = getattr(error, "sqlstate", None)
        self.data = data


class HeldStatement:
    """Opened with its first call, and again after `drop`."""

    def __init__(self, db: Database, statement: Statement) -> None:
        self._db = db
        self._sql = statement.sql
        self._connection: AsyncConnection | None = None
        self._raw: _Raw | None = None
        self._prepared: _Prepared | None = None

    async def rows(self, values: Sequence[Any], day: int, deadline: float) -> Sequence[Row]:
        """What it answers by `deadline` (the loop's time); the partition of `day` is made where it
        is missing. Raises StoreDownError where the outcome is unknown, BadRowError where nothing
        was written."""
        with store_errors():
            async with asyncio.timeout_at(deadline):
                raw, prepared = await self._open()
            # A cancelled statement would first be cancelled politely, which a frozen server never
            # answers; an aborted socket ends it at once.
            late = asyncio.get_running_loop().call_at(deadline, raw.terminate)
            try:
                return await _with_day(raw, prepared, values, day)
            finally:
                late.cancel()

    async def drop(self) -> None:
        """Let go of a connection that failed, or is no longer needed; never raises."""
        connection, self._connection = self._connection, None
        self._raw = self._prepared = None
        if connection is None:
            return
        try:
            async with asyncio.timeout(DROP_S):
                await connection.invalidate()
                await connection.close()
        except (DBAPIError, OSError):
            log.info("lost connection did not close")

    async def _open(self) -> tuple[_Raw, _Prepared]:
        if self._raw is None or self._prepared is None:
            self._connection = await self._db.held()
            raw = (await self._connection.get_raw_connection()).driver_connection
            if raw is None:
                raise AssertionError("unreachable: a connection that was just opened")
            try:
                await raw.execute("set plan_cache_mode = force_generic_plan")
                self._raw, self._prepared = raw, await raw.prepare(self._sql)
            except _DRIVER_ERRORS as error:  # the schema of another release, perhaps: sends wait
                raise StoreDownError(f"not prepared: {error}") from error
        return self._raw, self._prepared


async def _with_day(
    raw: _Raw, prepared: _Prepared, values: Sequence[Any], day: int
) -> Sequence[Row]:
    try:
        return await _rows(raw, prepared, values)
    except BadRowError as error:
        if error.state != _NO_PARTITION:
            raise
    try:
        await raw.execute(ENSURE_DAY.sql, day)
    except _DRIVER_ERRORS as error:  # a right or a lock is lacking: sends wait, the node lives
        raise StoreDownError(f"no partition of dedup: {error}") from error
    return await _rows(raw, prepared, values)


async def _rows(raw: _Raw, prepared: _Prepared, values: Sequence[Any]) -> Sequence[Row]:
    try:
        return [tuple(row) for row in await prepared.fetch(*values)]
    except _DRIVER_ERRORS as error:
        state = getattr(error, "sqlstate", None) or ""
        if raw.is_closed() or passes(state):
            raise StoreDownError(f"{type(error).__name__}: {error}") from error
        encoding = not state and "invalid input for query argument" in str(error)
        raise BadRowError(error, data=encoding or state.startswith(_BAD_ROW)) from error

"""The append statement behind the committer, and its form for one PostgreSQL.

A rendering knows how a batch becomes durable and nothing of queues, time-outs of people or
answers. `Many` writes a batch of many chats as one statement, which is its own transaction.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from messenger.db.engine import Database, StoreDownError, is_gone, store_errors
from messenger.db.statements import Statement
from messenger.log.sends import Send

COMMIT = Statement(
    "select status, seq, ev, sent_at, retry_ms, banned_until, chat_kind, chat_flags, member_ver,"
    " badge_epoch, epoch from commit_messages($1, $2, $3::bigint[], $4::bigint[], $5::bigint[],"
    " $6::bigint[], $7::int[], $8::smallint[], $9::int[], $10::int[], $11::bigint[], $12::text[],"
    " $13::jsonb[])",
    key="chat_id",
)
ENSURE_DAY = Statement("select ensure_dedup_partitions($1)", key="day", cold=True)
DAY_MS = 86_400_000

_NO_PARTITION = "23514"
_BAD_ROW = ("22", "23")
"""SQLSTATE classes that one row's data causes; errors of encoding have no SQLSTATE at all."""

log = logging.getLogger(__name__)

Row = Sequence[Any]
"""(status, seq, ev, sent_at, retry_ms, banned_until, chat_kind, chat_flags, member_ver,
badge_epoch, epoch) of one send; `statuses.Status` says which of them are there."""


class BadRowError(Exception):
    """Some row of the batch cannot be written as it is; `data`: for what the sender wrote."""

    def __init__(self, error: DBAPIError, *, data: bool) -> None:
        super().__init__(str(error.orig)[:200])
        self.state = getattr(error.orig, "sqlstate", None)
        self.data = data


class Rendering(Protocol):
    """How a batch is written."""

    async def commit(self, sends: Sequence[Send], now: int, deadline: float) -> Sequence[Row]:
        """Write all of `sends` with the clock at `now` (ms); a row each, in their order. All that
        is `WRITTEN` is durable when this returns, and it returns by `deadline` (the loop's time).

        Raises StoreDownError where the outcome is unknown: the batch is repeated as it is.
        Raises BadRowError where nothing was written: the batch is repeated by halves.
        """

    async def drop(self) -> None:
        """Let go of connections that failed, or are no longer needed; never raises."""


def _nothing() -> None:
    """There is no connection to abort."""


class Many:
    """Many chats in one statement, on one held connection."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._connection: AsyncConnection | None = None
        self._abort: Callable[[], None] = _nothing

    async def commit(self, sends: Sequence[Send], now: int, deadline: float) -> Sequence[Row]:
        columns = zip(*(msgspec.structs.astuple(send) for send in sends), strict=True)
        values = (now, now // DAY_MS, *map(list, columns))
        with store_errors():
            async with asyncio.timeout_at(deadline):
                connection = await self._connected()
            # A cancelled statement would first be cancelled politely, which a frozen server never
            # answers; an aborted socket ends it at once.
            late = asyncio.get_running_loop().call_at(deadline, self._abort)
            try:
                return await _call(connection, values, now // DAY_MS)
            finally:
                late.cancel()

    async def _connected(self) -> AsyncConnection:
        if self._connection is None:
            self._connection = await self._db.held()
            raw = (await self._connection.get_raw_connection()).driver_connection
            self._abort = raw.terminate if raw is not None else _nothing
            await self._connection.exec_driver_sql("set plan_cache_mode = force_generic_plan")
        return self._connection

    async def drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            async with asyncio.timeout(1.0):
                await connection.invalidate()
                await connection.close()
        except (DBAPIError, OSError):
            log.info("lost connection did not close")


async def _call(connection: AsyncConnection, values: tuple[Any, ...], day: int) -> Sequence[Row]:
    """The statement; makes the day's partition where it is missing."""
    try:
        return await _rows(connection, values)
    except BadRowError as error:
        if error.state != _NO_PARTITION:
            raise
    try:
        await connection.exec_driver_sql(ENSURE_DAY.sql, (day,))
    except DBAPIError as error:  # a right or a lock is lacking: sends wait, the node lives
        raise StoreDownError(f"no partition of dedup: {error.orig}") from error
    return await _rows(connection, values)


async def _rows(connection: AsyncConnection, values: tuple[Any, ...]) -> Sequence[Row]:
    try:
        return (await connection.exec_driver_sql(COMMIT.sql, values)).fetchall()
    except DBAPIError as error:
        if is_gone(error):
            raise
        state = getattr(error.orig, "sqlstate", None) or ""
        encoding = not state and "invalid input for query argument" in str(error.orig)
        raise BadRowError(error, data=encoding or state.startswith(_BAD_ROW)) from error

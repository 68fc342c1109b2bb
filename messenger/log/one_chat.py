"""The append statement with one chat a call, as Citus plans it: `rendering = "one"`.

A batch is split by chat; the calls run on a few held connections, several at a time, each a
transaction of its own. Two calls of one chat never run together, because the committer has one
batch in flight. What a caller sees is the same as with `Many`: same statuses, same order.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from messenger.db.engine import Database, StoreDownError, is_gone, store_errors
from messenger.db.statements import Statement
from messenger.log.rendering import DAY_MS, ENSURE_DAY, BadRowError, Row
from messenger.log.sends import Send

COMMIT_ONE = Statement(
    "select status, seq, ev, sent_at, retry_ms, banned_until, chat_kind, chat_flags, member_ver,"
    " badge_epoch, epoch from commit_one($1, $2, $3, $4::bigint[], $5::bigint[], $6::bigint[],"
    " $7::int[], $8::smallint[], $9::int[], $10::int[], $11::bigint[], $12::text[], $13::jsonb[])",
    key="chat_id",
)

_NO_PARTITION = "23514"
_BAD_ROW = ("22", "23")

log = logging.getLogger(__name__)


class _Kept(Struct, frozen=True):
    """The answer to a send of a batch of which another chat failed."""

    send: Send
    row: Row


class One:
    """One chat a call, on `lanes` held connections."""

    def __init__(self, db: Database, lanes: int) -> None:
        self._lanes = [_Lane(db) for _ in range(lanes)]
        self._kept: dict[int, _Kept] = {}
        """Of chats that were written although the batch failed, by the identity of the send: the
        same key may come again with other words. A failed batch counts as not written: without
        this its repetition would answer that these are old news."""

    def begin(self) -> None:
        self._kept.clear()

    async def commit(self, sends: Sequence[Send], now: int, deadline: float) -> Sequence[Row]:
        """A row each, in the order of `sends`. A failure shows after all chats had their turn."""
        rows: list[Row | None] = [self._answered(send) for send in sends]
        groups: dict[int, list[int]] = {}
        for place, send in enumerate(sends):
            if rows[place] is None:
                groups.setdefault(send.chat, []).append(place)
        waiting = deque(groups.values())
        lanes = self._lanes[: len(groups)]
        failures = await asyncio.gather(
            *(self._drain(lane, waiting, sends, rows, now, deadline) for lane in lanes)
        )
        failed = [failure for failure in failures if failure is not None]
        if failed:
            self._keep(sends, rows)
            raise next((one for one in failed if isinstance(one, StoreDownError)), failed[0])
        return [row for row in rows if row is not None]

    async def drop(self) -> None:
        for lane in self._lanes:
            await lane.drop()

    async def _drain(
        self,
        lane: "_Lane",
        waiting: deque[list[int]],
        sends: Sequence[Send],
        rows: list[Row | None],
        now: int,
        deadline: float,
    ) -> Exception | None:
        """Write chat after chat; a bad row ends only its own chat's turn."""
        failure: Exception | None = None
        while waiting:
            places = waiting.popleft()
            try:
                found = await lane.commit([sends[place] for place in places], now, deadline)
            except BadRowError as error:
                failure = error
            except (StoreDownError, TimeoutError) as error:
                return error
            else:
                for place, row in zip(places, found, strict=True):
                    rows[place] = row
        return failure

    def _keep(self, sends: Sequence[Send], rows: Sequence[Row | None]) -> None:
        for send, row in zip(sends, rows, strict=True):
            if row is not None:
                self._kept[id(send)] = _Kept(send, row)

    def _answered(self, send: Send) -> Row | None:
        """What an attempt of this batch was told about `send`; told once."""
        kept = self._kept.pop(id(send), None)
        return kept.row if kept is not None else None


def _nothing() -> None:
    """There is no connection to abort."""


class _Lane:
    """One held connection."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._connection: AsyncConnection | None = None
        self._abort: Callable[[], None] = _nothing

    async def commit(self, sends: Sequence[Send], now: int, deadline: float) -> Sequence[Row]:
        """All of `sends` are of one chat."""
        _, *columns = zip(*map(msgspec.structs.astuple, sends), strict=True)
        values = (now, now // DAY_MS, sends[0].chat, *map(list, columns))
        with store_errors():
            async with asyncio.timeout_at(deadline):
                connection = await self._connected()
            # a socket that is aborted ends at once, a cancelled statement waits for its server
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
    except DBAPIError as error:
        raise StoreDownError(f"no partition of dedup: {error.orig}") from error
    return await _rows(connection, values)


async def _rows(connection: AsyncConnection, values: tuple[Any, ...]) -> Sequence[Row]:
    try:
        return (await connection.exec_driver_sql(COMMIT_ONE.sql, values)).fetchall()
    except DBAPIError as error:
        if is_gone(error):
            raise
        state = getattr(error.orig, "sqlstate", None) or ""
        encoding = not state and "invalid input for query argument" in str(error.orig)
        raise BadRowError(
            error.orig or error, data=encoding or state.startswith(_BAD_ROW)
        ) from error

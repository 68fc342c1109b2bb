"""One engine per process, and the only place where a lost database gets its name.

A statement on its own runs with AUTOCOMMIT (one round trip, one transaction); only what needs
several statements opens a transaction.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import msgspec
from sqlalchemy import CursorResult, MetaData, QueuePool, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from messenger.db.statements import Call, RenderingName, Statement
from messenger.db.watching import StatementWatch
from messenger.metrics import Metrics

metadata = MetaData()
"""Every table of the platform; packages declare theirs in `tables.py`, migrations make them."""

CONNECT_SECONDS = 3.0
IDLE_IN_TRANSACTION_S = 5.0
"""A node that hangs (SIGSTOP, a stalled host) holds its locks no longer; transactions take ms."""
RETRY_AFTER_MS = 1_000

_GONE = ("08", "57P", "53")
"""SQLSTATE classes: connection lost, server shutting down, out of resources (disk, connections)."""
_IN_THE_WAY = ("40", "55")
"""Deadlock, lost serialisation, a lock that is not free."""
_ASTRAY = ("25P01", "25P03", "25001", "25006")
"""The connection is in another transaction than we believe, in none, or at a standby."""
_CANCELLED = "57014"  # statement_timeout: the server lives, this statement took too long


class StoreDownError(Exception):
    """The database cannot answer now; the outcome of a write under way is unknown."""

    retry_after_ms = RETRY_AFTER_MS


class ContentionError(StoreDownError):
    """Another transaction was in the way: nothing was written, it may be repeated at once."""


StoreDown = StoreDownError


class Database:
    """A bounded pool of connections; `connect` makes it, `close` empties it."""

    def __init__(
        self, engine: AsyncEngine, rendering: RenderingName = "many", lanes: int = 4
    ) -> None:
        self._engine = engine
        self.rendering: RenderingName = rendering
        self._lanes = lanes
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    async def connect(
        cls,
        url: str,
        pool: int = 8,
        statement_timeout: float = 2.0,
        rendering: RenderingName = "many",
        *,
        node: str = "",
        idle_in_transaction: float = IDLE_IN_TRANSACTION_S,
    ) -> "Database":
        """Open the pool and prove that the database answers; StoreDown when it does not.

        `node`: as log lines name it; PostgreSQL then says the same in its own log and views.
        """
        engine = create_async_engine(
            url,
            pool_size=pool,
            max_overflow=0,  # the bound of the queue: callers wait `pool_timeout`, then StoreDown
            pool_timeout=statement_timeout,
            hide_parameters=True,  # they are people's words; errors are logged
            pool_pre_ping=False,  # a round trip per statement; a broken connection is found by use
            json_serializer=lambda value: msgspec.json.encode(value).decode(),
            json_deserializer=msgspec.json.decode,
            connect_args={
                "timeout": CONNECT_SECONDS,
                "command_timeout": statement_timeout + 1.0,  # a peer that went away in silence
                "server_settings": {
                    "application_name": f"peyk {node}".strip(),
                    "jit": "off",
                    # a plan made while a table is small would scan it when it has grown
                    "enable_seqscan": "off",
                    "timezone": "UTC",
                    "statement_timeout": str(int(statement_timeout * 1000)),
                    "idle_in_transaction_session_timeout": str(int(idle_in_transaction * 1000)),
                },
            },
        )
        event.listen(engine.sync_engine, "handle_error", _give_up)
        # a statement that is one call a key takes half of the pool at most: others go on
        database = cls(engine, rendering, lanes=max(1, pool // 2))
        try:
            async with database.statement() as connection:
                await connection.exec_driver_sql("select 1")
        except BaseException:
            await engine.dispose()
            raise
        return database

    def watched(self, metrics: Metrics) -> None:
        """From now on statements and connections in use are counted."""
        StatementWatch(self._engine.sync_engine, metrics)
        pool = self._engine.sync_engine.pool
        if isinstance(pool, QueuePool):
            metrics.db_pool_in_use.set_function(lambda: float(pool.checkedout()))

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose every statement commits by itself."""
        with store_errors():
            async with self._autocommit.connect() as connection:
                yield connection

    async def rows(self, statement: Statement, *values: object) -> Sequence[Any]:
        """All rows of a statement that commits by itself, in the database's rendering.

        In *one* each key value is a call and a transaction of its own, several at a time.
        """
        calls = statement.calls(self.rendering, values)
        if len(calls) == 1:
            async with self.statement() as connection:
                return _all(await connection.exec_driver_sql(*calls[0]))
        found: list[Sequence[Any]] = [()] * len(calls)
        waiting = deque(enumerate(calls))
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(self._lanes, len(calls))):
                    tasks.create_task(self._lane(waiting, found))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return [row for rows in found for row in rows]

    async def _lane(self, waiting: deque[tuple[int, Call]], found: list[Sequence[Any]]) -> None:
        """One connection that takes call after call until none waits."""
        async with self.statement() as connection:
            while waiting:
                number, call = waiting.popleft()
                found[number] = _all(await connection.exec_driver_sql(*call))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """A connection in one READ COMMITTED transaction; an exception rolls it back."""
        with store_errors():
            async with self._engine.begin() as connection:
                yield connection

    async def held(self) -> AsyncConnection:
        """An AUTOCOMMIT connection for one long-lived user, which closes it itself."""
        with store_errors():
            return await self._autocommit.connect()

    async def close(self) -> None:
        """Close every pooled connection; held ones belong to their holders."""
        await self._engine.dispose()


def _give_up(context: ExceptionContext) -> None:
    """Say which errors are of a connection and not of a statement."""
    if context.connection is None:  # there is none yet: whatever the server refuses, all need it
        context.is_disconnect = True
    elif _sqlstate(context.original_exception) in _ASTRAY:
        # throw away this one, not the pool: the next statement gets a sound one
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = False


def _all(result: CursorResult[Any]) -> Sequence[Any]:
    return result.fetchall() if result.returns_rows else ()


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn every way in which a database can be gone into `StoreDown`; let the rest through."""
    try:
        yield
    except DBAPIError as error:
        if not is_gone(error):
            raise
        contended = _state(error).startswith(_IN_THE_WAY)
        kind = ContentionError if contended else StoreDownError
        raise kind(str(error.orig)) from error
    except (PoolTimeoutError, OSError) as error:
        raise StoreDownError(f"{type(error).__name__}: {error}") from error


def is_gone(error: DBAPIError) -> bool:
    """True where the statement is not at fault: the server, the connection, or another's locks."""
    state = _state(error)
    return (
        error.connection_invalidated
        or passes(state)
        or (isinstance(error, InterfaceError) and not state and _lost(error))
    )


def passes(state: str) -> bool:
    """Whether an error of this SQLSTATE is not the statement's fault: it may be repeated."""
    return state in (_CANCELLED, *_ASTRAY) or state.startswith((*_GONE, *_IN_THE_WAY))


def _state(error: DBAPIError) -> str:
    """SQLSTATE; empty where the driver itself complains."""
    return _sqlstate(error.orig)


def _sqlstate(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


def _lost(error: InterfaceError) -> bool:
    text = str(error.orig)
    return "connection" in text and ("closed" in text or "lost" in text)

"""Chats and sends straight in the database; ids are fresh in every test."""

import asyncio
import itertools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from messenger.db.engine import Database
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.log.account_log import AccountLog
from messenger.log.committer import Committer
from messenger.log.events import EventLog
from messenger.log.rendering import COMMIT, DAY_MS, ENSURE_DAY, Batch, Many, Rendering
from messenger.log.sends import Send, Written
from messenger.log.statuses import send_digest
from messenger.log.store import ChatStore
from messenger.metrics import Metrics
from messenger.settings import Settings
from tests.conftest import Stores

GROUP = 2
CHANNEL = 3
NOW = 1_800_000_000_000

AChat = Callable[..., Awaitable[ChatId]]


@pytest.fixture(scope="session")
async def database(stores: Stores) -> AsyncIterator[Database]:
    database = await Database.connect(stores.database_url, pool=12)
    yield database
    await database.close()


@pytest.fixture(scope="session")
def ids() -> Iterator[int]:
    return itertools.count(secrets.randbits(40) << 20 | 1)


@pytest.fixture(scope="session")
def store(database: Database) -> ChatStore:
    return ChatStore(database)


@pytest.fixture(scope="session")
def events(database: Database) -> EventLog:
    return EventLog(database)


@pytest.fixture(scope="session")
def account_log(database: Database) -> AccountLog:
    return AccountLog(database)


@pytest.fixture(scope="session")
def a_chat(database: Database, ids: Iterator[int]) -> AChat:
    """A group whose members are the accounts given (by default 1, 2, 3), with `role` 1."""

    async def make(
        members: Sequence[int] = (1, 2, 3), *, kind: int = GROUP, role: int = 1, **columns: int
    ) -> ChatId:
        return await put_chat(database, next(ids), members, kind=kind, role=role, **columns)

    return make


async def put_chat(
    database: Database, chat: int, members: Sequence[int], *, kind: int, role: int, **columns: int
) -> ChatId:
    values = {"chat_id": chat, "kind": kind, "member_count": len(members), "member_ver": 1}
    values |= columns
    names = ", ".join(values)
    places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    async with database.statement() as connection:
        await connection.exec_driver_sql(
            f"insert into chat({names}) values ({places})",  # noqa: S608 - names of this file
            tuple(values.values()),
        )
        await connection.exec_driver_sql(
            "insert into membership(chat_id, account_id, role) select $1, a, $3"
            " from unnest($2::bigint[]) a",
            (chat, list(members), role),
        )
    return ChatId(chat)


async def set_member(database: Database, chat: ChatId, account: int, **columns: int) -> None:
    sets = ", ".join(f"{name} = ${n}" for n, name in enumerate(columns, 3))
    async with database.statement() as connection:
        await connection.exec_driver_sql(
            f"update membership set {sets} where chat_id = $1 and account_id = $2",  # noqa: S608
            (chat, account, *columns.values()),
        )


def a_send(
    chat: ChatId,
    random_id: int,
    text: str = "salaam",
    *,
    account: int = 1,
    device: int = 11,
    reply: int | None = None,
) -> Send:
    digest = send_digest(1, text, None, None, reply)
    return Send(
        chat, AccountId(account), DeviceId(device), random_id, digest, 1, 0, reply, None, text, None
    )


async def edit(database: Database, chat: ChatId, seq: int, text: str, extra: str | None) -> None:
    """What an edit leaves behind; who may do it is the business of `messages`."""
    async with database.transaction() as connection:
        await connection.exec_driver_sql(
            "update message set body = $3, extra = $4::jsonb, flags = flags | 4, edited_at = $5"
            " where chat_id = $1 and seq = $2",
            (chat, seq, text, extra, NOW),
        )
        await connection.exec_driver_sql(
            "select append_event($2, $1, 2::smallint, $3, 1, null)", (chat, NOW, seq)
        )


async def commit(
    connection: AsyncConnection, sends: Sequence[Send], now: int | None = None, day: int = 0
) -> list[Any]:
    """One call of the function; `day` shifts what the caller believes today is."""
    if now is None:
        now = int(time.time() * 1000)
    else:
        await connection.exec_driver_sql(ENSURE_DAY.sql, (now // DAY_MS,))
    batch = Batch(sends)
    now, _, *arrays = batch.values(now)
    values = (now, now // DAY_MS + day, *arrays)
    return list(batch.rows((await connection.exec_driver_sql(COMMIT.sql, values)).one()))


class Answers:
    """Callbacks of one test, and the wait for them."""

    def __init__(self) -> None:
        self.all: list[Written | Refused] = []
        self._expected = 0
        self._changed = asyncio.Event()

    def take(self, answer: Written | Refused) -> None:
        self.all.append(answer)
        self._changed.set()

    async def count(self, number: int) -> list[Written | Refused]:
        async with asyncio.timeout(10):
            while len(self.all) < number:
                self._changed.clear()
                await self._changed.wait()
        return self.all

    async def written(self, number: int) -> list[Written]:
        answers = await self.count(number)
        found = [answer for answer in answers if isinstance(answer, Written)]
        assert len(found) == len(answers), answers
        return found


@asynccontextmanager
async def running(
    store: Database | Rendering, batches: list[list[Written]] | None = None, **changes: Any
) -> AsyncIterator[Committer]:
    """A committer at work, closed and flushed at the end."""
    settings = msgspec.structs.replace(
        Settings(), **{name: value for name, value in changes.items() if name in FIELDS}
    )
    others = {name: value for name, value in changes.items() if name not in FIELDS}
    seen = batches.append if batches is not None else lambda _batch: None
    rendering = Many(store) if isinstance(store, Database) else store
    committer = Committer(rendering, settings, seen, Metrics(), **others)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(committer.run(), name="committer")
        try:
            yield committer
        finally:
            committer.close()


FIELDS = frozenset(Settings.__struct_fields__)

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
from messenger.db.statements import RenderingName, Statement
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.log.account_log import AccountLog
from messenger.log.committer import Committer
from messenger.log.events import EventLog
from messenger.log.held import ENSURE_DAY
from messenger.log.one_chat import COMMIT_ONE, One
from messenger.log.purges import Bounds, Due, Purges
from messenger.log.rendering import COMMIT, DAY_MS, Batch, Many, Rendering
from messenger.log.sends import Send, Written
from messenger.log.statuses import send_digest
from messenger.log.store import ChatStore
from messenger.metrics import Metrics
from messenger.settings import Settings
from tests.conftest import Stores

GROUP = 2
CHANNEL = 3
NOW = 1_800_000_000_000

BOTH_RENDERINGS = pytest.mark.parametrize(
    "database", ["many", "one"], indirect=True, scope="session"
)

AChat = Callable[..., Awaitable[ChatId]]


@pytest.fixture(scope="session")
async def database(stores: Stores, request: pytest.FixtureRequest) -> AsyncIterator[Database]:
    """In the rendering *many*; modules marked with `BOTH_RENDERINGS` run in each."""
    database = await Database.connect(
        stores.database_url, pool=16, rendering=getattr(request, "param", "many")
    )
    yield database
    await database.close()


@pytest.fixture(autouse=True)
def in_rendering(request: pytest.FixtureRequest) -> Iterator[None]:
    """`commit`, which is given a connection, writes as the test's database does."""
    if "database" in request.fixturenames:
        database: Database = request.getfixturevalue("database")
        _Written.by = database.rendering
    yield
    _Written.by = "many"


class _Written:
    """How `commit` writes."""

    by: RenderingName = "many"


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
    if _Written.by == "one":
        return await commit_each(connection, sends, now, now // DAY_MS + day)
    batch = Batch(sends, now)
    _, _, *arrays = batch.values()
    values = (now, now // DAY_MS + day, *arrays)
    return list(batch.rows((await connection.exec_driver_sql(COMMIT.sql, values)).one()))


async def commit_each(
    connection: AsyncConnection, sends: Sequence[Send], now: int, day: int
) -> list[Any]:
    """The same, one chat a call."""
    statement = Statement("", key="chat_id", one=COMMIT_ONE.sql, spread=tuple(range(3, 14)))
    columns = zip(*map(msgspec.structs.astuple, sends), strict=True)
    answers: dict[ChatId, list[Any]] = {}
    for sql, values in statement.calls("one", (now, day, *map(list, columns))):
        rows = (await connection.exec_driver_sql(sql, values)).fetchall()
        answers[values[2]] = list(rows[::-1])
    return [answers[send.chat].pop() for send in sends]


def rendering_of(database: Database) -> Rendering:
    return One(database, lanes=3) if database.rendering == "one" else Many(database)


async def purge_events(database: Database, chat: ChatId, *, keep: int, before: int) -> int:
    """All steps, each of three rows; up to which ev the chat is purged then."""
    bounds = Bounds(keep, before, 0, 0, 0, 0, 0)
    while await Purges(database).step(chat, Due.EVENTS, bounds, 3):
        pass
    head = await ChatStore(database).head(chat)
    assert head is not None
    return head.purged_ev


async def purge_facts(database: Database, account: AccountId, *, keep: int, before: int) -> int:
    """The same for an account; up to which aev."""
    bounds = Bounds(0, 0, keep, before, 0, 0, 0)
    while await Purges(database).facts(account, bounds, 3):
        pass
    return (await AccountLog(database).head(account)).purged_aev


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
    rendering = rendering_of(store) if isinstance(store, Database) else store
    committer = Committer(rendering, settings, seen, Metrics(), **others)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(committer.run(), name="committer")
        try:
            yield committer
        finally:
            committer.close()


FIELDS = frozenset(Settings.__struct_fields__)

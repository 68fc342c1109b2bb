"""The messages and sync features on real stores, without sockets: persons call rpcs and hear."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import msgspec
from sqlalchemy import Engine, event

import messenger.messages.feature
import messenger.sync.feature
from messenger.accounts.store.devices import DeviceStore
from messenger.bus.bus import Bus
from messenger.bus.streams import Streams
from messenger.db.engine import Database
from messenger.delivery.fanout import Delivery
from messenger.delivery.members import MemberLists
from messenger.delivery.soles import SoleDevices
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.limits import Limits
from messenger.log.account_log import AccountKind, AccountLog
from messenger.log.committer import Committer
from messenger.log.events import EventLog
from messenger.log.rendering import Many
from messenger.log.sends import Written
from messenger.log.store import ChatStore
from messenger.messages.feed import ChatFeed
from messenger.messages.indexing import Indexer
from messenger.messages.sending import own_copy, written_update
from messenger.metrics import Metrics
from messenger.rpc import Rpcs
from messenger.settings import LIMIT_RULES, LimitRule, Settings
from tests.conftest import Stores

Json = dict[str, Any]
GROUP, CHANNEL = 2, 3
REPLY_BYTES = 65_536
_ids = itertools.count(secrets.randbits(38) << 22 | 1)


class Person:
    """One device of one account."""

    def __init__(self, office: "Office", account: int, device: int) -> None:
        self.office = office
        self.account = AccountId(account)
        self.caller = Caller(self.account, DeviceId(device), "192.0.2.7")
        self.heard: asyncio.Queue[Json] = asyncio.Queue()
        self.keys = itertools.count(1)

    @property
    def id(self) -> str:
        return str(self.account)

    async def call(self, method: str, **data: Any) -> Json:
        """The result; a refusal is raised."""
        return await self.office.call(self.caller, method, data)

    async def sends(self, chat: ChatId, text: str = "salaam", **more: Any) -> Json:
        key = more.pop("random_id", None) or str(next(self.keys))
        return await self.call("messages.send", chat=str(chat), random_id=key, text=text, **more)

    async def history(self, chat: ChatId, **more: Any) -> Json:
        return await self.call("messages.history", chat=str(chat), **more)

    async def hears(self, kind: str, **fields: Any) -> Json:
        """The next update of that kind; others are passed over."""
        async with asyncio.timeout(8):
            while True:
                update = await self.heard.get()
                if update["t"] == kind and fields.items() <= update.items():
                    return update

    def other_device(self) -> "Person":
        return Person(self.office, self.account, next(_ids))


class Office:
    """A node's middle: everything between the gateway and the stores."""

    def __init__(self, settings: Settings, database: Database) -> None:
        metrics = Metrics()
        self.database = database
        self.bus = Bus(settings.redis_url or "", self._hear, settings=settings, metrics=metrics)
        self.streams = Streams(self.bus, settings)
        self.chats = ChatStore(database)
        self.recorded: list[ChatId] = []
        self.events = EventLog(database, on_record=self._record)
        self.accounts = AccountLog(database)
        self.members = MemberLists(self.chats.members)
        self.delivery = Delivery(
            self.bus,
            self.streams,
            self.members,
            SoleDevices(DeviceStore(database).sole),
            (written_update, own_copy),
            metrics,
        )
        self.cursors = messenger.messages.feature.cursors(database, self.chats, self.delivery)
        self.indexer = Indexer(database)
        self.feed = ChatFeed(database, self.chats)
        self.batches: list[list[Written]] = []
        self.committer = Committer(Many(database), settings, self._on_batch, metrics)
        free = dict.fromkeys(LIMIT_RULES, LimitRule(burst=1e9, per_s=1e9))
        limits = self.limits = Limits(free, self.bus, metrics)
        self.messages = messenger.messages.feature.create(
            database, self.committer, self.chats, self.events, self.delivery, limits,
            self.cursors, self.indexer,
        )  # fmt: skip
        self.watched: list[set[ChatId]] = []
        self.sync = messenger.sync.feature.create(
            database, self.chats, self.accounts, self.feed, self._watch, settings.difference_slice
        )
        self.rpcs = Rpcs([self.messages, self.sync], limits, metrics, enabled=True)
        self._ears: dict[str, list[Person]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Office"]:
        async with AsyncExitStack() as stack:
            await self.bus.start(5)
            stack.push_async_callback(self.bus.close)
            runs = [self.bus.run, self.committer.run, self.members.run, self.delivery.run]
            runs += [task.run for task in self.messages.tasks]
            loop = asyncio.get_running_loop()
            tasks = [loop.create_task(run()) for run in runs]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def call(self, caller: Caller, method: str, data: Any) -> Json:
        answered: asyncio.Future[bytes | Refused] = asyncio.get_running_loop().create_future()
        body = data if isinstance(data, bytes) else msgspec.json.encode(data)
        waiting = self.rpcs.call(method, body, caller, answered.set_result)
        async with asyncio.timeout(10):
            if waiting is not None:
                await waiting
            answer = await answered
        if isinstance(answer, Refused):
            raise answer
        assert len(answer) <= REPLY_BYTES, f"{method} answers {len(answer)} bytes"
        result: Json = msgspec.json.decode(answer)
        return result

    async def person(self, account: int = 0) -> Person:
        """A new account (or device) whose topics are listened to."""
        person = Person(self, account or next(_ids), next(_ids))
        for topic in (f"user:{person.account}", f"eph:{person.account}"):
            self._ears.setdefault(topic, []).append(person)
            self.bus.listen(topic)
            await self.bus.listening(topic)
        await self.streams.attach_user(person.account)
        return person

    async def people(self, count: int) -> list[Person]:
        return [await self.person() for _ in range(count)]

    async def chat(self, members: Sequence[Person], kind: int = GROUP, **columns: int) -> ChatId:
        """A chat with plain members, as the chats package leaves it when all is settled."""
        chat = next(_ids)
        values = {"chat_id": chat, "kind": kind, "member_count": len(members), "member_ver": 1}
        values |= columns
        names = ", ".join(values)
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        async with self.database.transaction() as connection:
            await connection.exec_driver_sql(
                f"insert into chat({names}) values ({places})",  # noqa: S608 - names of this file
                tuple(values.values()),
            )
        for person in members:
            await self.joins(ChatId(chat), person)
        return ChatId(chat)

    async def joins(self, chat: ChatId, person: Person, role: int = 1) -> None:
        account = person.account
        async with self.database.transaction() as connection:
            await connection.exec_driver_sql(
                "insert into membership(chat_id, account_id, role, joined_seq) select $1, $2, $3,"
                " last_seq from chat where chat_id = $1",
                (chat, account, role),
            )
            await connection.exec_driver_sql(
                "insert into member(account_id, chat_id, kind, role, flags, joined_seq, read_seq)"
                " select $1, $2, kind, $3, flags & 1, last_seq, last_seq from chat"
                " where chat_id = $2",
                (account, chat, role),
            )
        await self.accounts.append(account, AccountKind.JOINED, chat, {"info": {"epoch": 1}})

    async def set_chat(self, chat: ChatId, **columns: int) -> None:
        await self._set("chat", columns, {"chat_id": chat})

    async def set_member(self, chat: ChatId, person: Person, **columns: int) -> None:
        """The chat's side, `membership`."""
        await self._set("membership", columns, {"chat_id": chat, "account_id": person.account})

    async def set_own(self, chat: ChatId, person: Person, **columns: int) -> None:
        """The account's side, `member`."""
        await self._set("member", columns, {"chat_id": chat, "account_id": person.account})

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        async with self.database.statement() as connection:
            return list((await connection.exec_driver_sql(sql, values)).fetchall())

    async def counts(self, chat: ChatId) -> Any:
        """(last_seq, last_ev): what a refusal must leave as it was."""
        sql = "select last_seq, last_ev from chat where chat_id = $1"
        return tuple((await self.rows(sql, chat))[0])

    @contextmanager
    def counting(self, statements: list[str]) -> Iterator[None]:
        """Note every statement that runs meanwhile."""

        def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
            statements.append(statement)

        event.listen(Engine, "before_cursor_execute", note)
        try:
            yield
        finally:
            event.remove(Engine, "before_cursor_execute", note)

    async def _set(self, table: str, columns: dict[str, int], key: dict[str, int]) -> None:
        names = [*columns, *key]
        sets = ", ".join(f"{name} = ${number}" for number, name in enumerate(columns, 1))
        where = " and ".join(
            f"{name} = ${number}" for number, name in enumerate(key, len(columns) + 1)
        )
        async with self.database.statement() as connection:
            await connection.exec_driver_sql(
                f"update {table} set {sets} where {where}",  # noqa: S608 - names of this file
                tuple({**columns, **key}[name] for name in names),
            )

    async def _watch(self, _caller: Caller, chats: Any) -> None:
        self.watched.append(set(chats))

    @asynccontextmanager
    async def _record(self, chat: ChatId) -> AsyncIterator[None]:
        self.recorded.append(chat)
        yield

    def _on_batch(self, batch: list[Written]) -> None:
        self.batches.append(batch)
        self.delivery.messages_written(batch)
        self.cursors.own_sends(batch)
        self.indexer.written(batch)

    def _hear(self, topic: str, payload: bytes) -> None:
        body = payload.split(b" ", 2)[2] if topic.startswith("user:") else payload
        for person in self._ears.get(topic, ()):
            person.heard.put_nowait(msgspec.json.decode(body))


@asynccontextmanager
async def an_office(stores: Stores, **changes: Any) -> AsyncIterator[Office]:
    settings = Settings(
        database_url=stores.database_url,
        redis_url=stores.redis_url,
        limits={},
        **changes,
    )
    database = await Database.connect(stores.database_url, 6)
    try:
        async with Office(settings, database).running() as office:
            yield office
    finally:
        await database.close()

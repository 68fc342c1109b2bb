"""A whole node without sockets: people who own channels, post, read and count."""

import asyncio
import itertools
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from messenger.accounts.store.people import PeopleStore
from messenger.asgi import Node, open_node
from messenger.badges import BadgeFact, name_hash
from messenger.bus.bus import Bus
from messenger.db.engine import Database
from messenger.feature import Caller, Refused
from messenger.folding import fold
from messenger.ids import AccountId, DeviceId
from messenger.metrics import Metrics
from messenger.settings import LIMIT_RULES, LimitRule, Settings

Json = dict[str, Any]
WAIT_S = 8.0
_ids = itertools.count(secrets.randbits(38) << 22 | 1)


def an_id() -> str:
    """An id that nothing has."""
    return str(next(_ids))


def a_name() -> str:
    """A username nobody has."""
    return f"c_{secrets.token_hex(8)}"


class Person:
    """One device of one account."""

    def __init__(self, studio: "Studio", account: int, address: str = "192.0.2.7") -> None:
        self.studio = studio
        self.account = AccountId(account)
        self.caller = Caller(self.account, DeviceId(next(_ids)), address)

    @property
    def id(self) -> str:
        return str(self.account)

    def other_device(self) -> "Person":
        return Person(self.studio, self.account)

    async def call(self, method: str, **data: Any) -> Any:
        """The result as a client sees it; raises the refusal."""
        return await self.studio.call(self.caller, method, data)

    async def refusal(self, method: str, **data: Any) -> Refused:
        with pytest.raises(Refused) as refusal:
            await self.call(method, **data)
        return refusal.value

    async def founds(self, **more: Any) -> str:
        """A channel; its id."""
        request: Json = {"kind": "channel", "title": "خبر", "random_id": an_id(), **more}
        return str((await self.call("chats.create", **request))["chat"]["id"])

    async def groups(self) -> str:
        request: Json = {"kind": "group", "title": "گروه", "random_id": an_id()}
        return str((await self.call("chats.create", **request))["chat"]["id"])

    async def posts(self, chat: str, text: str = "salaam", **more: Any) -> Json:
        more = {"random_id": an_id(), **more}
        sent: Json = await self.call("messages.send", chat=chat, text=text, **more)
        return sent

    async def joins(self, link: str) -> Json:
        joined: Json = await self.call("chats.join", link=link)
        return joined

    async def history(self, chat: str, **more: Any) -> list[Json]:
        found: list[Json] = (await self.call("messages.history", chat=chat, **more))["messages"]
        return found

    async def sees(self, chat: str) -> Json:
        """The Chat object."""
        chats: list[Json] = (await self.call("chats.get", chats=[chat]))["chats"]
        return chats[0]

    async def views(self, chat: str, lo: int, hi: int) -> None:
        """Posts lo..hi were on the screen."""
        await self.call("channels.view", views=[{"chat": chat, "lo": lo, "hi": hi}])


class Topic:
    """A topic that is listened to."""

    def __init__(self) -> None:
        self.payloads: asyncio.Queue[bytes] = asyncio.Queue()

    async def says(self, part: bytes) -> bytes:
        """The next payload with that in it; others are passed over."""
        async with asyncio.timeout(WAIT_S):
            while part not in (payload := await self.payloads.get()):
                pass
            return payload


class Studio:
    """The node, and its stores seen from beside."""

    def __init__(self, node: Node, database: Database, settings: Settings) -> None:
        self.node = node
        self.db = database
        self.url = settings.database_url or ""
        self.people = PeopleStore(database)
        self.bus = Bus(settings.redis_url or "", self._hear, settings=settings, metrics=Metrics())
        self._topics: dict[str, Topic] = {}

    async def call(self, caller: Caller, method: str, data: Json) -> Any:
        answered: asyncio.Future[bytes | Refused] = asyncio.get_running_loop().create_future()
        body = msgspec.json.encode(data)
        waits = self.node.rpcs.call(method, body, caller, answered.set_result)
        async with asyncio.timeout(WAIT_S):
            if waits is not None:
                await waits
            answer = await answered
        if isinstance(answer, Refused):
            raise answer
        return json.loads(answer)

    async def person(self, name: str = "مینا", address: str = "192.0.2.7") -> Person:
        person = Person(self, next(_ids), address)
        secret = person.id.encode()
        await self.people.put_account(person.account, name, fold(name), (secret, secret), 1)
        return person

    async def people_of(self, count: int) -> list[Person]:
        return [await self.person(f"n{number}") for number in range(count)]

    async def topic(self, topic: str) -> Topic:
        """What is published there from now on."""
        heard = self._topics.setdefault(topic, Topic())
        self.bus.listen(topic)
        await self.bus.listening(topic)
        return heard

    async def rows(self, sql: str, *values: Any) -> list[Any]:
        async with self.db.statement() as connection:
            return list((await connection.exec_driver_sql(sql, values)).fetchall())

    async def run(self, sql: str, *values: Any) -> None:
        async with self.db.statement() as connection:
            await connection.exec_driver_sql(sql, values)

    async def a_subscriber(self, chat: str, *, name: str = "رضا") -> Person:
        """Somebody who is in the channel already, written as joining leaves it."""
        person = await self.person(name)
        await self.seats(chat, person)
        return person

    async def seats(self, chat: str, person: Person, role: int = 1, rights: int = 0) -> None:
        await self.run(
            "insert into membership(chat_id, account_id, role, rights, joined_at)"
            " values ($1, $2, $3, $4, 1) on conflict (chat_id, account_id) do update"
            " set role = excluded.role, rights = excluded.rights",
            int(chat),
            person.account,
            role,
            rights,
        )
        await self.run(
            "insert into member(account_id, chat_id, kind, role, flags, joined_at)"
            " values ($1, $2, 3, $3, 1, 1) on conflict (account_id, chat_id) do update"
            " set role = excluded.role",
            person.account,
            int(chat),
            role,
        )

    async def verifies(self, chat: str) -> None:
        """Give the channel a badge that is drawn."""
        row = (
            await self.rows(
                "select username, title, owner_id from chat where chat_id = $1", int(chat)
            )
        )[0]
        fact = a_badge(row[0], row[1], row[2])
        await self.run(
            "update chat set badge = $2::jsonb, badge_epoch = badge_epoch + 1 where chat_id = $1",
            int(chat),
            msgspec.json.encode(fact).decode(),
        )

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic in self._topics:
            self._topics[topic].payloads.put_nowait(payload)


def a_badge(handle: str | None, title: str, owner: int) -> BadgeFact:
    return BadgeFact(
        id="1",
        kind="media",
        authority="culture",
        label="خبرگزاری",
        icon="tick",
        not_before=0,
        not_after=2**45,
        name_hash=name_hash(handle, title),
        owner_id=str(owner),
        idx=1,
    )


@asynccontextmanager
async def a_studio(settings: Settings, **changes: Any) -> AsyncIterator[Studio]:
    """A node of its own; limits do not bind unless `limits` says so."""
    free = dict.fromkeys(LIMIT_RULES, LimitRule(burst=1e9, per_s=1e9))
    changes["limits"] = {**free, **changes.get("limits", {})}
    settings = msgspec.structs.replace(settings, **changes)
    async with AsyncExitStack() as stack:
        node = await stack.enter_async_context(open_node(settings))
        database = await Database.connect(settings.database_url or "", 4)
        stack.push_async_callback(database.close)
        studio = Studio(node, database, settings)
        await studio.bus.start(5)
        stack.push_async_callback(studio.bus.close)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(studio.bus.run())
            yield studio
            running.cancel()

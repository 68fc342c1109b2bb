"""Chats on real stores, without sockets: people call rpcs and hear what is pushed to them."""

import asyncio
import itertools
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

import messenger.accounts.feature
import messenger.chats.feature
from messenger.bus.bus import Bus
from messenger.bus.streams import Streams
from messenger.chats.protocol import ChatObject
from messenger.db.engine import Database
from messenger.delivery.fanout import Delivery
from messenger.delivery.members import MemberLists
from messenger.delivery.soles import SoleDevices
from messenger.feature import Caller, NameGuard, Refused
from messenger.folding import fold
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.limits import Limits
from messenger.log.committer import Committer
from messenger.log.rendering import Many
from messenger.log.sends import Send, Written
from messenger.log.store import ChatStore
from messenger.metrics import Metrics
from messenger.rpc import Rpcs
from messenger.settings import LIMIT_RULES, LimitRule, Settings
from messenger.tokens import ConnectionTokens

Json = dict[str, Any]
SMALL = 5  # members of a small chat in these tests
WAIT_S = 10.0
_ids = itertools.count(secrets.randbits(38) << 22 | 1)


class Clock:
    """The wall clock, moved on by hand."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def passes(self, seconds: float) -> None:
        self.ahead_ms += int(seconds * 1_000)


class Person:
    """One device of one account."""

    def __init__(self, world: "World", account: int) -> None:
        self.world = world
        self.account = AccountId(account)
        self.caller = Caller(self.account, DeviceId(next(_ids)), "192.0.2.7")
        self.heard: asyncio.Queue[Json] = asyncio.Queue()

    @property
    def id(self) -> str:
        return str(self.account)

    async def call(self, method: str, **data: Any) -> Any:
        """The result of `chats.<method>` as a client sees it; raises the refusal."""
        return await self.world.call(self.caller, f"chats.{method}", msgspec.json.encode(data))

    async def refusal(self, method: str, **data: Any) -> Refused:
        with pytest.raises(Refused) as refusal:
            await self.call(method, **data)
        return refusal.value

    async def creates(self, *members: "Person", **more: Any) -> str:
        """A group; its id."""
        request: Json = {"kind": "group", "title": "خانه ما", "random_id": str(next(_ids))}
        request |= {"members": [member.id for member in members], **more}
        return str((await self.call("create", **request))["chat"]["id"])

    async def opens(self, peer: "Person") -> str:
        """The direct chat; its id."""
        return str((await self.call("open_direct", account=peer.id))["chat"]["id"])

    async def sees(self, chat: str) -> Json | None:
        """The Chat object."""
        chats: list[Json] = (await self.call("get", chats=[chat]))["chats"]
        return chats[0] if chats else None

    async def members(self, chat: str) -> dict[str, str]:
        """account -> role of everybody in it."""
        found: list[Json] = (await self.call("members", chat=chat))["members"]
        return {one["account"]: one["role"] for one in found}

    async def sends(self, chat: str) -> Written:
        """A message."""
        return await self.world.sends(self, ChatId(int(chat)))

    async def hears(self, kind: str, **fields: Any) -> Json:
        """The next update of that kind on `user:`; others are passed over."""
        async with asyncio.timeout(WAIT_S):
            while True:
                update = await self.heard.get()
                if update["t"] == kind and fields.items() <= update.items():
                    return update

    async def hears_each(self, *kinds: str, **fields: Any) -> dict[str, Json]:
        """The next update of each kind, in whatever order they come; others are passed over."""
        found: dict[str, Json] = {}
        async with asyncio.timeout(WAIT_S):
            while found.keys() != set(kinds):
                update = await self.heard.get()
                if update["t"] in kinds and fields.items() <= update.items():
                    found.setdefault(update["t"], update)
        return found

    async def heard_up_to(self, chat: str, ev: int, *, inside: bool) -> list[Json]:
        """All that came of this chat, once a member has heard of `ev`; 0: what came so far."""
        updates: list[Json] = []
        async with asyncio.timeout(WAIT_S):
            while inside and ev and not any(update.get("ev") == ev for update in updates):
                updates.append(await self.heard.get())
        return [*(one for one in updates if one.get("chat") == chat), *self.heard_of(chat)]

    def heard_of(self, chat: str) -> list[Json]:
        """What has come so far of this chat and was not waited for."""
        updates = [self.heard.get_nowait() for _ in range(self.heard.qsize())]
        return [update for update in updates if update.get("chat") == chat]


class Topic:
    """A topic that is listened to."""

    def __init__(self) -> None:
        self.payloads: asyncio.Queue[bytes] = asyncio.Queue()

    async def says(self, start: bytes) -> bytes:
        """The next payload that starts so; others are passed over."""
        async with asyncio.timeout(WAIT_S):
            while not (payload := await self.payloads.get()).startswith(start):
                pass
            return payload


class World:
    """A node's middle: everything between the gateway and the stores that chats need."""

    def __init__(self, settings: Settings, database: Database, guards: list[NameGuard]) -> None:
        metrics, self.clock = Metrics(), Clock()
        self.db = database
        self.settings = msgspec.structs.replace(settings, small_chat=SMALL)
        self.bus = Bus(settings.redis_url or "", self._hear, settings=settings, metrics=metrics)
        self.streams = Streams(self.bus, settings)
        self.chat_log = ChatStore(database)
        self.lists = MemberLists(self.chat_log.members)
        self.delivery = Delivery(
            self.bus, self.streams, self.lists, SoleDevices(_no_soles), NO_UPDATES, metrics
        )
        self.committer = Committer(Many(database), settings, lambda _batch: None, metrics)
        free = dict.fromkeys(LIMIT_RULES, LimitRule(burst=1e9, per_s=1e9))
        strict = {
            "msg.stranger_new": LimitRule(burst=3, per_s=0.001),
            "username": LimitRule(burst=8, per_s=0.001),
            "msg.stranger": LimitRule(burst=4, per_s=0.001),
        }
        self.limits = Limits({**free, **strict}, self.bus, metrics)
        self.accounts = messenger.accounts.feature.assemble(
            self.settings,
            database,
            self.bus,
            self.delivery,
            self.limits,
            ConnectionTokens(settings.token_keys),
            lambda: next(_ids),
            guards=guards,
            show_chat=lambda account, chat: self.chats.views.public(account, chat),
            on_gone=lambda account: self.chats.departing.depart(account),
            now_ms=self.clock.now_ms,
        )
        self.chats = messenger.chats.feature.assemble(
            self.settings,
            database,
            self.delivery,
            self.limits,
            self.accounts,
            lambda: next(_ids),
            guards=guards,
            messages_of=self._messages_of,
            on_record=self._record,
            now_ms=self.clock.now_ms,
        )
        feature = messenger.chats.feature.create(self.chats)
        others = messenger.accounts.feature.create(self.accounts)
        self.rpcs = Rpcs([feature, others], self.limits, metrics, enabled=True)
        self._ears: dict[str, list[Person]] = {}
        self.recorded: list[ChatId] = []
        self.topics: dict[str, Topic] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["World"]:
        async with AsyncExitStack() as stack:
            await self.bus.start(5)
            stack.push_async_callback(self.bus.close)
            runs = (self.bus.run, self.committer.run, self.lists.run, self.delivery.run)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run()) for run in runs]
                try:
                    yield self
                finally:
                    for task in tasks:
                        task.cancel()

    async def person(self, name: str = "مینا") -> Person:
        """Somebody signed in, whose updates are collected from now on."""
        person = await self.stranger(name)
        await self.streams.attach_user(person.account)
        topic = f"user:{person.id}"
        self._ears.setdefault(topic, []).append(person)
        self.bus.listen(topic)
        await self.bus.listening(topic)
        return person

    async def stranger(self, name: str = "رضا") -> Person:
        """An account whose phone is off."""
        person = Person(self, next(_ids))
        secret = person.id.encode()
        await self.accounts.people.put_account(
            person.account, name, fold(name), (secret, secret), self.clock.now_ms()
        )
        return person

    async def people(self, count: int) -> list[Person]:
        return [await self.stranger(f"n{number}") for number in range(count)]

    async def call(self, caller: Caller, method: str, data: bytes) -> Any:
        answers: list[bytes | Refused] = []
        waits = self.rpcs.call(method, data, caller, answers.append)
        if waits is not None:
            await waits
        if isinstance(answers[0], Refused):
            raise answers[0]
        return json.loads(answers[0])

    async def sends(self, person: Person, chat: ChatId) -> Written:
        done: asyncio.Future[Written | Refused] = asyncio.get_running_loop().create_future()
        send = Send(
            chat, person.account, person.caller.device, next(_ids), 0, 1, 0, None, None, "s", None
        )
        self.committer.append(send, done.set_result)
        async with asyncio.timeout(WAIT_S):
            written = await done
        if isinstance(written, Refused):
            raise written
        return written

    async def topic(self, topic: str) -> "Topic":
        """What is published there from now on."""
        heard = self.topics.setdefault(topic, Topic())
        self.bus.listen(topic)
        await self.bus.listening(topic)
        return heard

    async def count(self, table: str, where: str, *values: object) -> int:
        sql = f"select count(*) from {table} where {where}"  # noqa: S608 - constants of tests
        async with self.db.statement() as connection:
            return int((await connection.exec_driver_sql(sql, values)).scalar_one())

    async def run(self, sql: str, *values: object) -> None:
        async with self.db.statement() as connection:
            await connection.exec_driver_sql(sql, values)

    async def events(self, chat: str) -> list[tuple[int, int, Json]]:
        """(ev, kind, payload) of all events, in order; fails where `ev` has a hole."""
        rows = await self.chat_log.events_since(ChatId(int(chat)), 0, 10_000)
        assert [row.ev for row in rows] == list(range(1, len(rows) + 1))
        return [(row.ev, row.kind, row.payload) for row in rows if not row.is_message]

    async def chat(self, person: Person, chat: str) -> ChatObject:
        return await self.chats.views.one(person.account, ChatId(int(chat)))

    @asynccontextmanager
    async def _record(self, chat: ChatId) -> AsyncIterator[None]:
        self.recorded.append(chat)
        yield

    async def _messages_of(
        self, _account: AccountId, chat: ChatId, seqs: Sequence[int]
    ) -> Sequence[msgspec.Raw]:
        found = await self.chat_log.messages(chat, seqs)
        return [msgspec.Raw(msgspec.json.encode({"seq": row.seq})) for row in found]

    def _hear(self, topic: str, payload: bytes) -> None:
        for person in self._ears.get(topic, ()):
            person.heard.put_nowait(json.loads(payload.split(b" ", 2)[2]))
        if topic in self.topics:
            self.topics[topic].payloads.put_nowait(payload)


def an_id() -> str:
    """An id that nothing has."""
    return str(next(_ids))


def fresh_ids() -> Iterator[int]:
    return _ids


async def _no_soles(_accounts: object) -> dict[AccountId, DeviceId]:
    return {}


def _no_update(_written: object, _again: object = None) -> bytes:
    raise AssertionError("unreachable: messages are not delivered here")


NO_UPDATES = _no_update, _no_update

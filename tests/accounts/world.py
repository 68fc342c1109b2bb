"""A node without sockets: the accounts' rpcs over real PostgreSQL and Redis, and what they push."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from messenger.accounts.codes import FILE_NAME
from messenger.accounts.feature import Accounts, assemble, create
from messenger.bus.bus import Bus
from messenger.bus.streams import Streams
from messenger.db.engine import Database
from messenger.db.generator import lease_generator
from messenger.delivery.fanout import Delivery
from messenger.delivery.members import MemberLists
from messenger.delivery.soles import SoleDevices
from messenger.feature import Caller, NameGuard, Refused
from messenger.ids import AccountId, DeviceId
from messenger.limits import Limits
from messenger.metrics import Metrics
from messenger.rpc import Rpcs
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from tests.conftest import Stores

NOBODY = Caller(AccountId(0), DeviceId(0), "127.0.0.1")
_numbers = itertools.count(1)


class Clock:
    """The wall clock, moved on by hand."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms

    def passes(self, *, seconds: float = 0, days: int = 0) -> None:
        self.ahead_ms += int(seconds * 1_000) + days * 86_400_000


class Person(Struct, frozen=True):
    """Somebody signed in."""

    phone: str
    caller: Caller
    token: str
    refresh: str

    @property
    def account(self) -> AccountId:
        return self.caller.account

    @property
    def id(self) -> str:
        return str(self.caller.account)

    @property
    def device(self) -> DeviceId:
        return self.caller.device


class World:
    """Calls rpcs as the catalogue does, and hears what goes to accounts."""

    def __init__(
        self,
        accounts: Accounts,
        rpcs: Rpcs,
        bus: Bus,
        streams: Streams,
        db: Database,
        clock: Clock,
        home: Path,
    ) -> None:
        self.accounts = accounts
        self.bus = bus
        self.streams = streams
        self.db = db
        self.clock = clock
        self.home = home
        self.heard: dict[str, asyncio.Queue[bytes]] = {}
        self._rpcs = rpcs

    async def call(self, who: Person | Caller | None, method: str, **data: Any) -> Any:
        """The result as a client sees it; raises the refusal."""
        return await self.call_raw(who, method, msgspec.json.encode(data))

    async def call_raw(self, who: Person | Caller | None, method: str, data: bytes) -> Any:
        caller = who.caller if isinstance(who, Person) else who or NOBODY
        answers: list[bytes | Refused] = []
        waits = self._rpcs.call(method, data, caller, answers.append, http=True)
        if waits is not None:
            await waits
        answer = answers[0]
        if isinstance(answer, Refused):
            raise answer
        return json.loads(answer)

    async def refusal(self, who: Person | Caller | None, method: str, **data: Any) -> Refused:
        with pytest.raises(Refused) as refusal:
            await self.call(who, method, **data)
        return refusal.value

    def code_of(self, phone: str) -> str:
        """The newest code that was sent to this phone."""
        lines = (self.home / FILE_NAME).read_text().splitlines()
        messages = [json.loads(line) for line in lines]
        return str([message["code"] for message in messages if message["phone"] == phone][-1])

    async def ticket(self, phone: str, address: str | None = None) -> tuple[str, str]:
        """A fresh ticket and its code."""
        asker = Caller(AccountId(0), DeviceId(0), address or new_address())
        answer = await self.call(asker, "accounts.request_code", phone=phone)
        return answer["ticket"], self.code_of(phone)

    async def signs_in(self, phone: str, name: str | None = None, device: str = "Pixel") -> Person:
        ticket, code = await self.ticket(phone)
        label = {"name": device, "platform": "android", "app": "1.0"}
        data: dict[str, Any] = {"ticket": ticket, "code": code, "device": label}
        if name is not None:
            data["name"] = name
        answer = await self.call(None, "accounts.sign_in", **data)
        account, device_id = AccountId(int(answer["account"])), DeviceId(int(answer["device_id"]))
        caller = Caller(account, device_id, new_address(), f"session{device_id}")
        return Person(phone, caller, answer["token"], answer["refresh"])

    async def person(self, name: str = "مینا") -> Person:
        return await self.signs_in(new_phone(), name)

    async def hears(self, person: Person) -> None:
        """From now on, collect what is pushed to this person."""
        await self.streams.attach_user(person.account)
        for topic in (f"user:{person.id}", f"eph:{person.id}"):
            self.heard[topic] = asyncio.Queue()
            self.bus.listen(topic)
            await self.bus.listening(topic)

    async def fact(self, person: Person) -> Any:
        """The next update on `user:`."""
        return json.loads((await self._next(f"user:{person.id}")).split(b" ", 2)[2])

    async def signal(self, person: Person) -> bytes:
        """The next payload on `eph:`."""
        return await self._next(f"eph:{person.id}")

    async def _next(self, topic: str) -> bytes:
        async with asyncio.timeout(5):
            return await self.heard[topic].get()

    async def count(self, table: str, where: str, *values: object) -> int:
        sql = f"select count(*) from {table} where {where}"  # noqa: S608 - constants of tests
        async with self.db.statement() as connection:
            return int((await connection.exec_driver_sql(sql, values)).scalar_one())

    async def run(self, sql: str, *values: object) -> None:
        async with self.db.statement() as connection:
            await connection.exec_driver_sql(sql, values)


def new_phone() -> str:
    """A valid number that nobody else in this run has."""
    return f"+98990{next(_numbers):07d}"


def new_address() -> str:
    """An address in a network of its own, so that no test spends another's allowance."""
    n = next(_numbers)
    return f"10.{n >> 8 & 255}.{n & 255}.7"


@asynccontextmanager
async def running(
    stores: Stores, settings: Settings, guards: list[NameGuard], redis_url: str = ""
) -> AsyncIterator[World]:
    """A world of its own; `redis_url`: of a Redis that the test may kill."""
    db = await Database.connect(stores.database_url)
    metrics, clock = Metrics(), Clock()
    worlds: list[World] = []

    def on_message(topic: str, payload: bytes) -> None:
        if worlds and topic in worlds[0].heard:
            worlds[0].heard[topic].put_nowait(payload)

    bus = Bus(redis_url or stores.redis_url, on_message, settings=settings, metrics=metrics)
    await bus.start()
    streams = Streams(bus, settings)
    delivery = Delivery(
        bus, streams, MemberLists(_no_members), SoleDevices(_no_soles), NO_UPDATES, metrics
    )
    limits = Limits(settings.limits, bus, metrics)
    tokens = ConnectionTokens(settings.token_keys)
    mint = (await lease_generator(db, "test")).minter.mint
    accounts = assemble(
        settings, db, bus, delivery, limits, tokens, mint, guards=guards, now_ms=clock.now_ms
    )
    rpcs = Rpcs([create(accounts)], limits, metrics, enabled=True)
    worlds.append(World(accounts, rpcs, bus, streams, db, clock, settings.home))
    loop = asyncio.get_running_loop()  # no TaskGroup: a fixture's end runs in another task
    tasks = [
        loop.create_task(run()) for run in (bus.run, accounts.presence.run, accounts.devices.run)
    ]
    try:
        yield worlds[0]
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended)
    await bus.close()
    await db.close()


async def _no_members(_chat: int) -> tuple[int, list[AccountId]]:
    raise AssertionError("accounts push to no chats")


async def _no_soles(_accounts: object) -> dict[AccountId, DeviceId]:
    return {}


def _no_update(_written: object, _again: object = None) -> bytes:
    raise AssertionError("accounts write no messages")


NO_UPDATES = _no_update, _no_update

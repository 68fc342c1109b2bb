"""What every benchmark stands on: a platform of its own, tokens, accounts, and a stop-watch."""

import asyncio
import json
import resource
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from msgspec import Struct
from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from loadgen.bench.driver import Driver
from loadgen.bench.procstat import Cost, Processes, between
from loadgen.platform import Platform
from messenger.accounts.tables import account, device
from messenger.client.errors import Json, RpcError
from messenger.client.http import call
from messenger.log.tables import account_head, message
from messenger.tokens import ConnectionTokens
from messenger.wire.codes import ErrorCode

FIRST_ACCOUNT = 2**52
"""Seeded accounts live where the platform never mints ids."""
FIRST_DEVICE = 2**52 + 2**40
HOT_LIMITS = (
    *("msg.account", "msg.chat", "msg.stranger", "read", "view", "sync", "history", "typing"),
)
RAISED = 1e9
MOST_SESSIONS = 18_000
"""For 15,000 and those beside them."""
FILES_KEPT = 600
"""Of the open files that a node may have: for everything but sessions."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0)


class Scale(Struct, frozen=True):
    """How much work and how long; the defaults are those of the performance design."""

    warm_up_s: float = 2.0
    window_s: float = 6.0
    units: int = 50_000
    server_s: float = 2.0
    longest_s: float = 40.0
    """A window ends after 6 s with 50,000 units or 2 s of server CPU, in any case after this."""
    open_s: float = 10.0
    """Of an open loop, after its warm-up."""
    echoes: int = 200
    """Sessions of `echo_rpc`."""
    pairs: int = 100
    readers: int = 1_000
    many_readers: int = 10_000
    logins: int = 5_000
    resumers: int = 2_000
    missed: int = 20
    """Updates that each resumer missed."""
    differences: int = 400
    """Accounts that ask for a difference, 5 times each."""
    chats: int = 40
    changed: int = 5
    storm: int = 15_000
    batches: tuple[int, ...] = (1, 10, 50, 100, 200, 500)
    written_chats: tuple[int, ...] = (1_000, 100_000)
    committers: tuple[int, ...] = (1, 4)
    commit_s: float = 2.0
    """Of one point of `group_commit`."""
    hop_s: float = 6.0
    """Of one of the rounds of `bus_hop`."""
    hop_rounds: int = 3
    slow: int = 100
    """Readers who stop, of `readers`."""
    slow_s: float = 30.0
    plain_s: float = 10.0
    """Of `slow_reader` while all read."""
    posts_per_s: float = 2.0
    """Of `slow_reader`, to all readers."""
    soak_s: float = 660.0
    soak_people: int = 80
    soak_sample_s: float = 60.0
    peer_rounds: int = 3
    churned: int = 12_000
    drained: int = 5_000
    idle: tuple[int, ...] = (5_000, 15_000)
    settle_s: float = 15.0
    subscribers: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    """Rows of the channels that `channel_post` compares."""
    most_subscribers: tuple[int, ...] = (1_000, 100_000, 10_000_000)
    """The same of `channel_post_10m`."""
    posts: int = 300
    """Into each of them."""
    joiners: int = 50
    viewers: int = 1_000
    viewed: int = 5_000
    """Posts that they scroll through."""
    flooders: int = 2_000
    joins_per_s: float = 5_000.0
    flood_s: float = 6.0


class Stage(Struct):
    """One running platform and what the driver knows of it."""

    platform: Platform
    tokens: ConnectionTokens
    processes: Processes
    engine: AsyncEngine
    driver: Driver
    seed: int
    scale: Scale
    config: str = ""
    """What every node of it is told, as TOML."""
    seeded: int = 0
    """Accounts that exist in the database."""

    def token(self, number: int, device: int = 0) -> str:
        """A product token of the seeded account `number`; `device` tells its devices apart."""
        user, did = str(account_id(number)), FIRST_DEVICE + 8 * number + device
        return self.tokens.sign(user, 86_400.0, device=did)


STRANGERS = 1_000_000
"""The first number of accounts that the database does not know: enough for who only connects."""


def account_id(number: int) -> int:
    return FIRST_ACCOUNT + number


@asynccontextmanager
async def staged(seed: int, scale: Scale) -> AsyncIterator[Stage]:
    """A platform of one node; the message limits are raised, not switched off."""
    key = secrets.token_urlsafe(48)
    config = _config(key)
    async with Platform(config=config, processes=1) as platform:
        state = json.loads((platform.home / "platform.json").read_text())
        _, _, rest = state["database_url"].partition("://")
        engine = create_async_engine(f"postgresql+asyncpg://{rest}", poolclass=NullPool)
        driver = Driver(platform.host, platform.port)
        try:
            tokens, processes = ConnectionTokens([key]), Processes(platform.pid)
            yield Stage(platform, tokens, processes, engine, driver, seed, scale, config)
        finally:
            await driver.close()
            await engine.dispose()


def _config(key: str) -> str:
    """Limits are raised by their burst: a bucket that refills at once is full, thus dropped and
    made anew with every message, which no real one is."""
    limits = "\n".join(
        f'"{name}" = {{ burst = {RAISED:.0f}, per_s = 1 }}'
        for name in (*HOT_LIMITS, "chat.create", "api.conn")
    )
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    sessions = f"max_sessions = {min(MOST_SESSIONS, files - FILES_KEPT)}\n"
    rates = f"command_rate = {RAISED:.0f}\n"
    return f'token_keys = ["{key}"]\n{sessions}{rates}[limits]\n{limits}\n'


async def seed_accounts(stage: Stage, count: int) -> range:
    """Numbers of new accounts with a device each, signed in a month ago; privacy as by default."""
    numbers = range(stage.seeded, stage.seeded + count)
    stage.seeded += count
    month_ago = int((time.time() - 30 * 86_400) * 1_000)
    rows = [
        {"account_id": account_id(n), "name": f"load {n}", "name_fold": f"load {n}",
         "created_at": month_ago, "status": 0}
        for n in numbers
    ]  # fmt: skip
    heads = [{"account_id": account_id(n)} for n in numbers]
    devices = [
        {"account_id": account_id(n), "device_id": FIRST_DEVICE + 8 * n, "name": "load",
         "platform": "load", "app": "load", "refresh_hash": b"", "created_at": month_ago}
        for n in numbers
    ]  # fmt: skip
    async with stage.engine.begin() as connection:
        await connection.execute(insert(account), rows)
        await connection.execute(insert(account_head), heads)
        await connection.execute(insert(device), devices)
    return numbers


async def stored(stage: Stage, chats: Iterable[str]) -> dict[str, list[str]]:
    """The texts of these chats in order of seq; service messages have none."""
    held: dict[str, list[str]] = {chat: [] for chat in chats}
    columns = (message.c.chat_id, message.c.body)
    statement = select(*columns).where(message.c.chat_id.in_([int(chat) for chat in held]))
    async with stage.engine.connect() as connection:
        rows = await connection.execute(statement.order_by(message.c.chat_id, message.c.seq))
        for row in rows:
            if row.body is not None:
                held[str(row.chat_id)].append(row.body)
    return held


async def patient(stage: Stage, method: str, data: Json, token: str) -> Json:
    """The rpc over HTTP; a busy platform's "not now" is answered by asking again, as apps do."""
    for pause_s in PAUSES_S:
        try:
            return await call(stage.platform.url, method, data, token)
        except RpcError as error:
            if error.code not in (ErrorCode.OVERLOADED, ErrorCode.TIMEOUT):
                raise
        await asyncio.sleep(pause_s)
    return await call(stage.platform.url, method, data, token)


def fresh_random_id() -> int:
    """Where a run's random ids begin: above those of every earlier run on this machine."""
    return time.time_ns()


async def window(
    stage: Stage, units: Callable[[], int], begin: Callable[[], None] = lambda: None
) -> tuple[int, Cost]:
    """Warm up, then measure long enough; the units that arrived, and what they cost.

    `begin` is called when the window opens: samples of the warm-up are dropped there."""
    scale = stage.scale
    await asyncio.sleep(scale.warm_up_s)
    begin()
    before, started = stage.processes.read(), units()

    def enough() -> bool:
        seconds, done = time.monotonic() - before.at_s, units() - started
        if seconds < scale.window_s:
            return False
        spent_s = between(before, stage.processes.read()).server_s
        return seconds >= scale.longest_s or done >= scale.units or spent_s >= scale.server_s

    while not enough():
        await asyncio.sleep(min(0.25, scale.window_s))
        stage.driver.check_open()
    after = stage.processes.read()
    return units() - started, between(before, after)

"""What every benchmark stands on: a platform of its own, tokens, accounts, and a stop-watch."""

import asyncio
import json
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
from messenger.accounts.tables import account
from messenger.log.tables import account_head, message
from messenger.tokens import ConnectionTokens

WARM_UP_S = 2.0
WINDOW_S = 6.0
UNITS = 50_000
SERVER_S = 2.0
LONGEST_S = 40.0
"""A window ends after 6 s with 50,000 units or 2 s of server CPU, and in any case after this."""
FIRST_ACCOUNT = 2**52
"""Seeded accounts live where the platform never mints ids."""
FIRST_DEVICE = 2**52 + 2**40
HOT_LIMITS = ("msg.account", "msg.chat", "msg.stranger", "read", "sync", "history", "typing")
RAISED = 1e9


class Stage(Struct):
    """One running platform and what the driver knows of it."""

    platform: Platform
    tokens: ConnectionTokens
    processes: Processes
    engine: AsyncEngine
    driver: Driver
    seed: int

    def token(self, number: int, device: int = 0) -> str:
        """A product token of the seeded account `number`; `device` tells its devices apart."""
        user, did = str(account_id(number)), FIRST_DEVICE + 8 * number + device
        return self.tokens.sign(user, 86_400.0, device=did)


def account_id(number: int) -> int:
    return FIRST_ACCOUNT + number


@asynccontextmanager
async def staged(seed: int) -> AsyncIterator[Stage]:
    """A platform of one node; the message limits are raised, not switched off."""
    key = secrets.token_urlsafe(48)
    async with Platform(config=_config(key), processes=1) as platform:
        state = json.loads((platform.home / "platform.json").read_text())
        _, _, rest = state["database_url"].partition("://")
        engine = create_async_engine(f"postgresql+asyncpg://{rest}", poolclass=NullPool)
        driver = Driver(platform.host, platform.port)
        try:
            yield Stage(
                platform, ConnectionTokens([key]), Processes(platform.pid), engine, driver, seed
            )
        finally:
            await driver.close()
            await engine.dispose()


def _config(key: str) -> str:
    """Settings of the measured platform, said in every row's parameters by their names."""
    limits = "\n".join(
        f'"{name}" = {{ burst = {RAISED:.0f}, per_s = {RAISED:.0f} }}'
        for name in (*HOT_LIMITS, "chat.create", "api.conn")
    )
    return f'token_keys = ["{key}"]\ncommand_rate = {RAISED:.0f}\n[limits]\n{limits}\n'


async def seed_accounts(stage: Stage, count: int) -> None:
    """Accounts 0..count-1, as if they had signed in a month ago; privacy as by default."""
    month_ago = int((time.time() - 30 * 86_400) * 1_000)
    rows = [
        {"account_id": account_id(n), "name": f"load {n}", "name_fold": f"load {n}",
         "created_at": month_ago, "status": 0}
        for n in range(count)
    ]  # fmt: skip
    heads = [{"account_id": account_id(n)} for n in range(count)]
    async with stage.engine.begin() as connection:
        known = await connection.scalar(
            select(account.c.account_id).where(account.c.account_id == account_id(count - 1))
        )
        if known is None:
            await connection.execute(account.delete().where(account.c.account_id >= FIRST_ACCOUNT))
            await connection.execute(insert(account), rows)
            await connection.execute(
                account_head.delete().where(account_head.c.account_id >= FIRST_ACCOUNT)
            )
            await connection.execute(insert(account_head), heads)


async def stored(stage: Stage, chats: Iterable[int]) -> list[tuple[int, int, str]]:
    """(chat, seq, text) of every message of these chats, by chat and seq."""
    columns = (message.c.chat_id, message.c.seq, message.c.body)
    statement = select(*columns).where(message.c.chat_id.in_(list(chats)))
    async with stage.engine.connect() as connection:
        rows = await connection.execute(statement.order_by(message.c.chat_id, message.c.seq))
        return [(row.chat_id, row.seq, row.body) for row in rows]


async def window(stage: Stage, units: Callable[[], int]) -> tuple[int, Cost]:
    """Warm up, then measure long enough; the units that arrived, and what they cost."""
    await asyncio.sleep(WARM_UP_S)
    before, started = stage.processes.read(), units()
    while True:
        await asyncio.sleep(0.25)
        stage.driver.check_open()
        seconds, done = time.monotonic() - before.at_s, units() - started
        if seconds >= LONGEST_S:
            break
        if seconds >= WINDOW_S and done >= UNITS:
            break
        if seconds >= WINDOW_S and between(before, stage.processes.read()).server_s >= SERVER_S:
            break
    after = stage.processes.read()
    return units() - started, between(before, after)

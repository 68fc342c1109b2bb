"""Looks at given stores before anything starts, so that a wrong address is one clear line."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from messenger.addresses import redis_seeds

OLDEST_POSTGRES = 15
OLDEST_REDIS = 7
RETRY_S = 0.5
ASK_S = 5.0

Answer = TypeVar("Answer")


class StartRefusedError(Exception):
    """We cannot start like this; the text is one line that names the setting."""


class NotThereError(Exception):
    """Nothing answers yet; it may be starting."""


async def check_database(url: str, patience_s: float) -> None:
    """A PostgreSQL new enough lets us in. One that is not there yet is waited for."""
    version = await _patiently(partial(_postgres_version, url), patience_s)
    if version < OLDEST_POSTGRES:
        raise StartRefusedError(
            f"DATABASE_URL: PostgreSQL {version} is too old; {OLDEST_POSTGRES} or later"
        )


async def check_redis(url: str, patience_s: float) -> None:
    """A Redis new enough lets us in and forgets nothing by itself."""
    info = await _patiently(partial(_redis_info, url), patience_s)
    version = str(info["redis_version"])
    if int(version.split(".")[0]) < OLDEST_REDIS:
        raise StartRefusedError(f"REDIS_URL: Redis {version} is too old; {OLDEST_REDIS} or later")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":  # call state must not vanish
        raise StartRefusedError(f"REDIS_URL: maxmemory-policy is {policy}; set noeviction")


async def _patiently(ask: Callable[[], Awaitable[Answer]], patience_s: float) -> Answer:
    loop = asyncio.get_running_loop()
    until = loop.time() + patience_s
    while True:
        try:
            return await ask()
        except NotThereError as error:
            if loop.time() > until:
                raise StartRefusedError(str(error)) from None
        await asyncio.sleep(RETRY_S)


async def _postgres_version(url: str) -> int:
    try:
        connection = await asyncpg.connect(url.replace("+asyncpg", "", 1), timeout=ASK_S)
    except (asyncpg.CannotConnectNowError, OSError, TimeoutError) as error:
        raise NotThereError(
            f"DATABASE_URL: no PostgreSQL at {place(url)}: {_line(error)}"
        ) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise StartRefusedError(f"DATABASE_URL: {_line(error)}") from None
    try:
        return connection.get_server_version().major
    finally:
        await connection.close(timeout=ASK_S)


async def _redis_info(url: str) -> dict[str, Any]:
    """Of the first host that answers."""
    *others, last = redis_seeds(url)
    for seed in others:
        try:
            return await _info_of(seed)
        except NotThereError:
            continue  # some of a cluster may be down
    return await _info_of(last)


async def _info_of(url: str) -> dict[str, Any]:
    client = Redis.from_url(
        url.replace("+cluster", "", 1), socket_timeout=ASK_S, socket_connect_timeout=ASK_S
    )
    try:
        return dict(await client.info())
    except (AuthenticationError, ResponseError) as error:
        raise StartRefusedError(f"REDIS_URL: {_line(error)}") from None
    except (RedisError, OSError) as error:
        raise NotThereError(f"REDIS_URL: no Redis at {place(url)}: {_line(error)}") from None
    finally:
        await client.aclose()


def place(url: str) -> str:
    """Host and port of an address, without its password."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.query or "an unnamed host"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

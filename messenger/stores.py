"""Where a command finds PostgreSQL and Redis: given, of the running platform, or its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from sqlalchemy.exc import DBAPIError

from messenger import state
from messenger.db.citus import NoCitusError, distribute
from messenger.db.engine import StoreDown
from messenger.db.migrate import migrate, newest, schema_version
from messenger.embedded.servers import Servers, embedded
from messenger.preflight import StartRefusedError, check_database, check_redis
from messenger.settings import Settings

PATIENCE_S = 5.0  # a developer waits for a typing error no longer
PRODUCTION_PATIENCE_S = 30.0  # stores may still be starting, or failing over


@asynccontextmanager
async def opened(
    settings: Settings, *, redis_nodes: int | None = None
) -> AsyncIterator[tuple[Settings, Servers | None]]:
    """Settings with both addresses, checked, and the servers that were started for them."""
    if settings.database_url is not None and settings.redis_url is not None:
        if redis_nodes is not None:
            raise StartRefusedError("--redis-nodes: REDIS_URL is given, so no Redis is started")
        await check(settings.database_url, settings.redis_url, settings.env)
        yield settings, None
        return
    async with embedded(settings.home, redis_nodes=redis_nodes) as servers:
        yield _at(settings, servers.database_url, servers.redis_url), servers


@asynccontextmanager
async def borrowed(settings: Settings) -> AsyncIterator[Settings]:
    """The same for a short command: it may use the servers of a platform that runs here."""
    platform = state.running(settings.home) if settings.embedded else None
    if platform is not None:
        yield _at(settings, platform.database_url, platform.redis_url)
        return
    async with opened(settings) as (ready, _):
        yield ready


async def check(database_url: str, redis_url: str, env: str) -> None:
    """Both stores let us in and are new enough. Raises StartRefusedError."""
    patience = PRODUCTION_PATIENCE_S if env == "production" else PATIENCE_S
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(check_database(database_url, patience), name="check postgres")
            tasks.create_task(check_redis(redis_url, patience), name="check redis")
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def migrated(url: str) -> str:
    """Bring the tables to this version's revision; returns it. Raises StartRefusedError.

    A newer database is refused here, though a node accepts it: during a rolling upgrade an old
    node may come back, but nobody should go on with an old version by accident.
    """
    try:
        found = await schema_version(url)
        if found is not None and found > newest():
            raise StartRefusedError(
                f"the database is at revision {found}, this version knows {newest()}: "
                "run the newer peyk"
            )
        return await migrate(url)
    except (StoreDown, DBAPIError) as error:
        line = str(error).splitlines()[0][:200]
        raise StartRefusedError(f"DATABASE_URL: cannot migrate: {line}") from None


async def spread(url: str) -> list[str]:
    """Lay the tables out over the workers of Citus; a line each. Raises StartRefusedError."""
    try:
        placed = await distribute(url)
    except (NoCitusError, StoreDown) as error:
        raise StartRefusedError(f"--citus: {error}") from None
    except DBAPIError as error:
        raise StartRefusedError(f"--citus: {error.orig}") from None
    return [f"{one.table}: by {one.key or 'nothing, whole on each worker'}" for one in placed]


def _at(settings: Settings, database_url: str, redis_url: str) -> Settings:
    return msgspec.structs.replace(settings, database_url=database_url, redis_url=redis_url)

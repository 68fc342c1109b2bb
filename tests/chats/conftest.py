"""One world for the whole run; every test makes people and chats of its own."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from messenger.db.engine import Database
from messenger.feature import NameGuard
from messenger.settings import Settings
from tests.chats.world import Person, World
from tests.conftest import Stores


@pytest.fixture(scope="session")
def guards() -> list[NameGuard]:
    """What the composition root fills later; empty unless a test adds to it."""
    return []


@pytest_asyncio.fixture(scope="session")
async def platform(
    stores: Stores, settings: Settings, guards: list[NameGuard]
) -> AsyncIterator[World]:
    database = await Database.connect(stores.database_url)
    async with World(settings, database, guards).running() as world:
        yield world
    await database.close()


@pytest.fixture
def world(platform: World, guards: list[NameGuard]) -> Iterator[World]:
    yield platform
    platform.clock.ahead_ms = 0
    guards.clear()


@pytest_asyncio.fixture
async def mina(world: World) -> Person:
    return await world.person("مینا")


@pytest_asyncio.fixture
async def reza(world: World) -> Person:
    return await world.person("رضا")


@pytest_asyncio.fixture
async def sara(world: World) -> Person:
    return await world.person("سارا")

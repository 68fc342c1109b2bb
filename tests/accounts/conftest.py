"""One world for all tests of this folder; they share its stores and make fresh people."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from messenger.feature import NameGuard
from messenger.settings import Settings
from tests.accounts.world import Person, World, running
from tests.conftest import Stores


@pytest.fixture(scope="session")
def guards() -> list[NameGuard]:
    """What the composition root fills later; empty unless a test adds to it."""
    return []


@pytest_asyncio.fixture(scope="session")
async def node(
    stores: Stores, settings: Settings, tmp_path_factory: pytest.TempPathFactory, guards: Any
) -> AsyncIterator[World]:
    home = tmp_path_factory.mktemp("accounts")
    async with running(stores, msgspec.structs.replace(settings, home=home), guards) as world:
        yield world


@pytest.fixture
def world(node: World, guards: list[NameGuard]) -> Iterator[World]:
    yield node
    node.clock.ahead_ms = 0
    guards.clear()


@pytest_asyncio.fixture
async def mina(world: World) -> Person:
    return await world.person("مینا")


@pytest_asyncio.fixture
async def reza(world: World) -> Person:
    return await world.person("رضا")

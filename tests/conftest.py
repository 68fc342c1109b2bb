"""What every test may ask for: real PostgreSQL and Redis, and settings that point at them."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from msgspec import Struct

from messenger.db.migrate import migrate
from messenger.embedded.servers import embedded
from messenger.home import ready_settings
from messenger.settings import Settings
from tests.support.homes import temporary_home
from tests.support.platform import Platform, running


class Stores(Struct, frozen=True):
    """Addresses of the servers of this run; the database is migrated."""

    database_url: str
    redis_url: str


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], uvloop.Loop]]:
    """Tests run on the loop that nodes run on."""
    return {"uvloop": uvloop.new_event_loop}


def pytest_configure() -> None:
    """A developer's own configuration must not reach the tests."""
    for name in list(os.environ):
        if name.startswith("PEYK_") or name in ("DATABASE_URL", "REDIS_URL"):
            del os.environ[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first, so that workers side by side end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """The folder of this run's servers, secrets and codes."""
    with temporary_home() as home:
        yield home


@pytest.fixture(scope="session")
async def stores(home: Path) -> AsyncIterator[Stores]:
    """One PostgreSQL and one Redis for the whole run; tests make fresh ids, not fresh stores.

    A test that kills a server starts its own pair with `embedded`.
    """
    async with embedded(home) as servers:
        await migrate(servers.database_url)
        yield Stores(servers.database_url, servers.redis_url)


@pytest.fixture(scope="session")
def settings(stores: Stores, home: Path) -> Settings:
    """Complete settings of a node on the stores of this run."""
    environ = {"DATABASE_URL": stores.database_url, "REDIS_URL": stores.redis_url}
    return ready_settings(None, environ, {"home": str(home), "drain_notice": 0, "drain_rate": 0})


@pytest.fixture(scope="session")
async def platform(settings: Settings) -> AsyncIterator[Platform]:
    """One node that all tests of the run share; a test that restarts nodes runs its own."""
    async with running(settings) as platform:
        yield platform

"""Two nodes on the stores of the run, set so that windows are short and repairs are needed."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from messenger.settings import Settings
from tests.support.platform import Platform, running
from tests.support.rows import Rows


@pytest.fixture(scope="session")
def impatient(settings: Settings) -> Settings:
    """No rate limits; a hot window that a short absence outruns; differences in many slices."""
    limits = {
        name: msgspec.structs.replace(rule, burst=1e6, per_s=1e6)
        for name, rule in settings.limits.items()
    }
    return msgspec.structs.replace(
        settings,
        limits=limits,
        command_rate=1e6,
        hot_window=60,
        recovery_max=25,
        difference_slice=20,
    )


@pytest.fixture(scope="module")
async def small_nodes(impatient: Settings) -> AsyncIterator[list[Platform]]:
    """All chats here are small: events go to each member."""
    async with running(impatient) as one, running(impatient) as two:
        yield [one, two]


@pytest.fixture(scope="module")
async def big_nodes(impatient: Settings) -> AsyncIterator[list[Platform]]:
    """Chats of more than three members are big."""
    settings = msgspec.structs.replace(impatient, small_chat=3)
    async with running(settings) as one, running(settings) as two:
        yield [one, two]


@pytest.fixture
def rows(settings: Settings) -> Rows:
    return Rows(settings.database_url or "")

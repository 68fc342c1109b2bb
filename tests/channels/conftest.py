"""One studio for the whole folder; every test makes people and channels of its own."""

from collections.abc import AsyncIterator

import pytest

from messenger.settings import Settings
from tests.channels.studio import Person, Studio, a_studio


@pytest.fixture(scope="session")
async def studio(settings: Settings) -> AsyncIterator[Studio]:
    async with a_studio(settings) as studio:
        yield studio


@pytest.fixture
async def mina(studio: Studio) -> Person:
    return await studio.person("مینا")


@pytest.fixture
async def reza(studio: Studio) -> Person:
    return await studio.person("رضا")


@pytest.fixture
async def sara(studio: Studio) -> Person:
    return await studio.person("سارا")

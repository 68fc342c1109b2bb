"""One office for the whole run; every test makes people and chats of its own."""

from collections.abc import AsyncIterator

import pytest

from tests.conftest import Stores
from tests.messages.office import Office, an_office


@pytest.fixture(scope="session")
async def office(stores: Stores) -> AsyncIterator[Office]:
    async with an_office(stores) as office:
        yield office

"""A pool on the run's database, and empty databases for tests that change the schema."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import pytest

from messenger.db.engine import Database
from tests.conftest import Stores

EmptyDatabase = Callable[[], AbstractAsyncContextManager[str]]


@pytest.fixture(scope="session")
async def database(stores: Stores) -> AsyncIterator[Database]:
    database = await Database.connect(stores.database_url)
    yield database
    await database.close()


@pytest.fixture(scope="session")
def empty_database(stores: Stores, database: Database) -> EmptyDatabase:
    """`async with empty_database() as url`: dropped at the end."""

    @asynccontextmanager
    async def make() -> AsyncIterator[str]:
        name = f"t_{uuid4().hex}"
        async with database.statement() as connection:
            await connection.exec_driver_sql(f"create database {name}")
        yield stores.database_url.replace("/peyk?", f"/{name}?")
        async with database.statement() as connection:
            await connection.exec_driver_sql(f"drop database {name} with (force)")

    return make

"""Embedded servers: real ones, that come back after every kind of end."""

import asyncpg

from messenger.settings import Settings
from tests.conftest import Stores


async def test_given_no_servers_when_the_stores_start_then_both_take_writes(
    stores: Stores, settings: Settings
) -> None:
    connection = await asyncpg.connect(stores.database_url.replace("+asyncpg", ""))
    assert await connection.fetchval("SELECT count(*) FROM account") >= 0
    await connection.close()
    assert settings.token_keys

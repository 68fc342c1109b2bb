"""A commit whose time ends at any moment: an answer, or "the store is down", never a bug."""

import asyncio
import time

from messenger.db.engine import Database, StoreDownError
from messenger.ids import ChatId
from messenger.log.rendering import Many
from tests.log.conftest import a_send

CHAT = ChatId(1)
STEPS = 120
STEP_S = 0.000_25


async def test_given_a_deadline_at_any_moment_when_committed_then_rows_or_the_store_is_down(
    database: Database,
) -> None:
    loop = asyncio.get_running_loop()
    down = 0
    for step in range(STEPS):
        many = Many(database)
        try:
            now = int(time.time() * 1000)
            await many.commit([a_send(CHAT, step + 1)], now, loop.time() + step * STEP_S)
        except StoreDownError:
            down += 1
        finally:
            await many.drop()

    assert down > 0

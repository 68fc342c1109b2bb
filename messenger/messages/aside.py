"""Runs what a synchronous handler cannot await, and settles its answer.

Handlers of hot paths answer without a coroutine; the rare turn of such a path that needs a look
into the database (a scheduled send, the first typing in a chat) goes through here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from messenger.db.engine import StoreDown
from messenger.feature import Answer, Later, Refused
from messenger.wire.codes import ErrorCode

WAITING = 1_000  # beyond it: OVERLOADED
WORKERS = 2  # of the pool's connections
RETRY_MS = 1_000

log = logging.getLogger(__name__)

Question = Callable[[], Awaitable[Answer]]


class Aside:
    """A bounded queue with a few workers; answers may overtake each other."""

    def __init__(self) -> None:
        self._waiting: asyncio.Queue[tuple[Question, Later]] = asyncio.Queue(WAITING)

    def ask(self, question: Question) -> Later:
        """Answer with what `question` returns or refuses."""
        later = Later()
        try:
            self._waiting.put_nowait((question, later))
        except asyncio.QueueFull:
            raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": RETRY_MS}) from None
        return later

    async def run(self) -> None:
        """Answer until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(WORKERS):
                tasks.create_task(self._work(), name=f"aside-{number}")

    async def _work(self) -> None:
        while True:
            question, later = await self._waiting.get()
            try:
                later.settle(await question())
            except Refused as refused:
                later.settle(refused)
            except StoreDown:
                later.settle(Refused(ErrorCode.OVERLOADED, {"retry_after_ms": RETRY_MS}))
            except Exception:  # the root of a task: it outlives a bug in one question
                log.exception("rpc failed")
                later.settle(Refused(ErrorCode.INTERNAL))

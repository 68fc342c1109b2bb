"""Work that somebody must own although nobody waits for it: an rpc's handler, a hole to be read.

A bug in one of them is logged and ends only itself; all end with the owner.
"""

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

from messenger.bus.link import BusDown
from messenger.db.engine import StoreDown

log = logging.getLogger(__name__)


class Tasks:
    """A task group that is entered later than it is known."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None

    @property
    def running(self) -> bool:
        return self._group is not None

    async def __aenter__(self) -> None:
        self._group = await asyncio.TaskGroup().__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        group, self._group = self._group, None
        if group is not None:
            await group.__aexit__(kind, error, trace)

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> None:
        """Run it; outside the block it is dropped, since nobody is left to hear the answer."""
        if self._group is None:
            coroutine.close()
        else:
            self._group.create_task(_guarded(coroutine, name), name=name)


async def _guarded(coroutine: Coroutine[Any, Any, None], name: str) -> None:
    try:
        await coroutine
    except (BusDown, StoreDown) as down:
        log.warning("task gave up", extra={"task": name, "why": type(down).__name__})
    except Exception:
        log.exception("task failed", extra={"task": name})

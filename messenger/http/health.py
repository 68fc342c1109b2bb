"""Is this node fit for traffic, and what does it miss: the facts behind /health/ready.

A lost database leaves the node ready: every node misses the same one, and taking all of them out
would turn an outage into a storm of reconnects.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import DBAPIError

from messenger.db.engine import StoreDown
from messenger.gateway.gateway import Gateway

LAG_S = 5.0
BUS_AWAY_S = 10.0
PROBE_S = 2.0
PROBE_TIMEOUT_S = 2.0

log = logging.getLogger(__name__)


class Dependency:
    """Whether it answers, and since when that has been so."""

    def __init__(self) -> None:
        self.up = True  # a node starts only when all of them answer
        self._since = datetime.now(UTC)
        self._changed = time.monotonic()

    def found(self, *, up: bool) -> None:
        if up != self.up:
            self.up, self._since, self._changed = up, datetime.now(UTC), time.monotonic()

    def away_s(self) -> float:
        return 0.0 if self.up else time.monotonic() - self._changed

    def shown(self) -> Mapping[str, Any]:
        return {"state": "up" if self.up else "down", "since": self._since}


class Health:
    """`probe` asks the database anything, and raises StoreDown where it does not answer."""

    def __init__(
        self,
        gateway: Gateway,
        bus_up: Callable[[], bool],
        probe: Callable[[], Awaitable[None]],
        step: Callable[[], int] = lambda: 0,
        shards: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        """`step`: of the shedding ladder; `shards`: each Redis by its address, whether it is up."""
        self._shards = shards
        self._shard: dict[str, Dependency] = {}
        self._gateway = gateway
        self._bus_up = bus_up
        self._probe = probe
        self._step = step
        self._database, self._bus = Dependency(), Dependency()
        self._due = asyncio.get_running_loop().time()
        self._late = 0.0
        self._missing: dict[str, datetime] = {}

    def bus_changed(self) -> None:
        """Links went or came back."""
        self._bus.found(up=self._bus_up())
        shards = self._shards()
        self._shard = {name: self._shard.get(name) or Dependency() for name in shards}
        for name, up in shards.items():
            self._shard[name].found(up=up)

    def report(self) -> tuple[bool, Mapping[str, Any]]:
        """(ready, what an operator reads)."""
        self.bus_changed()
        lag = max(self._late, asyncio.get_running_loop().time() - self._due)
        reasons = {
            "draining": self._gateway.draining,
            "loop lag": lag > LAG_S,
            "redis bus": self._bus.away_s() > BUS_AWAY_S,
        }
        why = [name for name, holds in reasons.items() if holds]
        now = datetime.now(UTC)
        self._missing = {name: self._missing.get(name, now) for name in why}
        return not why, {
            "ready": not why,
            "why": why,
            "not_ready_since": min(self._missing.values(), default=None),
            "roles": self._gateway.settings.roles,
            "ladder_step": self._step(),
            "draining": self._gateway.draining,
            "sessions": self._gateway.sessions,
            "loop_lag_s": round(max(0.0, lag), 3),
            "postgresql": self._database.shown(),
            "redis_bus": self._bus.shown(),
            "redis_shards": {name: shard.shown() for name, shard in self._shard.items()},
        }

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_loop(), name="health loop")
            tasks.create_task(self._watch_database(), name="health database")

    async def _watch_loop(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._due = loop.time() + PROBE_S
            await asyncio.sleep(PROBE_S)
            self._late = loop.time() - self._due
            self.report()  # so that `since` is right to a few seconds when nobody asks

    async def _watch_database(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    await self._probe()
            except (StoreDown, DBAPIError, TimeoutError) as error:
                if self._database.up:
                    log.error("database does not answer", extra={"why": str(error)[:200]})
                self._database.found(up=False)
            else:
                self._database.found(up=True)
            await asyncio.sleep(PROBE_S)

"""Samples this node's load, climbs the shedding ladder, and answers whether to drop something."""

import asyncio
import logging
from collections.abc import Callable

from messenger.bus.bus import Bus
from messenger.delivery.shedding import Level, Load, pressure, smoothed, step
from messenger.feature import Shed
from messenger.metrics import Metrics
from messenger.settings import Settings

SAMPLE_S = 0.1

log = logging.getLogger(__name__)


class Ladder:
    """`sheds(what)` is given to whatever does that work; a call costs a comparison."""

    def __init__(
        self, waiting: Callable[[], int], bus: Bus, settings: Settings, metrics: Metrics
    ) -> None:
        """`waiting`: sends that have no answer yet."""
        self._waiting = waiting
        self._bus = bus
        self._commit_queue = settings.commit_queue
        self._bus_queue = settings.bus_queue
        self._counts = {what: metrics.shed.labels(what.name.lower()) for what in Shed}
        self._gauge = metrics.ladder_step
        self._level = Level()
        self._held: int | None = None
        self.load = Load(0.0, 0.0, 0.0)
        self.on_load: Callable[[Load], None] = lambda _load: None
        """Told of every sample."""

    @property
    def step(self) -> int:
        """The highest rung that is shed now; 0: none."""
        return self._level.step if self._held is None else self._held

    def sheds(self, what: Shed) -> bool:
        """Whether to drop `what` now; counted if so: ask only when there is something to drop."""
        if not self.is_shedding(what):
            return False
        self._counts[what].inc()
        return True

    def is_shedding(self, what: Shed) -> bool:
        """The same for those who do less of `what`, or later, and drop nothing: never counted."""
        return what <= self.step

    def hold(self, step: int | None) -> None:
        """Stay on this step whatever the load is; None: by the load again. No command asks for it
        yet: tests climb by it."""
        before, self._held = self.step, step
        self._tell(before)

    async def run(self) -> None:
        """Sample until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(SAMPLE_S)
            now = loop.time()
            self.observe(max(0.0, now - began - SAMPLE_S), now)

    def observe(self, lag_s: float, now: float) -> None:
        """One sample: the loop was `lag_s` late."""
        fullest = max((shard.queued_bytes for shard in self._bus.shards), default=0)
        self.load = Load(
            smoothed(self.load.loop_lag_s, lag_s),
            self._waiting() / self._commit_queue,
            fullest / self._bus_queue,
        )
        before = self.step
        self._level = step(self._level, pressure(self.load), now)
        self._tell(before)
        self.on_load(self.load)

    def _tell(self, before: int) -> None:
        if self.step == before:
            return
        self._gauge.set(self.step)
        log.warning(
            "shedding changed",
            extra={
                "step": self.step,
                "before": before,
                "sheds": [what.name.lower() for what in Shed if what <= self.step],
                "loop_lag_s": round(self.load.loop_lag_s, 3),
                "commit_fill": round(self.load.commit_fill, 3),
                "bus_fill": round(self.load.bus_fill, 3),
            },
        )

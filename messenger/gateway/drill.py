"""An operator drops a share of the sessions, to see how everybody comes back.

Closed with 3011, which every SDK answers by reconnecting; spread over a window, as real losses of
radio cells are. Answers on their way are lost, as in a real drop: clients repeat by random_id.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from messenger.wire.codes import CloseCode

if TYPE_CHECKING:
    from messenger.gateway.session import Session

STEP_S = 0.1


class DrillRunningError(Exception):
    """One at a time: two together would drop more than either says."""


class Dropped(Struct, frozen=True):
    """What a drill does on this node."""

    sessions: int
    """Connected when it began."""
    closing: int
    window_s: float
    code: int = int(CloseCode.FORCE_RECONNECT)


class Drill:
    """The sessions that are about to be dropped."""

    def __init__(self) -> None:
        self._due: deque[tuple[float, Session]] = deque()

    def start(
        self, sessions: Sequence["Session"], share: float, window_s: float, now: float
    ) -> Dropped:
        """Choose by chance; the first goes with the next step. Raises DrillRunningError."""
        if self._due:
            raise DrillRunningError
        chosen = random.sample(sessions, round(len(sessions) * share))
        pace_s = window_s / max(1, len(chosen))
        self._due.extend((now + pace_s * number, one) for number, one in enumerate(chosen))
        return Dropped(len(sessions), len(chosen), window_s)

    async def run(self) -> None:
        """Close whoever is due until cancelled."""
        while True:
            self._step(time.monotonic())
            await asyncio.sleep(STEP_S)

    def _step(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            self._due.popleft()[1].close(CloseCode.FORCE_RECONNECT)

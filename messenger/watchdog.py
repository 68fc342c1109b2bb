"""Says where the loop stands still: a thread that misses its beat writes the loop's stack.

The loop cannot say it itself. Restarting is the supervisor's work, after 10 s of silence.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable

BEAT_S = 0.2
STALL_S = 1.0
FRAMES = 20

log = logging.getLogger(__name__)


class Watchdog:
    """`run` beats on the loop, inside the block; the thread listens."""

    def __init__(
        self, stall_s: float = STALL_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stall_s = stall_s
        self._clock = clock
        self._loop_thread = threading.get_ident()
        self._beat = clock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="watchdog", daemon=True)
        self.stalls = 0

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join(BEAT_S * 5)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self._beat = self._clock()
            await asyncio.sleep(BEAT_S)

    def _listen(self) -> None:
        told: float | None = None
        heard = self._clock()
        while not self._stopped.wait(BEAT_S):
            now, beat = self._clock(), self._beat
            slept, heard = now - heard, now
            if told is not None and beat > told:
                log.warning("loop goes on", extra={"stalled_s": round(beat - told, 3)})
                told = None
            if now - beat <= self._stall_s or told is not None:
                continue
            if slept > self._stall_s:
                continue  # we were stopped as well: the whole process was
            told = beat
            self.stalls += 1
            log.warning(  # a machine without a free core does it too: no bug by itself
                "loop stalled: what it does is in stack",
                extra={"stalled_s": round(now - beat, 3), "stack": self._stack()},
            )

    def _stack(self) -> list[str]:
        """File, line and function of the loop's thread, innermost last; never a value."""
        frame = sys._current_frames().get(self._loop_thread)
        frames = traceback.extract_stack(frame)[-FRAMES:]
        return [f"{one.filename}:{one.lineno} {one.name}" for one in frames]

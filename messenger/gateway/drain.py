"""A node leaves on purpose: it sends its sessions away paced, lest they all return at once.

A session works normally until its turn; then it is no longer read, what it asked for is answered
(for at most `ANSWERS_S`), and it is closed with 3001. The least busy go first.
"""

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from messenger.gateway.session import Session

STEP_S = 0.1
ANSWERS_S = 2.0


class Drain:
    """The sessions that wait for their turn to go, and those whose answers are still to come."""

    def __init__(self, rate: float) -> None:
        """`rate`: closes per second, 0 = all at once."""
        self._rate = rate
        self._waiting: list[Session] = []
        self._leaving: dict[Session, float] = {}

    def add(self, session: "Session") -> None:
        self._waiting.append(session)

    async def run(self) -> None:
        """Send away whoever waits until cancelled."""
        while True:
            self._step(time.monotonic())
            await asyncio.sleep(STEP_S)

    def _step(self, now: float) -> None:
        if self._waiting:
            self._waiting.sort(key=lambda session: session.in_flight, reverse=True)
            share = max(1, int(self._rate * STEP_S)) if self._rate else len(self._waiting)
            for _ in range(min(share, len(self._waiting))):
                session = self._waiting.pop()
                session.stop_reading()
                self._leaving[session] = now + ANSWERS_S
        for session, until in list(self._leaving.items()):
            if session.idle or now >= until:
                del self._leaving[session]
                session.leave()

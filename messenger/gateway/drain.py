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
LAST_S = 20.0  # the last one goes within; process managers kill after 40 s, uvicorn after 30


class Drain:
    """The sessions that wait for their turn to go, and those whose answers are still to come."""

    def __init__(self, rate: float) -> None:
        """`rate`: closes per second, 0 = all at once; more where the last would be too late."""
        self._rate = rate
        self._pace = 0.0
        """Closes a second of this drain; 0: nobody waits."""
        self._waiting: list[Session] = []
        self._leaving: dict[Session, float] = {}

    def takes_s(self, sessions: int) -> float:
        """How long it takes to send so many away."""
        return min(LAST_S, sessions / self._rate) if self._rate else 0.0

    def add(self, session: "Session") -> None:
        self._waiting.append(session)

    async def run(self) -> None:
        """Send away whoever waits until cancelled."""
        while True:
            self._step(time.monotonic())
            await asyncio.sleep(STEP_S)

    def _step(self, now: float) -> None:
        if self._waiting:
            self._pace = max(self._pace, self._rate, len(self._waiting) / LAST_S)
            self._waiting.sort(key=_activity, reverse=True)
            share = max(1, int(self._pace * STEP_S)) if self._rate else len(self._waiting)
            for _ in range(min(share, len(self._waiting))):
                session = self._waiting.pop()
                session.stop_reading()
                self._leaving[session] = now + ANSWERS_S
        for session, until in list(self._leaving.items()):
            if session.idle or now >= until:
                del self._leaving[session]
                session.leave()


def _activity(session: "Session") -> tuple[int, int]:
    """Commands in flight, then commands of the last seconds."""
    return session.in_flight, session.count

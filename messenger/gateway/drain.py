"""A node leaves on purpose: it sends its sessions away paced, lest they all return at once."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from messenger.wire.codes import CloseCode

if TYPE_CHECKING:
    from messenger.gateway.connection import GatewayProtocol

STEP_S = 0.1


class Drain:
    """The connections that wait for their turn to go."""

    def __init__(self, rate: float) -> None:
        """`rate`: closes per second, 0 = all at once."""
        self._rate = rate
        self._waiting: deque[GatewayProtocol] = deque()

    def add(self, connection: "GatewayProtocol") -> None:
        """It works normally until its turn."""
        self._waiting.append(connection)

    async def run(self) -> None:
        """Send away whoever waits until cancelled."""
        while True:
            share = max(1, int(self._rate * STEP_S)) if self._rate else len(self._waiting)
            for _ in range(min(share, len(self._waiting))):
                self._waiting.popleft().close(CloseCode.SHUTDOWN)
            await asyncio.sleep(STEP_S)

"""Whether a node's loop turns, told by its operations port; a node that starts or drains has none.

Killing one of those would be worse than waiting: what starts waits for the stores, and five deaths
in a minute end the platform; what drains still holds people's sockets.
"""

import asyncio
from enum import Enum

STALLED_S = 10.0  # a loop that answers nothing for so long is restarted
ABSENT_S = 90.0  # a start waits 30 s for each store and then ends by itself; a drain takes 40


class Sign(Enum):
    """What one look found."""

    TURNS = "answered, whatever it said"
    SILENT = "the kernel took the connection, and nobody answered in time"
    ABSENT = "nothing listens"


class Pulse:
    """Of one process; pure: signs and times come in."""

    def __init__(
        self, now: float, stalled_s: float = STALLED_S, absent_s: float = ABSENT_S
    ) -> None:
        self._stalled_s = stalled_s
        self._absent_s = absent_s
        self._turned = now
        self._listened = now

    def feel(self, sign: Sign, now: float) -> str | None:
        """Why it must be killed; None: it lives."""
        if sign is not Sign.SILENT:
            self._turned = now  # without a port a turning loop could not say so
        if sign is not Sign.ABSENT:
            self._listened = now
        if now - self._turned > self._stalled_s:
            return "node stalled"
        if now - self._listened > self._absent_s:
            return "node listens nowhere"
        return None


async def look(port: int, path: str, patience_s: float) -> tuple[Sign, bool]:
    """GET `path` on the loopback: what was found, and whether it was a 200."""
    try:
        async with asyncio.timeout(patience_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                return Sign.TURNS, b" 200 " in await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        return Sign.SILENT, False
    except OSError:
        return Sign.ABSENT, False

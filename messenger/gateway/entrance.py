"""Those who come in, a few in each turn of the loop: whoever is inside goes on between them.

A handshake and a connect command cost some 0.2-0.5 ms each. When thousands of devices return at
once the loop would do all of them in one turn, seconds long, and every send would wait behind
them. Connects go before handshakes: who is half inside is finished first.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

SLICE = 8  # a turn: 2-5 ms. Four made sends quicker still, and the crowd a third dearer
WAITING_MOST = 8_000  # handshakes; ~3 KB each
WAIT_S = 2.0  # of the oldest one: clients give up after 5-10 s, so newcomers are told 503 at once

log = logging.getLogger(__name__)


class Entrance:
    """The two queues of one node."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connects: deque[asyncio.Future[None]] = deque()  # bound: CONNECTS_MOST, see admission
        self._handshakes: deque[tuple[float, Callable[[], None]]] = deque()
        self._left = SLICE
        self._scheduled = False

    @property
    def waiting(self) -> int:
        """Handshakes that were let in and have no session yet."""
        return len(self._handshakes)

    @property
    def full(self) -> bool:
        """Whoever comes now would wait longer than clients do."""
        waiting = self._handshakes
        if not waiting:
            return False
        return len(waiting) >= WAITING_MOST or self._loop.time() - waiting[0][0] > WAIT_S

    def handshake(self, run: Callable[[], None]) -> None:
        """Call `run` now if this turn has room, else in one of the next turns."""
        if self._has_room() and not self._handshakes:
            run()
        else:
            self._handshakes.append((self._loop.time(), run))

    async def connect(self) -> None:
        """Return when it is this connect command's turn."""
        if self._has_room():
            return
        turn: asyncio.Future[None] = self._loop.create_future()
        self._connects.append(turn)
        await turn

    def _has_room(self) -> bool:
        if not self._scheduled:
            self._scheduled = True
            self._left = SLICE
            self._loop.call_soon(self._next_turn)
        if not self._left or self._connects:
            return False
        self._left -= 1
        return True

    def _next_turn(self) -> None:
        self._left = SLICE
        while self._left and self._connects:
            turn = self._connects.popleft()
            if not turn.done():  # the waiter was cancelled
                turn.set_result(None)
                self._left -= 1
        while self._left and self._handshakes:
            self._left -= 1
            try:
                self._handshakes.popleft()[1]()
            except Exception:  # one bug there must not shut the door for everybody
                log.exception("handshake failed")
        if self._left < SLICE:
            self._loop.call_soon(self._next_turn)
        else:
            self._scheduled = False

"""What a node is about to commit, remembered in Redis until everybody was told.

If the node dies between the commit and the telling, only the next event of those chats would show
the gap. Another node reads these records and tells the chats' members (`repair.py`). Redis down:
the node commits without a record.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

from messenger.bus.bus import Bus
from messenger.bus.keys import intent_key, node_key
from messenger.ids import ChatId

NODES_KEY = "wip:nodes"
"""SET of the nodes that may have left records; a node leaves it when it was swept."""
LEASE_S = 6
RENEW_S = 2.0
TOLD_S = 3.0  # after a commit: heads of big chats go once a second, a member list may be loaded
SWEEP_S = 0.5
ENDED_MOST = 100_000  # while somebody is still owed; a record beyond it is told again by the sweep


def pack_chats(chats: Sequence[ChatId]) -> bytes:
    """Decimal, by commas: a record is read by people more often than by programs."""
    return b",".join(b"%d" % chat for chat in chats)


def unpack_chats(packed: bytes) -> list[ChatId]:
    return [ChatId(int(number)) for number in packed.split(b",")]


class NodeIntents:
    """The records and the lease of this node. `node` must be new at every start of the process:
    under an old name the lease would hide what the dead one left."""

    def __init__(
        self, bus: Bus, node: str, owes: Callable[[], bool] = lambda: False, told_s: float = TOLD_S
    ) -> None:
        """`owes`: has this node still to tell of something that was committed."""
        self._bus = bus
        self._owes = owes
        self._told_s = told_s
        self._node = node
        self._key = intent_key(node)
        self._events = count(1)
        self._ended: deque[tuple[float, int]] = deque(maxlen=ENDED_MOST)  # when, which

    def begin(self, batch: int, chats: Sequence[ChatId]) -> None:
        # Again and again: a node whose lease Redis lost may have been swept, and is not dead.
        self._bus.call("SADD", NODES_KEY, self._node)
        self._bus.call("HSET", self._key, batch, pack_chats(chats))

    def end(self, batch: int) -> None:
        """It is committed and handed to the delivery; the record goes once that has told it."""
        self._ended.append((asyncio.get_running_loop().time(), batch))

    def doubt(self, batch: int, chats: Sequence[ChatId]) -> None:
        """Leave a record as a dead node does: swept when its lease is over, which is longer than a
        lost statement lives. By then the rows are there or never come."""
        name = f"{self._node}.{batch}"
        self._bus.call("SET", node_key(name), "1", "EX", LEASE_S)
        self._bus.call("HSET", intent_key(name), batch, pack_chats(chats))
        self._bus.call("SADD", NODES_KEY, name)

    @asynccontextmanager
    async def event(self, chat: ChatId) -> AsyncIterator[None]:
        """Around a statement that numbers an event of `chat`: on record until it was told.

        Where the statement fails, the event may be there all the same: the chat is in doubt.
        """
        number = -next(self._events)  # no batch has it
        self.begin(number, [chat])
        await asyncio.sleep(0)  # the record leaves with this turn, before the statement
        try:
            yield
        except BaseException:
            self.doubt(number, [chat])
            raise
        finally:
            self.end(number)

    async def run(self) -> None:
        """Renew the lease until cancelled; then let it go, or leave what is owed to be swept."""
        loop = asyncio.get_running_loop()
        renewed_at = -RENEW_S
        try:
            while True:
                if loop.time() - renewed_at >= RENEW_S:
                    renewed_at = loop.time()
                    self._renew()
                self._drop(loop.time() - self._told_s)
                await asyncio.sleep(SWEEP_S)
        finally:
            self._drop(loop.time())
            if not self._owes():
                self._bus.call("DEL", node_key(self._node))

    def _drop(self, ended_before: float) -> None:
        """Forget what ended before that time, unless somebody has still to be told."""
        told: list[int] = []
        if not self._owes():
            while self._ended and self._ended[0][0] <= ended_before:
                told.append(self._ended.popleft()[1])
        if told:
            self._bus.call("HDEL", self._key, *told)

    def _renew(self) -> None:
        self._bus.call("SADD", NODES_KEY, self._node)
        self._bus.call("SET", node_key(self._node), "1", "EX", LEASE_S)

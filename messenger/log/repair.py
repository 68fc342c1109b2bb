"""Tells the members of chats that a dead node wrote to and had no time to tell, or a live one does
not know whether it wrote to.

Bound: a lease of 6 s and a look every 2 s, so 10 s from kill -9 to every online member. All steps
may be repeated: a head is only raised, `chat.dirty` only says where the chat stands.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence

from hiredis import HiredisError
from msgspec import Struct

from messenger.bus.bus import Bus
from messenger.bus.keys import intent_key, node_key
from messenger.bus.link import BusDown
from messenger.db.engine import StoreDownError
from messenger.ids import AccountId, ChatId
from messenger.log.intents import NODES_KEY, unpack_chats
from messenger.log.store import ChatStore, Head
from messenger.metrics import Metrics

LOOK_S = 2.0
LOCK_S = 10  # one node sweeps another; if it dies too, the next one starts over
SENT_MS = 60_000  # own messages of the last minute move their senders' read cursors
LAST_SEQS = 1_000

BIG = 1

_SWEPT = {"dead": "swept a dead node", "doubt": "told sends in doubt"}

log = logging.getLogger(__name__)


class Untold(Struct, frozen=True):
    """A chat whose last events may not have reached anybody."""

    chat: ChatId
    head: Head
    members: Sequence[AccountId]
    """Of a small chat; empty for a big one, which has topics of its own."""
    senders: Sequence[tuple[AccountId, int]]
    """Who wrote in the last minute, and the newest seq of each."""


class Repair:
    """`tell` gets each chat of a dead node: write its head, send `chat.dirty`, move cursors."""

    def __init__(
        self,
        bus: Bus,
        store: ChatStore,
        tell: Callable[[Untold], None],
        metrics: Metrics,
        *,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        look_s: float = LOOK_S,
    ) -> None:
        self._bus = bus
        self._store = store
        self._tell = tell
        self._repaired = {why: metrics.repaired_heads.labels(why) for why in _SWEPT}  # at 0: alerts
        self._now_ms = now_ms
        self._look_s = look_s

    async def run(self) -> None:
        """Look for dead nodes until cancelled."""
        while True:
            try:
                await self.sweep()
            except (BusDown, HiredisError, StoreDownError) as error:
                log.info("no sweep", extra={"why": str(error)[:200]})
            await asyncio.sleep(self._look_s)

    async def sweep(self) -> int:
        """Tell the chats of every node whose lease is over; how many chats."""
        told = 0
        for name in await self._bus.ask("SMEMBERS", NODES_KEY):
            node = name.decode()
            if await self._bus.ask("EXISTS", node_key(node)) or not await self._lock(node):
                continue
            try:
                told += await self._sweep_node(node)
            except (BusDown, StoreDownError):
                raise
            except Exception:  # its lock keeps it away for a while; the others come first
                log.exception("node not swept", extra={"node": node})
        return told

    async def _lock(self, node: str) -> bool:
        key = f"{intent_key(node)}:lock"
        return await self._bus.ask("SET", key, "1", "NX", "EX", LOCK_S) is not None

    async def _sweep_node(self, node: str) -> int:
        why = "doubt" if "." in node else "dead"  # `NodeIntents.doubt` names records after a batch
        records = await self._bus.ask("HVALS", intent_key(node))
        chats = {chat for record in records for chat in unpack_chats(record)}
        for chat, head in (await self._store.heads(chats)).items():
            self._tell(await self._untold(chat, head))
            self._repaired[why].inc()
        await self._bus.ask("DEL", intent_key(node))
        await self._bus.ask("SREM", NODES_KEY, node)
        if chats:  # one that left in order is swept too, and nothing is to be told
            log.warning(_SWEPT[why], extra={"node": node, "chats": len(chats)})
        return len(chats)

    async def _untold(self, chat: ChatId, head: Head) -> Untold:
        members: Collection[AccountId] = ()
        if not head.flags & BIG:
            _, members = await self._store.members(chat)
        since = self._now_ms() - SENT_MS
        senders = await self._store.recent_senders(chat, head.seq - LAST_SEQS, since)
        return Untold(chat, head, list(members), senders)

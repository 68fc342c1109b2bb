"""Reach: how many saw a public post without being subscribers. An estimate, apart from views.

A HyperLogLog a post in Redis, copied into the post's row every minute; it is lost with Redis and
keeps the last copy then. Only public channels have one: of others nobody outside sees a post.
"""

import asyncio
import logging
from collections.abc import Sequence

from channels.facts import ChannelFacts
from channels.store.views import ViewStore
from channels.views import Span
from messenger.bus.bus import Bus
from messenger.bus.keys import reach_key
from messenger.bus.link import BusDown
from messenger.db.engine import StoreDown
from messenger.ids import AccountId, ChatId

EVERY_S = 1.0
COPY_EVERY = 60  # rounds
LIFE_S = 30 * 86_400
WAITING = 10_000  # sightings; beyond it they are not counted: it is an estimate
POSTS = 20  # of one sighting
TOUCHED = 50_000  # posts to be copied; beyond it they wait for the next minute that sees them

log = logging.getLogger(__name__)

Post = tuple[ChatId, int]


class Reach:
    """Takes sightings at once, hands them to Redis every second."""

    def __init__(self, bus: Bus, facts: ChannelFacts, store: ViewStore) -> None:
        self._bus = bus
        self._facts = facts
        self._store = store
        self._waiting: dict[ChatId, list[tuple[AccountId, Span]]] = {}
        self._count = 0
        self._touched: set[Post] = set()

    def seen(self, chat: ChatId, account: AccountId, span: Span) -> None:
        if self._count < WAITING:
            self._count += 1
            self._waiting.setdefault(chat, []).append((account, span))

    async def run(self) -> None:
        """Until cancelled."""
        rounds = 0
        while True:
            await asyncio.sleep(EVERY_S)
            rounds += 1
            try:
                await self.flush()
                if rounds % COPY_EVERY == 0:
                    await self.copy()
            except (BusDown, StoreDown):
                log.warning("reach is not counted: a store is away")
            except Exception:  # the root of a task
                log.exception("reach not counted")

    async def flush(self) -> None:
        """Give Redis what is waiting."""
        waiting, self._waiting, self._count = self._waiting, {}, 0
        for chat, sightings in waiting.items():
            row = await self._facts.channel(chat)
            if row is None or row.username is None:
                continue
            for account, span in sightings:
                for seq in range(max(span.lo, span.hi - POSTS + 1), min(span.hi, row.last_seq) + 1):
                    key = reach_key(chat, seq)
                    self._bus.call("PFADD", key, str(account))
                    if (chat, seq) not in self._touched and len(self._touched) < TOUCHED:
                        self._touched.add((chat, seq))
                        self._bus.call("EXPIRE", key, LIFE_S)

    async def copy(self) -> None:
        """Keep the estimates of posts seen since the last copy."""
        touched, self._touched = sorted(self._touched), set()
        counts = await self._counts(touched)
        await self._store.set_reach(dict(zip(touched, counts, strict=True)))

    async def _counts(self, posts: Sequence[Post]) -> list[int]:
        found: list[int] = []
        for start in range(0, len(posts), 1_000):
            asked = [("PFCOUNT", reach_key(*post)) for post in posts[start : start + 1_000]]
            found += [int(count) for count in await self._bus.ask_all(asked)]
        return found

"""Blocks: a row of mine, and the right to post that it takes from the other side of our chat.

Two keys, so two transactions with an outbox row between; the ack waits for both, and the poller
repeats the second where a crash came between. The other side is never told.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from messenger.accounts.profiles import Profiles
from messenger.accounts.protocol import AccountPage, After, Block, Blocked, Noted
from messenger.accounts.store.people import PeopleStore
from messenger.accounts.store.relations import RelationStore
from messenger.accounts.wire_ids import account_of, page_start
from messenger.db.engine import StoreDown
from messenger.delivery.fanout import Delivery
from messenger.feature import Caller, Refused
from messenger.ids import AccountId
from messenger.wire.codes import ErrorCode

BLOCKS_MAX = 10_000
PAGE = 100
POLL_S = 5.0
OLD_MS = 5_000  # younger rows belong to a caller who is still at it
POLL_ROWS = 100
RETRY_MS = 60_000  # for a row that fails: the oldest come first, it must not keep others waiting
SETTLE_TRIES = 5

log = logging.getLogger(__name__)


class Blocks:
    """Blocks and unblocks; `settle` brings a direct chat in line with the blocks."""

    def __init__(
        self,
        people: PeopleStore,
        relations: RelationStore,
        profiles: Profiles,
        delivery: Delivery,
        now_ms: Callable[[], int],
        poll_s: float = POLL_S,
    ) -> None:
        self._people = people
        self._relations = relations
        self._profiles = profiles
        self._delivery = delivery
        self._now_ms = now_ms
        self._poll_s = poll_s

    async def block(self, request: Block, caller: Caller) -> Noted:
        """After the ack no message of the blocked side is written to our chat."""
        peer = account_of(request.account)
        if peer == caller.account:
            raise Refused(ErrorCode.INVALID, {"field": "account", "why": "your own"})
        if request.on and peer not in await self._people.people([peer]):
            raise Refused(ErrorCode.NOT_FOUND, {"what": "account"})
        half = await self._relations.set_block(
            caller.account, peer, self._now_ms(), on=request.on, most=BLOCKS_MAX
        )
        if half is None:
            raise Refused(ErrorCode.TOO_LARGE, {"field": "blocks", "limit": BLOCKS_MAX})
        await self.settle(caller.account, peer)
        await self._relations.settled(caller.account, half.n)
        if half.changed:
            fact = Blocked(aev=half.aev, account=str(peer), on=request.on)
            self._delivery.account_fact(caller.account, msgspec.json.encode(fact))
        return Noted(half.aev)

    async def blocked(self, request: After, caller: Caller) -> AccountPage:
        peers = await self._relations.blocked_page(caller.account, page_start(request.after), PAGE)
        following = str(peers[-1]) if len(peers) == PAGE else None
        return AccountPage(await self._profiles.shapes(peers), following)

    async def settle(self, account: AccountId, peer: AccountId) -> None:
        """Make `peer`'s right to post in the direct chat say what `account`'s block row says.

        Repeatable. Reads the row again after writing: of two that run at once with an unblock
        between them, the slower one corrects itself.
        """
        chat = await self._relations.direct_chat(account, peer)
        if chat is None:
            return
        on = await self._relations.blocks(account, peer)
        for _ in range(SETTLE_TRIES):
            await self._relations.deny_posting(chat, peer, on=on)
            was, on = on, await self._relations.blocks(account, peer)
            if on == was:
                return
        raise Refused(ErrorCode.CONFLICT, {"what": "block"})

    async def settle_both(self, one: AccountId, other: AccountId) -> None:
        """For whoever makes a direct chat: the blocks may be older than the chat."""
        await self.settle(one, other)
        await self.settle(other, one)

    async def run(self) -> None:
        """Repeat second halves that a crash left undone, until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.settle_left()
            except StoreDown:
                log.warning("blocks wait for the database")
            except Exception:  # the root of a task: it outlives a bug
                log.exception("blocks not settled")

    async def settle_left(self) -> int:
        """One round of the poller; how many halves it finished."""
        done = 0
        for row in await self._relations.unsettled(self._now_ms() - OLD_MS, POLL_ROWS):
            try:
                await self.settle(row.account, row.peer)
            except Exception:
                log.exception("block not settled", extra={"retry_ms": RETRY_MS})
                await self._relations.postpone(row, self._now_ms() + RETRY_MS)
                continue
            await self._relations.settled(row.account, row.n)
            done += 1
        return done

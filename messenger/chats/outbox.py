"""The second half of every change of members, and the telling of it.

The chat's transaction wrote the truth, the event and a row of `outbox_c`. Here the account side
copies it, hears of it, and the row goes. Whoever made the change does so at once and answers
after it; what a crash left undone, the poller repeats. Everything can be repeated.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

import msgspec

from messenger.chats.objects import info_of
from messenger.chats.protocol import RoleName
from messenger.chats.rights import Kind, Role
from messenger.chats.store.changes import NOBODY, Changes, Due, OutboxRow, Outcome
from messenger.chats.store.chats import ChatRows
from messenger.chats.store.mine import Mine, Settled
from messenger.chats.updates import (
    ChatEvent,
    ChatJoined,
    ChatLeft,
    MemberChanged,
    update_of_row,
)
from messenger.db.engine import StoreDown
from messenger.delivery.fanout import Delivery
from messenger.ids import AccountId, ChatId
from messenger.log.events import Event
from messenger.log.store import ChatStore

POLL_S = 5.0
OLD_MS = 5_000  # younger rows belong to a caller who is still at it
POLL_ROWS = 100
RETRY_MS = 60_000  # of a row that could not be finished: the next ones come first
SLICE = 500  # accounts a transaction: it must stay far below the statement timeout
SLICES = 20  # of one deleted chat a round; other rows must not wait for a giant
BURST = 16  # events told in one turn of the loop: 100 new members would stop it for long

SEATED = (Role.MEMBER, Role.ADMIN, Role.OWNER)

log = logging.getLogger(__name__)


class Outbox:
    """Tells members of a change, and brings the account side up to it."""

    def __init__(
        self,
        changes: Changes,
        chats: ChatRows,
        mine: Mine,
        chat_log: ChatStore,
        delivery: Delivery,
        now_ms: Callable[[], int],
        poll_s: float = POLL_S,
    ) -> None:
        self._changes = changes
        self._chats = chats
        self._mine = mine
        self._chat_log = chat_log
        self._delivery = delivery
        self._now_ms = now_ms
        self._poll_s = poll_s

    def tell(self, event: Event, update: ChatEvent) -> None:
        """Tell the members that are left of an event that was just made."""
        self._delivery.chat_event(event, msgspec.json.encode(update))

    def remind(self, newest: Event) -> None:
        """After a repeat that changed nothing: perhaps nobody heard of the change it repeats."""
        if newest.ev:
            self._delivery.remind(newest)

    async def tell_seats(
        self, chat: ChatId, by: AccountId, changed: Sequence[tuple[Outcome, AccountId, RoleName]]
    ) -> None:
        """Tell of new roles, in their order. In channels they are no events.

        Who lost the seat hears nothing more of the chat from here on.
        """
        self._delivery.members_changed(chat)
        for number, (outcome, account, role) in enumerate(changed, 1):
            if role in ("left", "banned"):
                self._delivery.expel(chat, account)
            if outcome.event.chat_kind == Kind.CHANNEL:
                continue
            update = MemberChanged(
                chat=str(chat), ev=outcome.event.ev, account=str(account), role=role, by=str(by)
            )
            self.tell(outcome.event, update)
            if number % BURST == 0:
                await asyncio.sleep(0)

    async def settle(
        self, chat: ChatId, accounts: Sequence[AccountId], why: str = "removed"
    ) -> dict[AccountId, int]:
        """Bring `accounts` up to their seats in `chat`; the aev of the fact that says so.

        `why` is told to those who lost their seat.
        """
        waiting, infos = await asyncio.gather(
            self._changes.due_of(chat, accounts), self._infos(chat, accounts)
        )
        settled = await self._copy(chat, accounts, infos, why)
        self._tell_accounts(chat, settled, why, again=False)
        if waiting:  # what was there before the copy is in the copy
            await self._changes.drop(chat, [row.n for row in waiting])
        return {one.account: one.aev for one, _ in settled if one.aev is not None}

    async def became_big(self, chat: ChatId) -> None:
        """Mark the chat as big for each member; it stays so for ever."""
        waiting = await self._changes.due_of(chat, [NOBODY])
        await self._mark_big(chat)
        await self._changes.drop(chat, [row.n for row in waiting if row.kind == Due.BIG])

    async def deleted(self, chat: ChatId) -> None:
        """Empty a deleted chat, as far as one round may take."""
        for row in await self._changes.due_of(chat, [NOBODY]):
            await self._repeat(row)

    async def run(self) -> None:
        """Repeat what a crash left undone, until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self.settle_left()
            except StoreDown:
                log.warning("changes of members wait for the database")
            except Exception:  # a dead task would end the node, and with it everybody's chats
                log.exception("changes of members cannot be read")

    async def settle_left(self) -> int:
        """One round of the poller; how many rows it saw."""
        left = await self._changes.due(self._now_ms() - OLD_MS, POLL_ROWS)
        for row in left:
            try:
                await self._repeat(row)
            except Exception:  # also a statement too slow for this row: the others must not wait
                log.exception("a change of members is left for later", extra={"chat": row.chat})
                await self._changes.postpone(row.chat, row.n, self._now_ms() + RETRY_MS)
        return len(left)

    async def _repeat(self, row: OutboxRow) -> None:
        match row.kind:
            case Due.SETTLE:
                await self._retell(row.chat, row.payload.get("ev"))
                why = row.payload.get("why") or "removed"
                infos = await self._infos(row.chat, [row.account])
                settled = await self._copy(row.chat, [row.account], infos, why)
                self._tell_accounts(row.chat, settled, why, again=True)
            case Due.BIG:
                await self._mark_big(row.chat)
            case Due.DELETED:
                if not await self._expel(row):
                    return
            case _:
                raise ValueError(f"kind {row.kind} of another version")
        await self._changes.drop(row.chat, [row.n])

    async def _copy(
        self, chat: ChatId, accounts: Sequence[AccountId], infos: Sequence[bytes], why: str
    ) -> list[tuple[Settled, bytes]]:
        """Each with what a new member is told of the chat."""
        settled = await self._mine.settle(self._now_ms(), chat, accounts, infos, why)
        told = dict(zip(accounts, infos, strict=True))
        return [(one, told[one.account]) for one in settled]

    def _tell_accounts(
        self, chat: ChatId, settled: Collection[tuple[Settled, bytes]], why: str, *, again: bool
    ) -> None:
        """`again`: also of facts written before, since nobody knows whether they were told."""
        for one, info in settled:
            if not one.here:
                self._delivery.expel(chat, one.account)
            if one.aev is None or not (one.fresh or again):
                continue
            update: ChatJoined | ChatLeft
            if one.here:
                update = ChatJoined(aev=one.aev, chat=str(chat), info=msgspec.Raw(info))
            else:
                update = ChatLeft(aev=one.aev, chat=str(chat), why=why)
            self._delivery.account_fact(one.account, msgspec.json.encode(update))

    async def _infos(self, chat: ChatId, accounts: Sequence[AccountId]) -> list[bytes]:
        row = (await self._chats.chats([chat])).get(chat)
        if row is None:
            return [b"{}"] * len(accounts)
        if row.kind is not Kind.DIRECT:
            return [msgspec.json.encode(info_of(row, None))] * len(accounts)
        both = [seat.account for seat in await self._chats.page(chat, 0, SEATED, 2)]
        peers = {one: next((other for other in both if other != one), one) for one in accounts}
        return [msgspec.json.encode(info_of(row, peers[one])) for one in accounts]

    async def _retell(self, chat: ChatId, ev: int | None) -> None:
        """Tell once more of an event that perhaps nobody heard of; who did drops it."""
        heads = await self._chats.chats([chat])
        rows = await self._chat_log.events_since(chat, ev - 1, 1) if ev else []
        if chat not in heads or not rows or rows[0].ev != ev or rows[0].is_message:
            return
        if heads[chat].kind is Kind.CHANNEL:
            return  # seats make no events there
        event = msgspec.structs.replace(heads[chat].newest(), ev=ev, at=rows[0].at)
        update = update_of_row(chat, rows[0])
        if update is not None:
            self._delivery.members_changed(chat)
            self.tell(event, update)

    async def _mark_big(self, chat: ChatId) -> None:
        after, full = 0, True
        while full:
            seats = await self._chats.page(chat, after, SEATED, SLICE)
            if seats:
                await self._mine.mark_big(chat, [seat.account for seat in seats])
                after = seats[-1].account
            full = len(seats) == SLICE

    async def _expel(self, row: OutboxRow) -> bool:
        """Take the seats of a deleted chat, slice by slice; True when all are empty."""
        after = int(row.payload.get("after", 0))
        for _ in range(SLICES):
            accounts = await self._changes.expel(row.chat, after, SLICE)
            if accounts:
                infos = await self._infos(row.chat, accounts)
                settled = await self._copy(row.chat, accounts, infos, "deleted")
                self._tell_accounts(row.chat, settled, "deleted", again=True)
                after = accounts[-1]
                await self._changes.advance(row.chat, row.n, after)
            if len(accounts) < SLICE:
                return True
        return False

"""What a channel is besides a chat: its rules of signing, reactions and category; its owner.

A channel changes hands in two steps: the owner offers, the other side accepts. Nobody becomes
responsible for what ten million people read by somebody else's finger alone.
"""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET

from channels.protocol import (
    AnswerTransfer,
    Configure,
    Done,
    Log,
    LogEntries,
    LogEntry,
    Offered,
    Transfer,
)
from channels.standing import Seats, raw
from channels.store.offers import Offer, OfferStore
from messenger.accounts.wire_ids import account_of
from messenger.chats.groups import Edit, Groups, put_signed
from messenger.chats.rights import Role, forbidden
from messenger.chats.wire_ids import chat_of
from messenger.feature import Caller, Refused
from messenger.ids import MAX_ID
from messenger.log.events import Right
from messenger.messages.reacting import is_emoji
from messenger.wire.codes import ErrorCode

OFFER_MS = 24 * 3_600_000  # a person looks at the phone once a day


class Owning:
    """The rpcs `channels.configure`, `transfer`, `answer_transfer` and `log`."""

    def __init__(
        self, seats: Seats, groups: Groups, offers: OfferStore, now_ms: Callable[[], int]
    ) -> None:
        self._seats = seats
        self._groups = groups
        self._offers = offers
        self._now_ms = now_ms

    async def configure(self, request: Configure, caller: Caller) -> Done:
        """All of the request or nothing of it, in one event."""
        chat = chat_of(request.chat)
        await self._seats.member(chat, caller.account)
        edit = edit_of(request)
        if not edit.wire:
            raise Refused(ErrorCode.INVALID, {"field": "chat", "why": "nothing to change"})
        done = await self._groups.apply(chat, edit, caller)
        return Done(done.ev)

    async def transfer(self, request: Transfer, caller: Caller) -> Offered:
        """Offer the channel to one of its members; a new offer takes the place of an old one."""
        chat, account = chat_of(request.chat), account_of(request.account)
        await self._seats.member(chat, caller.account)
        await self._groups.check_transfer(chat, caller.account, account)
        until = self._now_ms() + OFFER_MS
        await self._offers.put(chat, Offer(account, caller.account, until))
        return Offered(until)

    async def answer_transfer(self, request: AnswerTransfer, caller: Caller) -> Done:
        """Take what the owner offered, or decline; the old owner becomes an admin.

        The owner calls it with `accept` false to take the offer back.
        """
        chat = chat_of(request.chat)
        row, seat = await self._seats.member(chat, caller.account)
        offer = await self._offers.offer(chat)
        mine = offer is not None and caller.account in (offer.account, offer.by)
        if offer is None or not mine or offer.until <= self._now_ms():
            raise Refused(ErrorCode.NOT_FOUND, {"what": "offer"})
        if not request.accept:
            await self._offers.drop(chat, offer.account)
            return Done(row.last_ev)
        if caller.account != offer.account or seat.role == Role.OWNER:
            raise forbidden("confirmation")
        await self._groups.check_transfer(chat, offer.by, offer.account)
        done = await self._groups.hand_over(chat, offer.by, offer.account)
        await self._offers.drop(chat, offer.account)
        who = {"from": str(offer.by)}
        await self._offers.write(
            self._now_ms(), chat, caller.account, "transfer", offer.account, who
        )
        return Done(done.ev)

    async def log(self, request: Log, caller: Caller) -> LogEntries:
        """For admins: who was banned, promoted or sanctioned, and by whom; the newest first."""
        chat = chat_of(request.chat)
        await self._seats.admin(chat, caller.account)
        before = min(int(request.before), MAX_ID) if request.before is not None else MAX_ID
        found = await self._offers.read(chat, before, request.limit)
        entries = [
            LogEntry(
                n=str(one.n),
                at=one.at,
                by=str(one.actor),
                act=one.act,
                account=None if one.account is None else str(one.account),
                more=raw(one.payload or {}),
            )
            for one in found
        ]
        full = len(entries) == request.limit
        return LogEntries(entries, entries[-1].n if full else None)


def edit_of(request: Configure) -> Edit:
    """The request as columns, as members will see it, and the rights it takes."""
    edit = Edit()
    if request.signed is not UNSET:
        put_signed(edit, request.signed)
    if request.reactions is not UNSET:
        reactions = None if request.reactions is None else list(dict.fromkeys(request.reactions))
        if not all(is_emoji(one) for one in reactions or ()):
            raise Refused(ErrorCode.INVALID, {"field": "reactions", "why": "not an emoji"})
        _put(edit, "reactions", reactions)
    if request.category is not UNSET:
        _put(edit, "category", request.category)
    if request.photo is not UNSET:
        photo = None if request.photo is None else account_of(request.photo, "photo")
        shown = None if photo is None else str(photo)
        edit.put(Right.CHANGE_INFO, "photo", shown, photo_id=photo)
    return edit


def _put(edit: Edit, name: str, value: Any) -> None:
    settings = edit.columns.get("settings", {}) | {name: value}
    edit.put(Right.CHANGE_INFO, name, value, settings=settings)

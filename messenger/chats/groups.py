"""What a group is: its title, rules and owner; and its end."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET, Struct, field

from messenger.accounts.names import clean_name, clean_text
from messenger.accounts.profiles import FREEZING
from messenger.accounts.store.people import NameKind, PeopleStore
from messenger.accounts.usernames import TOMBSTONE_MS, check_username
from messenger.accounts.wire_ids import account_of
from messenger.badges import Subject, status
from messenger.chats.outbox import Outbox
from messenger.chats.protocol import Chat, ChatAccount, Done, SignMode, Update
from messenger.chats.rights import (
    MEMBER_RIGHTS,
    NO_SEAT,
    Act,
    Kind,
    Role,
    Seat,
    bits,
    check_act,
    forbidden,
    may,
    names,
)
from messenger.chats.rules import ChannelRules
from messenger.chats.store.changes import Changes, Status
from messenger.chats.store.chats import ChatRow, ChatRows
from messenger.chats.updates import ChatDeleted, ChatUpdated
from messenger.chats.wire_ids import chat_of
from messenger.feature import Caller, NameGuard, Refused
from messenger.folding import fold
from messenger.ids import AccountId, ChatId
from messenger.limits import Limits
from messenger.log.events import ChatFlag, Right
from messenger.wire.codes import ErrorCode

OWNER_ALONE = 512  # one bit above the rights: nobody grants it


class Edit(Struct):
    """What is to be written, what members are told, and the rights it takes."""

    needs: int = 0
    columns: dict[str, Any] = field(default_factory=dict)
    wire: dict[str, Any] = field(default_factory=dict)

    def put(self, needs: int, name: str, value: object, **columns: object) -> None:
        self.needs |= needs
        self.wire[name] = value
        self.columns.update(columns)


class Groups:
    """Changes groups as a whole."""

    def __init__(
        self,
        changes: Changes,
        chats: ChatRows,
        outbox: Outbox,
        people: PeopleStore,
        guards: Sequence[NameGuard],
        limits: Limits,
        now_ms: Callable[[], int],
        small_chat: int,
        channels: ChannelRules | None = None,
    ) -> None:
        self._changes = changes
        self._chats = chats
        self._outbox = outbox
        self._people = people
        self._guards = guards
        self._limits = limits
        self._now_ms = now_ms
        self._small_chat = small_chat
        self._channels = channels

    async def update(self, request: Update, caller: Caller) -> Done:
        """All of the request or nothing of it, in one event."""
        return await self.apply(chat_of(request.chat), edit_of(request), caller)

    async def apply(self, chat: ChatId, edit: Edit, caller: Caller) -> Done:
        """The same for an edit that another feature put together."""
        row, own, _ = await self._chats.entered(chat, caller.account)
        if row.kind is not Kind.CHANNEL and "signed" in edit.wire:
            raise Refused(ErrorCode.INVALID, {"field": "signed", "why": "channels only"})
        now = self._now_ms()
        _check_allowed(row, own, edit.needs, now)
        await self._check_names(caller.account, row, edit)
        username = edit.columns.get("username")
        claimed = None if username == row.username else username
        if claimed is not None:
            await self._limits.check("username", caller)
            if row.kind is Kind.CHANNEL and row.username is None and self._channels is not None:
                await self._channels.check_public(caller.account)
            await self._claim(claimed, chat)
        try:
            outcome, before = await self._changes.update(
                now, chat, caller.account, edit.needs, edit.columns, edit.wire
            )
        except Refused:  # no such chat any more
            await self._release(claimed, chat, now)
            raise
        if outcome.status is Status.FORBIDDEN:
            await self._release(claimed, chat, now)
            raise _lacking(edit.needs)
        if outcome.status is Status.DONE:
            if "username" in edit.columns and before != username:
                await self._release(before, chat, now + TOMBSTONE_MS)
            update = ChatUpdated(chat=str(chat), ev=outcome.event.ev, set=edit.wire)
            self._outbox.tell(outcome.event, update)
            self._changed(row)
        elif edit.wire:
            self._outbox.remind(outcome.event)
        return Done(outcome.event.ev)

    async def transfer(self, request: ChatAccount, caller: Caller) -> Done:
        """The owner becomes an admin with all rights. Channels: by `channels.transfer`."""
        chat, account = chat_of(request.chat), account_of(request.account)
        row = await self.check_transfer(chat, caller.account, account)
        if row.kind is Kind.CHANNEL:
            raise forbidden("confirmation")
        return await self.hand_over(chat, caller.account, account)

    async def check_transfer(self, chat: ChatId, owner: AccountId, account: AccountId) -> ChatRow:
        """May `owner` give the chat to `account`; no effect."""
        row, own, seats = await self._chats.entered(chat, owner, account)
        if account == owner:
            raise forbidden("oneself")
        check_act(Act.TRANSFER, own, seats.get(account, NO_SEAT), self._now_ms())
        self._check_frozen(row)
        return row

    async def hand_over(self, chat: ChatId, owner: AccountId, heir: AccountId) -> Done:
        """Whatever the chat's badge: it is drawn for its owner, and for nobody after them.

        For others after `check_transfer`; what changed since is found under the chat's lock.
        """
        outcomes = await self._changes.transfer(self._now_ms(), chat, owner, heir)
        if outcomes[0].status is not Status.DONE:
            raise _lacking(OWNER_ALONE)
        old, new = outcomes
        await self._outbox.tell_seats(
            chat, owner, [(old, old.account, "admin"), (new, new.account, "owner")]
        )
        await self._outbox.settle(chat, [owner, heir])
        return Done(new.event.ev)

    async def delete(self, request: Chat, caller: Caller) -> Done:
        """Nobody writes or reads any more when it answers; seats of big groups empty later."""
        chat = chat_of(request.chat)
        row, _, _ = await self._chats.entered(chat, caller.account)
        if row.kind is Kind.DIRECT:
            raise _lacking(OWNER_ALONE)
        outcome, username = await self._changes.delete(self._now_ms(), chat, caller.account)
        if outcome.status is not Status.DONE:
            raise _lacking(OWNER_ALONE)
        await self._release(username, chat, self._now_ms() + TOMBSTONE_MS)
        self._outbox.tell(outcome.event, ChatDeleted(chat=str(chat), ev=outcome.event.ev))
        self._changed(row)
        if row.member_count <= self._small_chat:
            await self._outbox.deleted(chat)
        return Done(outcome.event.ev)

    def _changed(self, row: ChatRow) -> None:
        if row.kind is Kind.CHANNEL and self._channels is not None:
            self._channels.changed(row.chat)

    async def _check_names(self, account: AccountId, row: ChatRow, edit: Edit) -> None:
        title = edit.columns.get("title")
        username = edit.columns.get("username")
        title = None if title == row.title else title
        username = None if username == row.username else username
        if title is None and username is None:
            return
        self._check_frozen(row)
        for guard in self._guards:
            await guard.check(owner=account, name=title, username=username)

    def _check_frozen(self, row: ChatRow) -> None:
        """A badge that may be drawn, or will be, is bound to name and owner as they are."""
        subject = Subject(row.username, row.title or "", row.owner or 0)
        if status(row.badge, subject, self._now_ms()) in FREEZING:
            raise Refused(ErrorCode.FROZEN_BY_BADGE, {"what": "name"})

    async def _claim(self, username: str, chat: ChatId) -> None:
        if not await self._people.claim_name(username, NameKind.CHAT, chat, self._now_ms()):
            raise Refused(ErrorCode.USERNAME_TAKEN)

    async def _release(self, username: str | None, chat: ChatId, until_ms: int) -> None:
        """A name the chat does not carry; looked at again after it, as another may have put it."""
        if username is None:
            return
        await self._people.release_name(username, NameKind.CHAT, chat, until_ms)
        row = (await self._chats.chats([chat])).get(chat)
        if row is not None and row.username == username:
            await self._people.claim_name(username, NameKind.CHAT, chat, self._now_ms())


def edit_of(request: Update) -> Edit:
    """The request as columns, as members will see it, and the rights it takes."""
    edit = Edit()
    if request.discussion is not UNSET:
        raise Refused(ErrorCode.INVALID, {"field": "discussion", "why": "not built"})
    if request.title is not UNSET:
        title = clean_name("title", request.title)
        edit.put(Right.CHANGE_INFO, "title", title, title=title, title_fold=fold(title))
    if request.about is not UNSET:
        about = clean_text("about", request.about, lines=True) or None
        edit.put(Right.CHANGE_INFO, "about", about, about=about)
    if request.photo is not UNSET:
        if request.photo is not None:
            raise Refused(ErrorCode.FEATURE_OFF, {"feature": "media"})
        edit.put(Right.CHANGE_INFO, "photo", None, photo_id=None)
    if request.username is not UNSET:
        username = check_username(request.username) if request.username else None
        flags = {"flags_on" if username else "flags_off": int(ChatFlag.PUBLIC)}
        edit.put(OWNER_ALONE, "username", username, username=username, **flags)
    _put_rules(request, edit)
    return edit


def _put_rules(request: Update, edit: Edit) -> None:
    if request.signed is not UNSET:
        put_signed(edit, "name" if request.signed else None)
    if request.slow_s is not UNSET:
        edit.put(Right.RESTRICT_MEMBERS, "slow_s", request.slow_s, slow_s=request.slow_s)
    if request.rights is not UNSET:
        denied = bits(request.rights) & MEMBER_RIGHTS
        edit.put(Right.RESTRICT_MEMBERS, "rights", names(denied), rights=denied)
    if request.join is not UNSET:
        settings = edit.columns.get("settings", {}) | {"join": request.join}
        edit.put(Right.RESTRICT_MEMBERS, "join", request.join, settings=settings)
    if request.history_for_new is not UNSET:
        side = "flags_off" if request.history_for_new else "flags_on"
        flags = edit.columns.get(side, 0) | int(ChatFlag.NO_HISTORY)
        edit.put(
            Right.RESTRICT_MEMBERS, "history_for_new", request.history_for_new, **{side: flags}
        )


def put_signed(edit: Edit, mode: SignMode | None) -> None:
    """Posts of a channel say who wrote them."""
    side = "flags_on" if mode else "flags_off"
    flags = edit.columns.get(side, 0) | int(ChatFlag.SIGNED)
    settings = edit.columns.get("settings", {}) | {"signed": mode}
    edit.put(Right.CHANGE_INFO, "signed", mode, settings=settings, **{side: flags})


def _check_allowed(row: ChatRow, own: Seat, needs: int, now_ms: int) -> None:
    if row.kind is Kind.DIRECT or (needs & OWNER_ALONE and own.role != Role.OWNER):
        raise _lacking(needs | OWNER_ALONE)
    for right in Right:
        if needs & right and not may(row.kind, row.rights, own, now_ms, right):
            raise forbidden(right)


def _lacking(needs: int) -> Refused:
    if needs & OWNER_ALONE:
        return forbidden("owner")
    return forbidden(next(right for right in Right if needs & right))

"""The one way in which a chat of any kind comes to be."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from messenger.accounts.names import clean_name, clean_text
from messenger.accounts.privacy import Privacy
from messenger.accounts.store.people import NameKind, PeopleStore
from messenger.accounts.usernames import check_username
from messenger.accounts.wire_ids import account_of, accounts_of
from messenger.chats.objects import Views
from messenger.chats.outbox import Outbox
from messenger.chats.protocol import Create, Created, Skipped
from messenger.chats.rights import DENIED_IN_NEW_GROUPS, Kind, Role, Seat
from messenger.chats.rules import ChannelRules
from messenger.chats.store.changes import Changes, NewChat
from messenger.chats.store.mine import Mine
from messenger.feature import Caller, NameGuard, Refused
from messenger.folding import fold
from messenger.ids import AccountId, ChatId
from messenger.log.events import ChatFlag
from messenger.wire.codes import ErrorCode

CHATS_MAX = 5_000  # of one account: heads and lists are read whole at a cold start


class ChatDraft(Struct, frozen=True, kw_only=True):
    """A chat to be made. `chat` is reserved before, so that making it can be repeated."""

    chat: ChatId
    kind: Kind
    owner: AccountId | None
    seats: Mapping[AccountId, Seat]
    title: str | None = None
    about: str | None = None
    username: str | None = None
    denied: int = 0
    settings: Mapping[str, Any] = {}
    flags: int = 0


class Creating:
    """Makes chats; channels and packages of channels use `create_chat` too."""

    def __init__(
        self,
        changes: Changes,
        mine: Mine,
        outbox: Outbox,
        views: Views,
        people: PeopleStore,
        privacy: Privacy,
        guards: Sequence[NameGuard],
        mint: Callable[[], int],
        now_ms: Callable[[], int],
        small_chat: int,
        channels: ChannelRules | None = None,
    ) -> None:
        self._changes = changes
        self._mine = mine
        self._outbox = outbox
        self._views = views
        self._people = people
        self._privacy = privacy
        self._guards = guards
        self._mint = mint
        self._now_ms = now_ms
        self._small_chat = small_chat
        self._channels = channels

    async def create_chat(self, draft: ChatDraft) -> bool:
        """Make the chat and tell its members; False where it was made before.

        Repeatable with the same `draft.chat`: what an earlier try left undone is done now. Refused:
        NAME_REFUSED, USERNAME_INVALID, USERNAME_TAKEN; nothing is stored then.
        """
        return await self._make(draft, await self._check_names(draft))

    async def create(self, request: Create, caller: Caller) -> Created:
        """The same random_id gives the same chat, whatever else the repeat says."""
        kind = Kind.CHANNEL if request.kind == "channel" else Kind.GROUP
        channels = self._channels if kind is Kind.CHANNEL else None
        if kind is Kind.CHANNEL and channels is None:
            raise Refused(ErrorCode.FEATURE_OFF, {"feature": "channels"})
        random_id = account_of(request.random_id, "random_id")
        wanted = [one for one in accounts_of(request.members, "members") if one != caller.account]
        draft = ChatDraft(
            chat=ChatId(0),
            kind=kind,
            owner=caller.account,
            seats={},
            title=clean_name("title", request.title),
            about=clean_text("about", request.about or "", lines=True),
            username=request.username or None,
            denied=DENIED_IN_NEW_GROUPS if kind is Kind.GROUP else 0,
        )
        key = caller.account, caller.device, random_id
        chat = await self._mine.of_key(*key)
        allowed, skipped = await self.addable(wanted, caller.account)
        if chat is not None and (
            seen := (await self._views.objects(caller.account, [chat])).get(chat)
        ):
            return Created(seen, skipped)
        # a key whose chat is not there proves nothing: an earlier try may have been refused
        await self.check_room(caller.account)
        username = await self._check_names(draft)
        if channels is not None:
            await channels.check_create(caller.account, public=username is not None)
        if chat is None:
            chat = await self._mine.reserve_key(self._now_ms(), *key, ChatId(self._mint()))
        seats = {caller.account: Seat(Role.OWNER)} | dict.fromkeys(allowed, Seat(Role.MEMBER))
        await self._make(msgspec.structs.replace(draft, chat=chat, seats=seats), username)
        if channels is not None:
            channels.joined(chat, "added", len(allowed))
            channels.changed(chat)
        return Created(await self._views.one(caller.account, chat), skipped)

    async def addable(
        self, accounts: Sequence[AccountId], by: AccountId
    ) -> tuple[list[AccountId], list[Skipped]]:
        """Whom `by` may put into a chat, and why not the others.

        A block looks like a setting, and so does being in as many chats as one may.
        """
        allowed = await self._privacy.allowing(accounts, "add_to_groups", by)
        allowed -= await self._mine.full(allowed, CHATS_MAX) if allowed else set()
        others = [one for one in accounts if one not in allowed]
        known = await self._people.people(others)
        skipped = [Skipped(str(one), "privacy" if one in known else "unknown") for one in others]
        return [one for one in accounts if one in allowed], skipped

    async def check_room(self, account: AccountId) -> None:
        """Refused(TOO_MANY_CHATS) where the account is in as many as it may."""
        if await self._mine.count(account, CHATS_MAX) >= CHATS_MAX:
            raise Refused(ErrorCode.TOO_MANY_CHATS, {"limit": CHATS_MAX})

    async def _make(self, draft: ChatDraft, username: str | None) -> bool:
        if username is not None and not await self._people.claim_name(
            username, NameKind.CHAT, draft.chat, self._now_ms()
        ):
            raise Refused(ErrorCode.USERNAME_TAKEN)
        big = draft.kind is Kind.CHANNEL or len(draft.seats) > self._small_chat
        made = await self._changes.create(
            self._now_ms(),
            NewChat(
                chat=draft.chat,
                kind=draft.kind,
                owner=draft.owner,
                title=draft.title,
                title_fold=None if draft.title is None else fold(draft.title),
                about=draft.about or None,
                username=username,
                denied=draft.denied,
                settings=draft.settings,
                flags=draft.flags
                | (ChatFlag.BIG if big else 0)
                | (ChatFlag.PUBLIC if username is not None else 0),
                seats=draft.seats,
            ),
        )
        if username is not None and not made:
            await self._release_unused(username, draft.chat)
        await self._outbox.settle(draft.chat, list(draft.seats))
        return made

    async def _release_unused(self, username: str, chat: ChatId) -> None:
        """The chat was made before, by another name, or is gone: it must not hold this one too."""
        if await self._views.username_of(chat) != username:
            await self._people.release_name(username, NameKind.CHAT, chat, self._now_ms())

    async def _check_names(self, draft: ChatDraft) -> str | None:
        """The folded username; whether it is free is decided by claiming it."""
        username = None if draft.username is None else check_username(draft.username)
        for guard in self._guards if draft.title is not None else ():
            await guard.check(owner=draft.owner or 0, name=draft.title, username=username)
        return username

"""What others see of an account, and the @username that leads to it."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from messenger.accounts.names import clean_name, clean_text
from messenger.accounts.protocol import (
    Account,
    AccountList,
    Get,
    Nothing,
    Profile,
    Resolve,
    Update,
)
from messenger.accounts.store.people import NameKind, PeopleStore, Person
from messenger.accounts.usernames import TOMBSTONE_MS, check_username, folded
from messenger.accounts.wire_ids import accounts_of
from messenger.badges import BadgeStatus, Subject, shown, status
from messenger.delivery.fanout import Delivery
from messenger.feature import Caller, NameGuard, Refused
from messenger.folding import fold
from messenger.ids import AccountId, ChatId
from messenger.limits import Limits
from messenger.wire.codes import ErrorCode

KINDS = {1: "person", 2: "bot", 3: "org"}
FREEZING = frozenset({BadgeStatus.PENDING, BadgeStatus.VALID, BadgeStatus.SUSPENDED})
"""A badge in one of these states is bound to the name as it is."""

ShowChat = Callable[[AccountId, ChatId], Awaitable[Any | None]]
"""The public Chat object behind a username, or None where this caller may not know of it."""


class ResolvedAccount(Struct, frozen=True):
    account: Account


class ResolvedChat(Struct, frozen=True):
    chat: Any


class Profiles:
    """Reads accounts for anybody, changes one's own."""

    def __init__(
        self,
        people: PeopleStore,
        delivery: Delivery,
        limits: Limits,
        guards: Sequence[NameGuard],
        show_chat: ShowChat,
        now_ms: Callable[[], int],
    ) -> None:
        self._people = people
        self._delivery = delivery
        self._limits = limits
        self._guards = guards
        self._show_chat = show_chat
        self._now_ms = now_ms

    async def me(self, request: Nothing, caller: Caller) -> Account:
        return self._shape(await self._person(caller.account))

    async def get(self, request: Get, caller: Caller) -> AccountList:
        """In the order asked; unknown and deleted ones are left out."""
        return AccountList(await self.shapes(accounts_of(request.ids)))

    async def shapes(self, accounts: Collection[AccountId]) -> list[Account]:
        """Account objects of those that exist, in the order given."""
        people = await self._people.people(accounts)
        return [self._shape(people[one]) for one in accounts if one in people]

    async def resolve(self, request: Resolve, caller: Caller) -> ResolvedAccount | ResolvedChat:
        """What a username leads to; the same refusal whether it is free, hidden or impossible.

        A name that was claimed leads nowhere until its holder carries it.
        """
        username = folded(request.username.removeprefix("@"))
        named = await self._people.owner_of_name(username)
        if named is not None and named.kind is NameKind.ACCOUNT:
            for account in await self.shapes([AccountId(named.target)]):
                if account.username == username:
                    return ResolvedAccount(account)
        elif named is not None:
            chat = await self._show_chat(caller.account, ChatId(named.target))
            if chat is not None and chat.username == username:
                return ResolvedChat(chat)
        raise Refused(ErrorCode.NOT_FOUND, {"what": "username"})

    async def update(self, request: Update, caller: Caller) -> Account:
        """All of the request or nothing of it."""
        person = await self._person(caller.account)
        changes = await self._check_update(request, person)
        if changes.username and changes.username != person.username:
            await self._limits.check("username", caller)
        if changes.username:
            await self._claim(changes.username, person)
        updated = await self._people.update(
            person.account,
            name=(changes.name, fold(changes.name)) if changes.name is not None else None,
            about=changes.about,
            username=changes.username,
            drop_photo=request.photo is None,
            now_ms=self._now_ms(),
            fact=lambda changed: {"account": msgspec.to_builtins(self._shape(changed))},
        )
        if updated is None:
            if changes.username:
                await self._release(changes.username, person.account)
            raise Refused(ErrorCode.NOT_FOUND, {"what": "account"})
        before = updated.username_before
        if before is not None and before != updated.person.username:
            await self._release(before, person.account)
        account = self._shape(updated.person)
        if updated.aev is not None:
            update = msgspec.json.encode(Profile(aev=updated.aev, account=account))
            self._delivery.account_fact(person.account, update)
        return account

    async def _check_update(self, request: Update, person: Person) -> "_Changes":
        if request.photo is not UNSET and request.photo is not None:
            raise Refused(ErrorCode.FEATURE_OFF, {"feature": "media"})
        changes = _Changes(
            None if request.name is UNSET else clean_name("name", request.name),
            None if request.about is UNSET else clean_text("about", request.about, lines=True),
            None if request.username is UNSET else _wanted_username(request.username),
        )
        name = None if changes.name == person.name else changes.name
        username = changes.username
        if username == (person.username or ""):
            username = None
        if name is None and username is None:
            return changes
        if status(person.badge, _subject(person), self._now_ms()) in FREEZING:
            raise Refused(ErrorCode.FROZEN_BY_BADGE, {"what": "name"})
        for guard in self._guards:
            await guard.check(owner=person.account, name=name, username=username or None)
        return changes

    async def _claim(self, username: str, person: Person) -> None:
        mine = await self._people.claim_name(
            username, NameKind.ACCOUNT, person.account, self._now_ms()
        )
        if not mine:
            raise Refused(ErrorCode.USERNAME_TAKEN)

    async def _release(self, username: str, account: AccountId) -> None:
        """Unless a change at the same time took it up again."""
        until = self._now_ms() + TOMBSTONE_MS
        await self._people.release_name(username, NameKind.ACCOUNT, account, until)
        people = await self._people.people([account])
        if account in people and people[account].username == username:
            await self._people.claim_name(username, NameKind.ACCOUNT, account, self._now_ms())

    async def _person(self, account: AccountId) -> Person:
        people = await self._people.people([account])
        if account not in people:  # deleted a moment ago; the token is still good
            raise Refused(ErrorCode.NOT_FOUND, {"what": "account"})
        return people[account]

    def _shape(self, person: Person) -> Account:
        return Account(
            id=str(person.account),
            name=person.name,
            kind=KINDS[person.kind],  # type: ignore[arg-type]  # a Literal's three values
            username=person.username,
            about=person.about,
            photo=None if person.photo is None else str(person.photo),
            badge=shown(person.badge, person.badge_epoch, _subject(person), self._now_ms()),
        )


class _Changes(Struct, frozen=True):
    """Cleaned; None stays as it is, "" goes away."""

    name: str | None
    about: str | None
    username: str | None


def _wanted_username(username: str) -> str:
    return check_username(username) if username else ""


def _subject(person: Person) -> Subject:
    return Subject(person.username, person.name, person.account)

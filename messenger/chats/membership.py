"""Who sits in a chat: add, remove, ban, promote, restrict, leave.

What may be done is decided by the table in `rights.py` on what was read; the chat's transaction
applies it only if that still holds, else it is read and decided again. New seats need no second
look: the function that gives them checks under the chat's lock.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from messenger.accounts.store.people import PeopleStore
from messenger.accounts.wire_ids import account_of, accounts_of
from messenger.chats.creating import Creating
from messenger.chats.outbox import Outbox
from messenger.chats.protocol import (
    Added,
    AddMembers,
    Chat,
    Done,
    Noted,
    RemoveMember,
    Restrict,
    RoleName,
    SetRole,
    Skipped,
)
from messenger.chats.rights import (
    MEMBER_RIGHTS,
    NO_SEAT,
    Act,
    Kind,
    Role,
    Seat,
    Standing,
    bits,
    check_act,
    check_granted,
    forbidden,
    may,
    standing,
)
from messenger.chats.rules import ChannelRules
from messenger.chats.store.changes import Changes, Outcome, SeatChange, Status
from messenger.chats.store.chats import ChatRow, ChatRows
from messenger.chats.updates import ChatBig
from messenger.chats.wire_ids import chat_of
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import EventKind, Right
from messenger.wire.codes import ErrorCode

MEMBERS_MAX = 200_000  # of a group
SUBSCRIBERS_MAX = 100_000_000  # of a channel: more than there are people to come
TRIES = 5  # each time somebody else changed the same two seats in between


class Plan(Struct, frozen=True):
    """What a seat becomes, and what is said about it."""

    new: Seat
    kind: EventKind
    name: RoleName
    why: str = "removed"


Decide = Callable[[ChatRow, Seat, Seat], Plan | None]
"""(chat, the actor's seat, the other seat) -> plan, None if it is so already, or Refused."""


class Memberships:
    """Changes seats; `admit` is also the way in for links and requests."""

    def __init__(
        self,
        changes: Changes,
        chats: ChatRows,
        outbox: Outbox,
        creating: Creating,
        people: PeopleStore,
        now_ms: Callable[[], int],
        small_chat: int,
        channels: ChannelRules | None = None,
    ) -> None:
        self._changes = changes
        self._chats = chats
        self._outbox = outbox
        self._creating = creating
        self._people = people
        self._now_ms = now_ms
        self._small_chat = small_chat
        self._channels = channels

    async def add_members(self, request: AddMembers, caller: Caller) -> Added:
        """Those who allow it; the others are named with the reason. All are in when it answers."""
        chat = chat_of(request.chat)
        accounts = accounts_of(request.accounts, "accounts")
        row, own, _ = await self._chats.entered(chat, caller.account)
        invites = may(row.kind, row.rights, own, self._now_ms(), Right.INVITE)
        if row.kind is Kind.DIRECT or not invites:
            raise forbidden(Right.INVITE)
        allowed, skipped = await self._creating.addable(accounts, caller.account)
        ev, added = row.last_ev, list[str]()
        if allowed:
            outcomes = await self.admit(
                chat, caller.account, allowed, needs=Right.INVITE, limit=members_max(row.kind)
            )
            if outcomes[0].status is Status.FORBIDDEN:
                raise forbidden(Right.INVITE)
            added = [str(one.account) for one in outcomes if one.status is Status.DONE]
            skipped += [
                Skipped(str(one.account), _WHY[one.status])
                for one in outcomes
                if one.status in _WHY
            ]
            ev = max(outcome.event.ev for outcome in outcomes)
            if row.kind is Kind.CHANNEL and self._channels is not None:
                self._channels.joined(chat, "added", len(added))
        if not added and any(one.why == "full" for one in skipped):
            raise Refused(ErrorCode.CHAT_FULL, {"limit": members_max(row.kind)})
        return Added(added, skipped, ev)

    async def admit(
        self,
        chat: ChatId,
        actor: AccountId,
        accounts: Sequence[AccountId],
        *,
        needs: int = 0,
        link: bytes | None = None,
        requested: bool = False,
        limit: int = MEMBERS_MAX,
    ) -> list[Outcome]:
        """Give seats, tell of them, and bring the account side up. As `Changes.admit`."""
        outcomes = await self._changes.admit(
            self._now_ms(),
            chat,
            actor,
            accounts,
            needs=needs,
            link=link,
            requested=requested,
            limit=limit,
            small=self._small_chat,
        )
        new = [one for one in outcomes if one.status is Status.DONE]
        if not new:
            return outcomes
        seats = [(one, one.account, one.role) for one in new]
        await self._outbox.tell_seats(chat, actor, seats)
        await self._outbox.settle(chat, [one.account for one in new])
        for outcome in outcomes:
            if outcome.status is Status.BIG:
                # marked first: whoever is told asks for the heads of their big chats
                await self._outbox.became_big(chat)
                self._outbox.tell(outcome.event, ChatBig(chat=str(chat), ev=outcome.event.ev))
        return outcomes

    async def remove_member(self, request: RemoveMember, caller: Caller) -> Done:
        """Take a seat, and with `ban` keep the account out; without it a ban is lifted."""
        until = self._check_until(request.until) if request.ban else 0
        act = Act.BAN if request.ban else Act.REMOVE

        def decide(_row: ChatRow, own: Seat, target: Seat) -> Plan | None:
            now = self._now_ms()
            gone = act is Act.REMOVE and standing(target, now) is Standing.LEFT
            check_act(act, own, Seat(Role.MEMBER) if gone else target, now)
            if request.ban:
                new = Seat(Role.BANNED, 0, until)
                return Plan(new, EventKind.MEMBER, "banned", "banned")
            return None if gone else Plan(Seat(Role.LEFT), EventKind.MEMBER, "left")

        return await self._change(request.chat, request.account, caller, decide)

    async def set_role(self, request: SetRole, caller: Caller) -> Done:
        granted = bits(request.rights)

        def decide(_row: ChatRow, own: Seat, target: Seat) -> Plan:
            now = self._now_ms()
            if request.role == "admin":
                check_act(Act.PROMOTE, own, target, now)
                check_granted(own, granted)
                return Plan(Seat(Role.ADMIN, granted), EventKind.ROLE, "admin")
            check_act(Act.DEMOTE, own, target, now)
            return Plan(Seat(Role.MEMBER), EventKind.ROLE, "member")

        return await self._change(request.chat, request.account, caller, decide)

    async def restrict(self, request: Restrict, caller: Caller) -> Done:
        """Deny rights to one member; an empty list gives them back."""
        denied = bits(request.deny) & MEMBER_RIGHTS
        until = self._check_until(request.until) if denied else 0

        def decide(_row: ChatRow, own: Seat, target: Seat) -> Plan:
            check_act(Act.RESTRICT, own, target, self._now_ms())
            name: RoleName = "restricted" if denied else "member"
            return Plan(Seat(Role.MEMBER, denied, until), EventKind.ROLE, name)

        return await self._change(request.chat, request.account, caller, decide)

    async def leave(self, request: Chat, caller: Caller) -> Noted:
        """Repeating it answers the fact of the first time."""
        chat, me = chat_of(request.chat), caller.account
        seat = (await self._chats.seats(chat, [me])).get(me, NO_SEAT)
        if seat.role > 0:

            def decide(row: ChatRow, own: Seat, _target: Seat) -> Plan:
                if row.kind is Kind.DIRECT:
                    raise forbidden("leave")
                if own.role == Role.OWNER:
                    raise Refused(ErrorCode.LAST_OWNER)
                kept = own if own.role == Role.MEMBER else NO_SEAT  # a restriction waits for them
                new = Seat(Role.LEFT, kept.rights, kept.until)
                return Plan(new, EventKind.MEMBER, "left", "left")

            await self._change(request.chat, str(me), caller, decide, oneself=True)
        elif seat.role < 0 or seat is NO_SEAT:
            raise Refused(ErrorCode.NO_CHAT)
        # 0: the account side never learned of the seat, so there is no fact of its loss either
        return Noted((await self._outbox.settle(chat, [me], "left")).get(me, 0))

    async def _change(
        self,
        chat_id: str,
        account_id: str,
        caller: Caller,
        decide: Decide,
        *,
        oneself: bool = False,
    ) -> Done:
        chat, account = chat_of(chat_id), account_of(account_id)
        for _ in range(TRIES):
            row, own, seats = await self._chats.entered(chat, caller.account, account)
            target = seats.get(account)
            if account == caller.account and not oneself:
                raise forbidden("oneself")
            plan = decide(row, own, target or NO_SEAT)
            if plan is None:
                self._outbox.remind(row.newest())
                return Done(row.last_ev)
            if target is None and account not in await self._people.people([account]):
                raise Refused(ErrorCode.NOT_FOUND, {"what": "account"})
            seen = target or NO_SEAT
            change = SeatChange(
                actor=caller.account,
                actor_seat=own,
                account=account,
                seen=seen,
                new=plan.new,
                kind=plan.kind,
                name=plan.name,
                why=plan.why,
            )
            outcome = await self._changes.change_seat(self._now_ms(), chat, change)
            if outcome.status is Status.STALE:
                continue
            if outcome.status is Status.DONE:
                await self._outbox.tell_seats(chat, caller.account, [(outcome, account, plan.name)])
                if row.kind is Kind.CHANNEL and self._channels is not None and plan.new.role <= 0:
                    self._channels.left(chat)
                moved = plan.new.role != seen.role and max(plan.new.role, seen.role) > 0
                if moved and not oneself:
                    await self._outbox.settle(chat, [account], plan.why)
            else:
                self._outbox.remind(outcome.event)
            return Done(outcome.event.ev)
        raise Refused(ErrorCode.CONFLICT, {"what": "member"})

    def _check_until(self, until: int) -> int:
        if until and until <= self._now_ms():
            raise Refused(ErrorCode.INVALID, {"field": "until", "why": "not in the future"})
        return until


def members_max(kind: Kind) -> int:
    return SUBSCRIBERS_MAX if kind is Kind.CHANNEL else MEMBERS_MAX


_WHY: dict[Status, Literal["member", "banned", "full"]] = {
    Status.SAME: "member",
    Status.BANNED: "banned",
    Status.FULL: "full",
}

"""Ways into a group: its username, links, and requests that an admin answers.

A link is `<chat>.<secret>`: the chat, because what is looked up is looked up by its key, and 256
random bits of which only the SHA-256 is kept. Who holds the text may come in, so it is never
logged and never shown again.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable

from messenger.accounts.store.people import NameKind, PeopleStore
from messenger.accounts.usernames import folded
from messenger.accounts.wire_ids import account_of, page_start
from messenger.chats.creating import Creating
from messenger.chats.doors import Doors
from messenger.chats.membership import Memberships, members_max
from messenger.chats.objects import Views, join_mode
from messenger.chats.protocol import (
    AnswerRequest,
    Chat,
    Done,
    Join,
    Joined,
    LinkCreate,
    LinkCreated,
    LinkInfo,
    LinkList,
    LinkRevoke,
    Nothing,
    Request,
    RequestPage,
    Requests,
)
from messenger.chats.rights import (
    NO_SEAT,
    Kind,
    Role,
    Seat,
    Standing,
    forbidden,
    may,
    standing,
)
from messenger.chats.rules import ChannelRules
from messenger.chats.store.changes import Outcome, Status
from messenger.chats.store.chats import ChatRow, ChatRows
from messenger.chats.store.links import Links
from messenger.chats.wire_ids import chat_of
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId, parse_id
from messenger.log.events import Right
from messenger.wire.codes import ErrorCode

LINKS_MAX = 100  # of one chat; the list fits one answer
REQUESTS_PAGE = 100
_LINK = re.compile(r"([1-9][0-9]{0,18})\.([A-Za-z0-9_-]{43})", re.ASCII)
_LINK_ID = re.compile(r"([1-9][0-9]{0,18})\.([0-9a-f]{64})", re.ASCII)


class Invites:
    """Links, requests, joining."""

    def __init__(
        self,
        links: Links,
        chats: ChatRows,
        memberships: Memberships,
        creating: Creating,
        views: Views,
        people: PeopleStore,
        now_ms: Callable[[], int],
        channels: ChannelRules | None = None,
    ) -> None:
        self._links = links
        self._chats = chats
        self._memberships = memberships
        self._creating = creating
        self._views = views
        self._people = people
        self._now_ms = now_ms
        self._channels = channels
        self.doors = Doors()

    async def join(self, request: Join, caller: Caller) -> Joined:
        """Come in, or ask to. Joining again answers the chat."""
        if (request.link is None) == (request.username is None):
            raise Refused(ErrorCode.INVALID, {"field": "link", "why": "link or username"})
        async with self.doors.enter(request):
            if request.link is not None:
                return await self._join_by_link(request.link, caller)
            return await self._join_by_name(request.username or "", caller)

    async def link_create(self, request: LinkCreate, caller: Caller) -> LinkCreated:
        chat, _, _ = await self._as_inviting_admin(request.chat, caller)
        now = self._now_ms()
        if request.expires_at is not None and request.expires_at <= now:
            raise Refused(ErrorCode.INVALID, {"field": "expires_at", "why": "not in the future"})
        secret = secrets.token_urlsafe(32)
        put = await self._links.put(
            chat,
            hash_of(secret),
            caller.account,
            now,
            expires_at=request.expires_at,
            max_uses=request.max_uses,
            approval=request.approval,
            limit=LINKS_MAX,
        )
        if not put:
            raise Refused(ErrorCode.TOO_LARGE, {"field": "links", "limit": LINKS_MAX})
        return LinkCreated(f"{chat}.{secret}")

    async def links(self, request: Chat, caller: Caller) -> LinkList:
        """Those not revoked, used up and expired ones too, the oldest first."""
        chat, _, _ = await self._as_inviting_admin(request.chat, caller)
        return LinkList(
            [
                LinkInfo(
                    id=f"{chat}.{row.link_hash.hex()}",
                    creator=str(row.creator),
                    at=row.created_at,
                    uses=row.uses,
                    approval=row.approval,
                    expires_at=row.expires_at,
                    max_uses=row.max_uses,
                )
                for row in await self._links.links(chat, LINKS_MAX)
            ]
        )

    async def link_revoke(self, request: LinkRevoke, caller: Caller) -> Nothing:
        """Nobody comes in by it any more; who came stays."""
        found = _LINK_ID.fullmatch(request.link)
        link_hash = bytes.fromhex(found[2]) if found else None
        if found is None and (found := _LINK.fullmatch(request.link)) is not None:
            link_hash = hash_of(found[2])
        if found is None or link_hash is None:
            raise Refused(ErrorCode.LINK_DEAD)
        chat, _, _ = await self._as_inviting_admin(found[1], caller)
        await self._links.revoke(chat, link_hash, self._now_ms())
        return Nothing()

    async def requests(self, request: Requests, caller: Caller) -> RequestPage:
        chat, _, _ = await self._as_inviting_admin(request.chat, caller)
        found = await self._links.requests(chat, page_start(request.after), REQUESTS_PAGE)
        following = str(found[-1][0]) if len(found) == REQUESTS_PAGE else None
        return RequestPage([Request(str(account), at) for account, at in found], following)

    async def answer_request(self, request: AnswerRequest, caller: Caller) -> Done:
        """Let in or turn away who asked; answering again changes nothing."""
        chat, kind, right = await self._as_inviting_admin(request.chat, caller)
        account = account_of(request.account)
        if not request.accept:
            if not await self._links.drop_request(chat, account):
                raise Refused(ErrorCode.NOT_FOUND, {"what": "request"})
            row, _, _ = await self._chats.entered(chat, caller.account)
            return Done(row.last_ev)
        await self._creating.check_room(account)
        outcomes = await self._memberships.admit(
            chat,
            caller.account,
            [account],
            needs=right,
            requested=True,
            limit=members_max(kind),
        )
        match outcomes[0].status:
            case Status.DONE | Status.SAME:
                if kind is Kind.CHANNEL and self._channels is not None:
                    self._channels.joined(chat, "request", outcomes[0].status is Status.DONE)
                return Done(outcomes[0].event.ev)
            case Status.FULL:
                raise Refused(ErrorCode.CHAT_FULL, {"limit": members_max(kind)})
            case Status.FORBIDDEN:
                raise forbidden(right)
            case _:
                raise Refused(ErrorCode.NOT_FOUND, {"what": "request"})

    async def _join_by_link(self, link: str, caller: Caller) -> Joined:
        account = caller.account
        found = _LINK.fullmatch(link)
        number = parse_id(found[1]) if found is not None else None
        if found is None or number is None:
            raise Refused(ErrorCode.LINK_DEAD)
        if self._channels is not None:
            self._channels.check_try(found[1])
        chat, link_hash = ChatId(number), hash_of(found[2])
        held, rows, seat = await asyncio.gather(
            self._links.link(chat, link_hash), self._chats.chats([chat]), self._seat(chat, account)
        )
        row = rows.get(chat)
        if held is None or row is None:
            raise Refused(ErrorCode.LINK_DEAD)
        if seat.role > 0:
            return Joined("member", await self._views.one(account, chat))
        if held.is_dead(self._now_ms()):
            raise Refused(ErrorCode.LINK_DEAD)
        approval = held.approval or join_mode(row) == "request"
        return await self._enter(row, seat, caller, link_hash, approval=approval)

    async def _join_by_name(self, username: str, caller: Caller) -> Joined:
        account = caller.account
        name = folded(username.removeprefix("@"))
        if self._channels is not None:
            self._channels.check_try(name)
        named = await self._people.owner_of_name(name)
        if named is None or named.kind is not NameKind.CHAT:
            raise Refused(ErrorCode.NO_CHAT)
        chat = ChatId(named.target)
        row = (await self._chats.chats([chat])).get(chat)
        if row is None or row.username != name:
            raise Refused(ErrorCode.NO_CHAT)
        seat = await self._seat(chat, account)
        if seat.role > 0:
            return Joined("member", await self._views.one(account, chat))
        mode = join_mode(row)
        if mode == "link":
            raise forbidden("join")
        return await self._enter(row, seat, caller, None, approval=mode == "request")

    async def _enter(
        self,
        row: ChatRow,
        seat: Seat,
        caller: Caller,
        link_hash: bytes | None,
        *,
        approval: bool,
    ) -> Joined:
        account = caller.account
        if standing(seat, self._now_ms()) is Standing.BANNED:
            raise Refused(ErrorCode.BANNED, {"until": seat.until})
        channels = self._channels if row.kind is Kind.CHANNEL else None
        if channels is not None:
            channels.check_join(row, caller)
        await self._creating.check_room(account)
        if approval:
            await self._links.request(row.chat, account, self._now_ms(), link_hash)
            return Joined("requested")
        most = members_max(row.kind)
        outcomes = await self._memberships.admit(
            row.chat, account, [account], link=link_hash, limit=most
        )
        _check_admitted(outcomes[0], most)
        if channels is not None and outcomes[0].status is Status.DONE:
            channels.joined(row.chat, "name" if link_hash is None else "link")
        return Joined("member", await self._views.one(account, row.chat))

    async def _seat(self, chat: ChatId, account: AccountId) -> Seat:
        return (await self._chats.seats(chat, [account])).get(account, NO_SEAT)

    async def _as_inviting_admin(self, chat_id: str, caller: Caller) -> tuple[ChatId, Kind, Right]:
        """The chat and its kind, where the caller is an admin with the right that it takes."""
        chat = chat_of(chat_id)
        row, own, _ = await self._chats.entered(chat, caller.account)
        right = Right.MANAGE_LINKS if row.kind is Kind.CHANNEL else Right.INVITE
        invites = may(row.kind, row.rights, own, self._now_ms(), right)
        if row.kind is Kind.DIRECT or own.role < Role.ADMIN or not invites:
            raise forbidden(right)
        return chat, row.kind, right


def hash_of(secret: str) -> bytes:
    """What is kept of a link. The secret is random, so nothing slower is needed."""
    return hashlib.sha256(secret.encode()).digest()


def _check_admitted(outcome: Outcome, most: int) -> None:
    match outcome.status:
        case Status.DONE | Status.SAME:
            return
        case Status.BANNED:
            raise Refused(ErrorCode.BANNED, {"until": outcome.until})
        case Status.FULL:
            raise Refused(ErrorCode.CHAT_FULL, {"limit": most})
        case _:
            raise Refused(ErrorCode.LINK_DEAD)

"""Reads: my chats, their members, their log."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from messenger.accounts.wire_ids import page_start
from messenger.chats.objects import Views
from messenger.chats.protocol import (
    ChatList,
    ChatObject,
    ChatSet,
    Get,
    List,
    Log,
    LogPage,
    Member,
    MemberPage,
    Members,
    RoleName,
)
from messenger.chats.rights import (
    Kind,
    Role,
    Standing,
    counting,
    forbidden,
    names,
    role_name,
)
from messenger.chats.store.chats import ChatRows, SeatRow
from messenger.chats.store.mine import Mine
from messenger.chats.updates import update_of_row
from messenger.chats.wire_ids import chat_of, chats_of
from messenger.feature import Caller, Refused
from messenger.log.account_log import AccountLog
from messenger.log.events import EventKind
from messenger.wire.codes import ErrorCode

PAGE_BYTES = 60 * 1024  # of a list: an answer is at most 64 KiB
LOGGED = (EventKind.PIN, EventKind.INFO, EventKind.MEMBER, EventKind.ROLE, EventKind.BIG)
ROLES: dict[RoleName | None, Sequence[Role]] = {
    None: (Role.MEMBER, Role.ADMIN, Role.OWNER),
    "owner": (Role.OWNER,),
    "admin": (Role.ADMIN,),
    "member": (Role.MEMBER,),
    "restricted": (Role.MEMBER,),
    "banned": (Role.BANNED,),
}
LAST_EV = 2**31 - 1


class Listing:
    """Lists end early at `PAGE_BYTES`; what was cut is said by `next` or `left`."""

    def __init__(
        self,
        views: Views,
        chats: ChatRows,
        mine: Mine,
        account_log: AccountLog,
        now_ms: Callable[[], int],
    ) -> None:
        self._views = views
        self._chats = chats
        self._mine = mine
        self._account_log = account_log
        self._now_ms = now_ms

    async def list_chats(self, request: List, caller: Caller) -> ChatList:
        """All chats of the account in the order of their ids.

        `aev` was read before them: facts after it may or may not be in the list already.
        """
        aev = (await self._account_log.head(caller.account)).aev
        mine = await self._mine.page(caller.account, page_start(request.after), request.limit)
        by_chat = {row.chat: row for row in mine}
        objects = await self._views.objects_of(caller.account, list(by_chat), by_chat)
        fitting = fitting_page(objects.values())
        if len(fitting) < len(objects):
            following: str | None = str(list(objects)[len(fitting) - 1])
        else:
            following = str(mine[-1].chat) if len(mine) == request.limit else None
        return ChatList(fitting, aev, following)

    async def get(self, request: Get, caller: Caller) -> ChatSet:
        """In the order asked. Chats the account is not in are left out like unknown ones."""
        objects = await self._views.objects(caller.account, chats_of(request.chats))
        fitting = fitting_page(objects.values())
        return ChatSet(fitting, [str(chat) for chat in list(objects)[len(fitting) :]])

    async def members(self, request: Members, caller: Caller) -> MemberPage:
        """In the order of account ids; a page may hold fewer than `limit` and still have a next."""
        chat = chat_of(request.chat)
        row, own, _ = await self._chats.entered(chat, caller.account)
        if request.role == "left":
            raise Refused(ErrorCode.INVALID, {"field": "role", "why": "nobody is listed as left"})
        hidden = row.kind is Kind.CHANNEL or request.role == "banned"
        if hidden and own.role < Role.ADMIN:
            raise forbidden("admin")
        seats = await self._chats.page(
            chat, page_start(request.after), ROLES[request.role], request.limit
        )
        now = self._now_ms()
        direct = row.kind is Kind.DIRECT
        listed = [_member(seat, now, direct=direct) for seat in seats]
        following = str(seats[-1].account) if len(seats) == request.limit else None
        wanted = [one for one in listed if request.role in (None, one.role)]
        return MemberPage(wanted, following)

    async def log(self, request: Log, caller: Caller) -> LogPage:
        """For admins: who did what, as far back as events are kept."""
        chat = chat_of(request.chat)
        _, own, _ = await self._chats.entered(chat, caller.account)
        if own.role < Role.ADMIN:
            raise forbidden("admin")
        rows = await self._chats.log(chat, request.before_ev or LAST_EV, LOGGED, request.limit)
        told = [(row, update_of_row(chat, row)) for row in rows]
        return LogPage(
            [
                msgspec.Raw(
                    msgspec.json.encode(
                        {**msgspec.to_builtins(update), "at": row.at, "by": str(row.actor or 0)}
                    )
                )
                for row, update in told
            ]
        )


def _member(seat: SeatRow, now_ms: int, *, direct: bool) -> Member:
    """In a direct chat a restriction is a block, which is never told."""
    return Member(
        str(seat.account),
        Standing.MEMBER.value if direct else role_name(seat, now_ms),
        [] if direct else names(counting(seat, now_ms)),
        seat.joined_at,
    )


def fitting_page(objects: Iterable[ChatObject | msgspec.Raw]) -> list[msgspec.Raw]:
    """As many as fit an answer, at least one."""
    fitting: list[msgspec.Raw] = []
    room = PAGE_BYTES
    for one in objects:
        encoded = msgspec.json.encode(one)
        room -= len(encoded) + 1
        if room < 0 and fitting:
            break
        fitting.append(msgspec.Raw(encoded))
    return fitting

"""Reads of chats and of who sits in them. The key of all is chat_id."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from messenger.badges import BadgeFact
from messenger.chats.rights import NO_SEAT, Kind, Seat
from messenger.chats.store.rows import rows
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import Event
from messenger.log.store import LogRow
from messenger.wire.codes import ErrorCode

_CHAT = (
    "select chat_id, kind, owner_id, title, about, username, photo_id, epoch, last_seq, last_ev,"
    " last_at, badge, badge_epoch, member_count, member_ver, rights, slow_s, settings, flags"
    " from chat where flags & 4 = 0 and "
)
CHATS = Statement(
    _CHAT + "chat_id = any($1::bigint[])", key="chat_id", one=_CHAT + "chat_id = $1", spread=(1,)
)
_SEAT = (
    "select chat_id, account_id, role, rights, until, joined_at, joined_seq, read_seq"
    " from membership where "
)
OWN_SEATS = Statement(
    _SEAT + "chat_id = any($1::bigint[]) and account_id = $2",
    key="chat_id",
    one=_SEAT + "chat_id = $1 and account_id = $2",
    spread=(1,),
)
SEATS = Statement(_SEAT + "chat_id = $1 and account_id = any($2::bigint[])", key="chat_id")
PEERS = Statement(
    _SEAT + "chat_id = any($1::bigint[]) and account_id <> $2 and role > 0",
    key="chat_id",
    one=_SEAT + "chat_id = $1 and account_id <> $2 and role > 0",
    spread=(1,),
)
PAGE = Statement(
    _SEAT + "chat_id = $1 and account_id > $2 and role = any($3::smallint[])"
    " order by account_id limit $4",
    key="chat_id",
)
HEIR = Statement(
    "select account_id from membership where chat_id = $1 and account_id <> $2 and role >= $3"
    " and role < 4 order by role desc, joined_at, account_id limit 1",
    key="chat_id",
)
PINS = Statement("select seq from pin where chat_id = $1 order by seq desc", key="chat_id")
LOG = Statement(
    "select ev, false, seq, kind, actor_id, at, null, 0, payload, null, null, null from chat_event"
    " where chat_id = $1 and ev < $2 and kind = any($3::smallint[]) order by ev desc limit $4",
    key="chat_id",
)


class ChatRow(Struct, frozen=True):
    """A chat that is not deleted."""

    chat: ChatId
    kind: Kind
    owner: AccountId | None
    title: str | None
    about: str | None
    username: str | None
    photo: int | None
    epoch: int
    last_seq: int
    last_ev: int
    last_at: int
    badge: BadgeFact | None
    badge_epoch: int
    member_count: int
    member_ver: int
    rights: int
    slow_s: int
    settings: dict[str, Any]
    flags: int

    def newest(self) -> Event:
        """What happened last in it, a message too."""
        return Event(
            chat=self.chat,
            ev=self.last_ev,
            at=self.last_at,
            seq=self.last_seq,
            chat_kind=self.kind,
            chat_flags=self.flags,
            member_ver=self.member_ver,
            epoch=self.epoch,
        )


class SeatRow(Seat, frozen=True, kw_only=True):
    """A seat with its history."""

    chat: ChatId
    account: AccountId
    joined_at: int
    joined_seq: int
    read_seq: int
    """The chat's copy of the cursor, for ticks."""


class ChatRows:
    """Chats and seats as they are now."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def chats(self, chats: Collection[ChatId]) -> dict[ChatId, ChatRow]:
        """Unknown and deleted ones are left out."""
        if not chats:
            return {}
        found = [_chat(row) for row in await rows(self._db, CHATS, list(chats))]
        return {one.chat: one for one in found}

    async def own_seats(
        self, chats: Collection[ChatId], account: AccountId
    ) -> dict[ChatId, SeatRow]:
        if not chats:
            return {}
        found = [_seat(row) for row in await rows(self._db, OWN_SEATS, list(chats), account)]
        return {one.chat: one for one in found}

    async def seats(
        self, chat: ChatId, accounts: Collection[AccountId]
    ) -> dict[AccountId, SeatRow]:
        found = [_seat(row) for row in await rows(self._db, SEATS, chat, list(accounts))]
        return {one.account: one for one in found}

    async def entered(
        self, chat: ChatId, account: AccountId, *others: AccountId
    ) -> tuple[ChatRow, Seat, dict[AccountId, SeatRow]]:
        """The chat, the account's own seat, the others' seats.

        Refused(NO_CHAT) for who is no member, before anything else can be learned of the chat.
        """
        seats = await self.seats(chat, [account, *others])
        own = seats.get(account, NO_SEAT)
        if own.role <= 0:
            raise Refused(ErrorCode.NO_CHAT)
        found = (await self.chats([chat])).get(chat)
        if found is None:
            raise Refused(ErrorCode.NO_CHAT)
        return found, own, seats

    async def peers(self, directs: Collection[ChatId], account: AccountId) -> dict[ChatId, SeatRow]:
        """The other side of each direct chat; none for saved messages."""
        if not directs:
            return {}
        found = [_seat(row) for row in await rows(self._db, PEERS, list(directs), account)]
        return {one.chat: one for one in found}

    async def page(
        self, chat: ChatId, after: int, roles: Sequence[int], limit: int
    ) -> list[SeatRow]:
        """Seats of these roles in the order of account ids."""
        return [_seat(row) for row in await rows(self._db, PAGE, chat, after, list(roles), limit)]

    async def heir(self, chat: ChatId, owner: AccountId, role: int) -> AccountId | None:
        """Who comes after the owner: the admin who is there longest, else the member, if `role`
        lets members; None where nobody is left."""
        found = await rows(self._db, HEIR, chat, owner, role)
        return found[0][0] if found else None

    async def pins(self, chat: ChatId) -> list[int]:
        """Pinned seqs, the newest first."""
        return [row[0] for row in await rows(self._db, PINS, chat)]

    async def log(
        self, chat: ChatId, before_ev: int, kinds: Sequence[int], limit: int
    ) -> list[LogRow]:
        """Events of these kinds, the newest first."""
        return [
            LogRow(*row) for row in await rows(self._db, LOG, chat, before_ev, list(kinds), limit)
        ]


def _chat(row: Sequence[Any]) -> ChatRow:
    values = list(row)
    values[1] = Kind(values[1])
    values[11] = None if values[11] is None else msgspec.convert(values[11], BadgeFact)
    values[17] = values[17] or {}
    return ChatRow(*values)


def _seat(row: Sequence[Any]) -> SeatRow:
    chat, account, role, rights, until, joined_at, joined_seq, read_seq = row
    return SeatRow(
        role,
        rights,
        until,
        chat=chat,
        account=account,
        joined_at=joined_at,
        joined_seq=joined_seq,
        read_seq=read_seq,
    )

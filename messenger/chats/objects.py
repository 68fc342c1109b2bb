"""Chats as objects on the wire, as one account sees them."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from typing import cast

from messenger.badges import Subject, shown
from messenger.chats.protocol import ChatObject, JoinMode, KindName, Last, Me
from messenger.chats.rights import (
    NO_SEAT,
    Kind,
    Seat,
    Standing,
    counting,
    names,
    role_name,
    standing,
)
from messenger.chats.store.chats import ChatRow, ChatRows, SeatRow
from messenger.chats.store.mine import Mine, MineRow
from messenger.chats.updates import Info
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import ChatFlag
from messenger.wire.codes import ErrorCode

KINDS: dict[Kind, KindName] = {
    Kind.DIRECT: "direct",
    Kind.GROUP: "group",
    Kind.CHANNEL: "channel",
}


def last_of(row: ChatRow) -> Last:
    return Last(row.last_seq, row.last_ev, row.last_at)


def info_of(row: ChatRow, peer: AccountId | None) -> Info:
    """What `chat.joined` tells."""
    return Info(
        epoch=row.epoch,
        kind=KINDS[row.kind],
        big=bool(row.flags & ChatFlag.BIG),
        last=last_of(row),
        title=row.title,
        peer=None if peer is None else str(peer),
    )


def join_mode(row: ChatRow) -> JoinMode | None:
    """Who may come in: by default whoever has a link, in public chats anybody."""
    if row.kind is Kind.DIRECT:
        return None
    return cast(JoinMode, row.settings.get("join") or ("open" if row.username else "link"))


def chat_object(
    row: ChatRow, seat: Seat, mine: MineRow, peer: SeatRow | None, account: AccountId, now_ms: int
) -> ChatObject:
    """`peer`: the other side of a direct chat, None for saved messages."""
    direct = row.kind is Kind.DIRECT
    subject = Subject(row.username, row.title or "", row.owner or 0)
    return ChatObject(
        id=str(row.chat),
        epoch=row.epoch,
        kind=KINDS[row.kind],
        big=bool(row.flags & ChatFlag.BIG),
        members=row.member_count,
        rights=names(row.rights),
        slow_s=row.slow_s,
        last=last_of(row),
        me=Me(
            # in a direct chat the only restriction is a block, and a block is never told
            role=Standing.MEMBER.value if direct else role_name(seat, now_ms),
            rights=[] if direct else names(counting(seat, now_ms)),
            joined_seq=seat.joined_seq if isinstance(seat, SeatRow) else 0,
            read_seq=mine.read_seq,
            cleared_seq=mine.cleared_seq,
            muted_until=mine.muted_until,
            pin=mine.pin,
            folder=mine.folder,
        ),
        title=row.title,
        about=row.about,
        username=row.username,
        photo=None if row.photo is None else str(row.photo),
        join=join_mode(row),
        history_for_new=not row.flags & ChatFlag.NO_HISTORY,
        signed=row.settings.get("signed"),
        reactions=row.settings.get("reactions"),
        category=row.settings.get("category"),
        peer=str(account if peer is None else peer.account) if direct else None,
        peer_read=peer.read_seq if direct and peer is not None else None,
        badge=shown(row.badge, row.badge_epoch, subject, now_ms),
    )


class Views:
    """Reads chats for one account: both sides of the key, put together here and not in SQL."""

    def __init__(self, chats: ChatRows, mine: Mine, now_ms: Callable[[], int]) -> None:
        self._chats = chats
        self._mine = mine
        self._now_ms = now_ms

    async def objects(
        self, account: AccountId, chats: Collection[ChatId]
    ) -> dict[ChatId, ChatObject]:
        """Those of `chats` that the account is in; four statements, however many they are."""
        mine, seats = await asyncio.gather(
            self._mine.of_chats(account, chats), self._chats.own_seats(chats, account)
        )
        return await self._objects(account, chats, mine, seats)

    async def objects_of(
        self,
        account: AccountId,
        chats: Collection[ChatId],
        mine: dict[ChatId, MineRow],
    ) -> dict[ChatId, ChatObject]:
        """The same where the account side is read already; in the order of `chats`."""
        seats = await self._chats.own_seats(chats, account)
        return await self._objects(account, chats, mine, seats)

    async def _objects(
        self,
        account: AccountId,
        chats: Collection[ChatId],
        mine: Mapping[ChatId, MineRow],
        seats: Mapping[ChatId, SeatRow],
    ) -> dict[ChatId, ChatObject]:
        inside = [chat for chat in chats if chat in seats and seats[chat].role > 0]
        rows = await self._chats.chats(inside)
        directs = [chat for chat, row in rows.items() if row.kind is Kind.DIRECT]
        peers = await self._chats.peers(directs, account)
        return {
            chat: chat_object(
                rows[chat],
                seats[chat],
                # a seat whose second half is on its way is a seat
                mine.get(chat, MineRow(chat, read_seq=seats[chat].joined_seq)),
                peers.get(chat),
                account,
                self._now_ms(),
            )
            for chat in inside
            if chat in rows
        }

    async def one(self, account: AccountId, chat: ChatId) -> ChatObject:
        """Refused(NO_CHAT) where the account is not in it."""
        found = (await self.objects(account, [chat])).get(chat)
        if found is None:
            raise Refused(ErrorCode.NO_CHAT)
        return found

    async def username_of(self, chat: ChatId) -> str | None:
        """None for a chat that is gone, too."""
        row = (await self._chats.chats([chat])).get(chat)
        return None if row is None else row.username

    async def public(self, account: AccountId, chat: ChatId) -> ChatObject | None:
        """A chat with a username, for anybody who is not banned; None for all others."""
        row = (await self._chats.chats([chat])).get(chat)
        if row is None or row.username is None:
            return None
        seat = (await self._chats.own_seats([chat], account)).get(chat, NO_SEAT)
        if seat.role > 0:
            return await self.one(account, chat)
        now = self._now_ms()
        if standing(seat, now) is Standing.BANNED:
            return None
        return chat_object(row, seat, MineRow(chat), None, account, now)

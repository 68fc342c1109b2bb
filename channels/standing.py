"""Who asks, and of what channel: the checks that all rpcs of this package begin with."""

from collections.abc import Callable
from typing import Any

import msgspec

from messenger.chats.rights import Kind, Role, Seat, forbidden, may
from messenger.chats.store.chats import ChatRow, ChatRows
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import Right
from messenger.wire.codes import ErrorCode


class Seats:
    """Refused(NO_CHAT) for strangers, before anything else can be learned of the channel."""

    def __init__(self, chats: ChatRows, now_ms: Callable[[], int]) -> None:
        self._chats = chats
        self._now_ms = now_ms

    async def of_any_kind(self, chat: ChatId, account: AccountId) -> tuple[ChatRow, Seat]:
        """Reports and sanctions are of groups too."""
        row, seat, _ = await self._chats.entered(chat, account)
        return row, seat

    async def member(self, chat: ChatId, account: AccountId) -> tuple[ChatRow, Seat]:
        """Members of other kinds of chat are told that this one is no channel."""
        row, seat = await self.of_any_kind(chat, account)
        if row.kind is not Kind.CHANNEL:
            raise Refused(ErrorCode.INVALID, {"field": "chat", "why": "not a channel"})
        return row, seat

    async def admin(
        self, chat: ChatId, account: AccountId, right: Right | None = None
    ) -> tuple[ChatRow, Seat]:
        """Refused(FORBIDDEN) for plain members, and for admins without `right`."""
        row, seat = await self.member(chat, account)
        if seat.role < Role.ADMIN:
            raise forbidden(right or "admin")
        if right is not None and not may(row.kind, row.rights, seat, self._now_ms(), right):
            raise forbidden(right)
        return row, seat


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))

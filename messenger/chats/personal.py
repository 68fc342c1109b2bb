"""What an account sets for itself in a chat: mute, pin, folder, draft, clear.

Each is an account fact of which the newest one per chat counts, so that devices agree without
asking. Setting the same again answers the number it has.
"""

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from messenger.chats.protocol import Clear, Draft, Folder, Mute, Noted, Pin
from messenger.chats.store.chats import ChatRows
from messenger.chats.store.mine import Mine
from messenger.chats.updates import account_update
from messenger.chats.wire_ids import chat_of
from messenger.delivery.fanout import Delivery
from messenger.feature import Caller, Refused
from messenger.log.account_log import AccountKind
from messenger.wire.codes import ErrorCode


class Personal:
    """One transaction on the account's key each."""

    def __init__(
        self, mine: Mine, chats: ChatRows, delivery: Delivery, now_ms: Callable[[], int]
    ) -> None:
        self._mine = mine
        self._chats = chats
        self._delivery = delivery
        self._now_ms = now_ms

    async def mute(self, request: Mute, caller: Caller) -> Noted:
        payload = {"muted_until": request.until}
        return await self._set(
            caller, request.chat, AccountKind.MUTE, "muted_until", request.until, payload
        )

    async def pin(self, request: Pin, caller: Caller) -> Noted:
        payload = {"pin": request.rank}
        return await self._set(
            caller, request.chat, AccountKind.PIN, "pin_rank", request.rank, payload
        )

    async def folder(self, request: Folder, caller: Caller) -> Noted:
        payload = {"folder": request.n}
        return await self._set(
            caller, request.chat, AccountKind.FOLDER, "folder", request.n, payload
        )

    async def draft(self, request: Draft, caller: Caller) -> Noted:
        payload = {"draft": unicodedata.normalize("NFC", request.text)}
        return await self._set(caller, request.chat, AccountKind.DRAFT, "draft", None, payload)

    async def clear(self, request: Clear, caller: Caller) -> Noted:
        """Hide everything up to a message from oneself; it never goes back."""
        row, _, _ = await self._chats.entered(chat_of(request.chat), caller.account)
        cleared = min(request.up_to_seq, row.last_seq)  # else the future would be cleared too
        payload = {"cleared_seq": cleared}
        return await self._set(
            caller, request.chat, AccountKind.CLEARED, "cleared_seq", cleared, payload
        )

    async def _set(
        self,
        caller: Caller,
        chat_id: str,
        kind: AccountKind,
        column: str,
        value: int | None,
        payload: Mapping[str, Any],
    ) -> Noted:
        chat = chat_of(chat_id)
        written = await self._mine.set_fact(
            self._now_ms(), caller.account, chat, kind, column, value, payload
        )
        if written is None:
            raise Refused(ErrorCode.NO_CHAT)
        # a repeat tells it again, with its number: perhaps nobody heard of the first
        aev, _ = written
        update = account_update(kind, aev, chat, payload)
        self._delivery.account_fact(caller.account, msgspec.json.encode(update))
        return Noted(aev)

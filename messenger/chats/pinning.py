"""Pinned messages of a chat, and reports of a chat or message to the moderators."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from messenger.accounts.names import clean_text
from messenger.chats.listing import fitting_page
from messenger.chats.outbox import Outbox
from messenger.chats.protocol import Chat, Done, Messages, PinMessage, Report, Reported
from messenger.chats.rights import forbidden
from messenger.chats.store.changes import Changes, Status
from messenger.chats.store.chats import ChatRows
from messenger.chats.store.links import Links
from messenger.chats.updates import MessagePinned
from messenger.chats.wire_ids import chat_of
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import MessageFlag, Right, voice
from messenger.log.store import ChatStore
from messenger.wire.codes import ErrorCode

PINS_MAX = 100  # of one chat

MessagesOf = Callable[[AccountId, ChatId, Sequence[int]], Awaitable[Sequence[msgspec.Raw]]]
"""Message objects as this account sees them; deleted and hidden ones are left out."""


class Pinning:
    """Pins and reports."""

    def __init__(
        self,
        changes: Changes,
        chats: ChatRows,
        links: Links,
        chat_log: ChatStore,
        outbox: Outbox,
        messages_of: MessagesOf,
        mint: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:
        self._changes = changes
        self._chats = chats
        self._links = links
        self._chat_log = chat_log
        self._outbox = outbox
        self._messages_of = messages_of
        self._mint = mint
        self._now_ms = now_ms

    async def pin_message(self, request: PinMessage, caller: Caller) -> Done:
        """Repeating it changes nothing. Deleting a message takes its pin along."""
        chat = chat_of(request.chat)
        outcome = await self._changes.pin(
            self._now_ms(),
            chat,
            caller.account,
            request.seq,
            on=request.on,
            silent=request.silent,
            limit=PINS_MAX,
        )
        match outcome.status:
            case Status.DONE:
                update = MessagePinned(
                    chat=str(chat),
                    ev=outcome.event.ev,
                    seq=request.seq,
                    on=request.on,
                    by=str(voice(chat, outcome.event.chat_kind, caller.account)),
                    silent=True if request.silent else msgspec.UNSET,
                )
                self._outbox.tell(outcome.event, update)
            case Status.SAME:
                self._outbox.remind(outcome.event)
            case Status.BANNED:
                raise Refused(ErrorCode.NO_MESSAGE)
            case Status.FULL:
                raise Refused(ErrorCode.TOO_LARGE, {"field": "pins", "limit": PINS_MAX})
            case Status.FORBIDDEN:
                raise forbidden(Right.PIN)
        return Done(outcome.event.ev)

    async def pins(self, request: Chat, caller: Caller) -> Messages:
        """The newest message first."""
        chat = chat_of(request.chat)
        await self._chats.entered(chat, caller.account)
        seqs = await self._chats.pins(chat)
        found = await self._messages_of(caller.account, chat, seqs) if seqs else []
        fitting = fitting_page(found)
        return Messages(fitting, more=len(fitting) < len(found))

    async def report(self, request: Report, caller: Caller) -> Reported:
        chat = chat_of(request.chat)
        await self._chats.entered(chat, caller.account)
        reason = clean_text("reason", request.reason)
        text = clean_text("text", request.text, lines=True)
        if request.seq is not None:
            found = await self._chat_log.messages(chat, [request.seq])
            if not found or found[0].flags & MessageFlag.DELETED:
                raise Refused(ErrorCode.NO_MESSAGE)
        report_id = self._mint()
        await self._links.report(
            report_id, caller.account, chat, request.seq, reason, text, self._now_ms()
        )
        return Reported(str(report_id))

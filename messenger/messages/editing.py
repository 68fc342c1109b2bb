"""Changing what was said: edit, delete for everybody or for oneself.

One statement each: lock the chat, check, change, number. The update goes out after the commit; who
misses it finds the event by its number.
"""

import msgspec
from msgspec import UNSET

from messenger.delivery.fanout import Delivery, dirty_update
from messenger.feature import Caller, Refused, WriteGate
from messenger.ids import ChatId
from messenger.log.events import ChatFlag, EventLog, voice
from messenger.messages.indexing import Indexer
from messenger.messages.objects import channel_of, chat_of, counts_of, extra_text, message_of
from messenger.messages.protocol import (
    Deleted,
    DeleteMessages,
    Edited,
    EditMessage,
    Extra,
    MessageDeleted,
    MessageEdited,
    MessageHidden,
)
from messenger.messages.store import EditedRow, MessageStore
from messenger.messages.texts import TextBounds, checked_text
from messenger.wire.codes import ErrorCode

WINDOW_MS = 48 * 3_600_000


class Editing:
    """The rpcs `messages.edit` and `messages.delete`."""

    def __init__(
        self,
        store: MessageStore,
        events: EventLog,
        delivery: Delivery,
        indexer: Indexer,
        bounds: TextBounds,
        gate: WriteGate | None = None,
    ) -> None:
        self._gate = gate
        self._store = store
        self._events = events
        self._delivery = delivery
        self._indexer = indexer
        self._bounds = bounds

    async def edit(self, request: EditMessage, caller: Caller) -> Edited:
        """Own texts for 48 hours; forwards stay what they were."""
        chat = chat_of(request.chat)
        if self._gate is not None:  # else an old post would say what a new one may not
            self._gate.check(chat=chat, account=caller.account)
        text = checked_text(request.text, request.ents, self._bounds)
        extra = extra_text(await self._kept(chat, request))
        edited = await self._store.edit(chat, request.seq, caller.account, text, extra, WINDOW_MS)
        event = edited.event
        if edited.changed:
            self._delivery.chat_event(event, _edit_update(edited))
            self._indexer.edited(chat, request.seq, text)
        else:
            self._delivery.remind(event)
        return Edited(ev=event.ev, at=event.at)

    async def _kept(self, chat: ChatId, request: EditMessage) -> Extra:
        """The new entities beside what an edit does not change: who signed, the album."""
        found = await self._store.these(chat, [request.seq])
        kept = found[0].row.extra if found else None
        extra = msgspec.convert(kept, Extra) if kept else Extra()
        preview = extra.preview if request.preview is UNSET else request.preview
        return msgspec.structs.replace(extra, ents=request.ents or None, preview=preview)

    async def delete(self, request: DeleteMessages, caller: Caller) -> Deleted:
        """All or nothing; repeating gives the same end state and makes no event."""
        if request.scope == "me":
            return await self._hide(request, caller)
        chat = chat_of(request.chat)
        await self._store.member(chat, caller.account)  # a banned one is told so
        done = await self._events.delete_messages(
            chat, request.seqs, caller.account, window_ms=WINDOW_MS
        )
        if done.changed:
            update = MessageDeleted(
                str(chat),
                done.event.ev,
                seqs=list(done.seqs),
                by=str(voice(chat, done.event.chat_kind, caller.account)),
            )
            self._delivery.chat_event(done.event, msgspec.json.encode(update))
            self._indexer.deleted(chat, done.seqs)
        else:
            self._delivery.remind(done.event)
        return Deleted(ev=done.event.ev)

    async def _hide(self, request: DeleteMessages, caller: Caller) -> Deleted:
        chat = chat_of(request.chat)
        standing = await self._store.member(chat, caller.account)
        if max(request.seqs) > standing.last_seq:
            raise Refused(ErrorCode.NO_MESSAGE)
        aev, seqs = await self._store.hide(caller.account, chat, request.seqs)
        if seqs:
            update = MessageHidden(aev=aev, chat=str(chat), seqs=seqs)
            self._delivery.account_fact(caller.account, msgspec.json.encode(update))
        return Deleted(aev=aev)


def _edit_update(edited: EditedRow) -> bytes:
    """One update for all members: where some may not see the message, each fetches it."""
    event = edited.event
    if event.chat_flags & ChatFlag.NO_HISTORY:
        return dirty_update(event)
    channel = channel_of(event.chat, event.chat_kind)
    message = message_of(edited.row, counts_of(edited.stat), channel=channel)
    return msgspec.json.encode(MessageEdited(str(event.chat), event.ev, message))

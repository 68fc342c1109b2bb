"""The chat log as updates: what `chat:<id>` recovers from and `sync.difference` is made of.

An update read back says what the live one said, except that new and edited messages show their
present content; the later edit or deletion that explains it follows under its own number.
"""

import logging
from collections.abc import Container, Mapping, Sequence
from typing import Any

import msgspec

from messenger.chats.updates import chat_update
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.delivery.fanout import Dirty
from messenger.ids import AccountId, ChatId
from messenger.log.events import CHANNEL, ChatFlag, EventKind
from messenger.log.store import ChatStore, Head, MessageRow
from messenger.messages.objects import counts_of, message_of
from messenger.messages.protocol import (
    MessageDeleted,
    MessageEdited,
    MessageNew,
    MessageReactions,
)

_ROW = (
    "select chat_id, ev, is_message, seq, kind, actor_id, payload, m_ev, m_sender, m_at, m_kind,"
    " m_flags, m_edited, m_reply, m_body, m_extra, m_stat from "
)
DIFFERENCES = Statement(
    _ROW + "chats_difference($1::bigint[], $2::int[], $3::int[])",
    key="chat_id",
    one=_ROW + "chats_difference_one($1, $2::int[], $3::int[])",
    spread=(1, 2, 3),
)

Events = list[tuple[int, bytes]]
"""(ev, update), dense from the one after the position asked for."""

log = logging.getLogger(__name__)


class ChatFeed:
    """Reads updates back from the log."""

    def __init__(self, db: Database, chats: ChatStore) -> None:
        self._db = db
        self._chats = chats

    async def may_open(self, chat: ChatId, account: AccountId) -> bool:
        """Is the account a member; False also for a chat that is deleted or never was."""
        flags = await self._chats.flags_for(chat, account)
        return flags is not None and not flags & ChatFlag.DELETED

    async def head(self, chat: ChatId) -> tuple[int, int]:
        """(epoch, ev); (0, 0) for an unknown chat."""
        head = await self._chats.head(chat)
        return (head.epoch, head.ev) if head else (0, 0)

    async def since(
        self, chat: ChatId, ev: int, limit: int, account: AccountId | None = None
    ) -> Events:
        """The events after `ev` as `account` may see them; empty where they are no longer kept.

        Without an account: as all who have the chat open may see them. In a chat that keeps its
        past from new members an edit says only that there is one, as it did live.
        """
        wanted = [(chat, ev, limit)]
        head = await self._chats.head(chat)
        if head is None:
            return []
        channels = {chat} if head.kind == CHANNEL else set()
        if not head.flags & ChatFlag.NO_HISTORY:
            return (await self.since_many(wanted, {}, channels)).get(chat, [])
        if account is None:
            rows = (await self._rows(wanted)).get(chat, [])
            return [(row[1], msgspec.json.encode(_for_all(row, head))) for row in rows]
        membership = await self._chats.membership(chat, account)
        floor = membership.joined_seq if membership is not None else head.seq
        return (await self.since_many(wanted, {chat: floor}, channels)).get(chat, [])

    async def since_many(
        self,
        wanted: Sequence[tuple[ChatId, int, int]],
        floors: Mapping[ChatId, int],
        channels: Container[ChatId],
    ) -> dict[ChatId, Events]:
        """The same for (chat, ev, limit) of many chats, in one statement.

        A message up to its chat's floor is shown as a tombstone: it is from before the reader
        came, in a chat that keeps its past from new members. `channels`: those of `wanted` that
        speak themselves.
        """
        found: dict[ChatId, Events] = {}
        for chat, rows in (await self._rows(wanted)).items():
            floor, channel = floors.get(chat, 0), chat in channels
            found[chat] = [
                (row[1], msgspec.json.encode(_update(row, floor, channel=channel))) for row in rows
            ]
        return found

    async def _rows(
        self, wanted: Sequence[tuple[ChatId, int, int]]
    ) -> dict[ChatId, list[Sequence[Any]]]:
        columns = [list(column) for column in zip(*wanted, strict=True)]
        rows = await self._db.rows(DIFFERENCES, *columns)
        found: dict[ChatId, list[Sequence[Any]]] = {}
        after = {chat: ev for chat, ev, _ in wanted}
        for row in rows:
            events = found.setdefault(row[0], [])
            if row[1] != after[row[0]] + len(events) + 1:
                log.error("chat log has a hole", extra={"chat": row[0], "ev": row[1]})
                after[row[0]] = -1  # nothing after the hole is taken
                continue
            events.append(row)
        return found


def _for_all(row: Sequence[Any], head: Head) -> Any:
    """The same for members of whom some came after the message that was edited."""
    chat, ev, is_message, _, kind = row[:5]
    if not is_message and kind == EventKind.EDIT:
        return Dirty(str(chat), epoch=head.epoch, ev=ev, seq=head.seq, at=head.at)
    return _update(row, 0, channel=head.kind == CHANNEL)


def _update(row: Sequence[Any], floor: int, *, channel: bool) -> Any:
    """One row of the difference as the struct of its update."""
    chat, ev, is_message, seq, kind, actor, payload = row[:7]
    speaker = chat if channel else None
    actor = chat if channel else actor
    if is_message or kind == EventKind.EDIT:
        if row[7] is None:  # the edit outlived its message, whose time was over
            return MessageDeleted(str(chat), ev, seqs=[seq], by=str(actor))
        message = MessageRow(*[seq, *row[7:14], None, *row[14:16]])
        m = message_of(message, counts_of(row[16]), hidden=seq <= floor, channel=speaker)
        return MessageNew(str(chat), ev, m) if is_message else MessageEdited(str(chat), ev, m)
    if kind == EventKind.DELETE:
        return MessageDeleted(str(chat), ev, seqs=payload["seqs"], by=str(actor))
    if kind == EventKind.REACTIONS:
        return MessageReactions(str(chat), ev, seq, payload["counts"])
    update = chat_update(chat, ev, kind, actor=actor, seq=seq, payload=payload)
    if update is None:
        raise AssertionError(f"unreachable: event kind {kind} has no update")
    return update

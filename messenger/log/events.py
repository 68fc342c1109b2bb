"""Everything that happens in a chat besides new messages: lock, check, change, number."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from enum import IntEnum, unique
from typing import Any

import msgspec
from msgspec import Struct

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.wire.codes import ErrorCode

_HEAD = "ev, at, seq, chat_kind, chat_flags, member_ver, epoch"

APPEND = Statement(
    f"select {_HEAD} from append_event($1, $2, $3, $4, $5, $6::jsonb)",  # noqa: S608 - constants
    key="chat_id",
)
DELETE = Statement(
    f"select status, {_HEAD}, seqs from delete_messages($1, $2, $3, $4, $5)",  # noqa: S608
    key="chat_id",
)


@unique
class EventKind(IntEnum):
    """`chat_event.kind`. 1 is a message in the numbering of `ev` and has no row there."""

    EDIT = 2
    DELETE = 3
    PIN = 4
    REACTIONS = 5
    INFO = 6
    MEMBER = 7
    ROLE = 8
    BIG = 9
    CHAT_DELETED = 10


@unique
class MessageFlag(IntEnum):
    """Bits of `message.flags`."""

    DELETED = 1
    SILENT = 2
    EDITED = 4
    FORWARD = 8


@unique
class ChatFlag(IntEnum):
    """Bits of `chat.flags`."""

    BIG = 1
    EMBARGO = 2
    DELETED = 4
    PROTECTED = 8
    SIGNED = 16
    NO_HISTORY = 32
    PUBLIC = 64


@unique
class Right(IntEnum):
    """Bits of `chat.rights` and `membership.rights`."""

    POST = 1
    MEDIA = 2
    EDIT_OTHERS = 4
    DELETE_OTHERS = 8
    INVITE = 16
    PIN = 32
    CHANGE_INFO = 64
    RESTRICT_MEMBERS = 128
    ADD_ADMINS = 256
    STATISTICS = 1024
    MANAGE_LINKS = 2048  # in channels; 512 marks what is the owner's alone


CHANNEL = 3  # chat.kind


def voice(chat: ChatId, chat_kind: int, actor: int) -> int:
    """Who is shown to have done it: in a channel the channel itself, so that no admin is named."""
    return chat if chat_kind == CHANNEL else actor


class Event(Struct, frozen=True, gc=False):
    """A numbered event of a chat, with what its route needs."""

    chat: ChatId
    ev: int
    at: int
    seq: int
    """The chat's last_seq at that moment, so (ev, seq, at) is its head."""
    chat_kind: int
    chat_flags: int
    member_ver: int
    epoch: int = 1


class Changed(Struct, frozen=True):
    """The answer to a deletion."""

    event: Event
    """What was made; where nothing changed, the chat's newest event, which needs no delivery."""
    changed: bool
    seqs: Sequence[int]


def event_of(chat: ChatId, row: Sequence[Any]) -> Event:
    """From (ev, at, seq, chat_kind, chat_flags, member_ver, epoch): what `append_event` returns."""
    return Event(chat, *row)


OnRecord = Callable[[ChatId], AbstractAsyncContextManager[None]]
"""Keeps a chat on record while an event of it is written and told: `NodeIntents.event`."""


@asynccontextmanager
async def off_record(_chat: ChatId) -> AsyncIterator[None]:
    """For a log without other nodes."""
    yield


def _now_ms() -> int:
    return int(time.time() * 1000)


class EventLog:
    """Writes events. One call = one transaction on the chat's key."""

    def __init__(
        self,
        db: Database,
        now_ms: Callable[[], int] = _now_ms,
        on_record: OnRecord = off_record,
    ) -> None:
        self._db = db
        self._now_ms = now_ms
        self.on_record = on_record

    async def append_event(
        self,
        chat: ChatId,
        kind: EventKind,
        seq: int | None,
        actor: AccountId | None,
        payload: Mapping[str, Any] | None,
    ) -> Event:
        """Number an event whose rights were checked before. Raises Refused(NO_CHAT)."""
        text = msgspec.json.encode(payload).decode() if payload is not None else None
        async with self.on_record(chat):
            row = await self._one(APPEND, self._now_ms(), chat, int(kind), seq, actor, text)
        if row is None:
            raise Refused(ErrorCode.NO_CHAT)
        return event_of(chat, row)

    async def delete_messages(
        self, chat: ChatId, seqs: Collection[int], actor: AccountId, *, window_ms: int
    ) -> Changed:
        """Make tombstones for everybody, all or none; `changed.seqs` are those deleted now.

        Raises Refused: NO_CHAT, NO_MESSAGE, FORBIDDEN, EDIT_WINDOW.
        """
        async with self.on_record(chat):
            row = await self._one(DELETE, self._now_ms(), chat, list(seqs), actor, window_ms)
        return _changed(chat, row, window_ms)

    async def _one(self, statement: Statement, *values: object) -> Any:
        async with self._db.statement() as connection:
            return (await connection.exec_driver_sql(statement.sql, values)).fetchone()


def _changed(chat: ChatId, row: Sequence[Any], window_ms: int) -> Changed:
    match row[0]:
        case 0 | 1:
            return Changed(event_of(chat, row[1:8]), changed=row[0] == 0, seqs=row[8])
        case 2:
            raise Refused(ErrorCode.NO_MESSAGE)
        case 3:
            raise Refused(ErrorCode.FORBIDDEN, {"right": Right.DELETE_OTHERS.name.lower()})
        case 5:
            raise Refused(ErrorCode.EDIT_WINDOW, {"until": row[2] + window_ms})
        case _:
            raise Refused(ErrorCode.NO_CHAT)

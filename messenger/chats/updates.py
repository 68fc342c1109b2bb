"""The updates of `chats.*`, and the one way from a stored row to the update that told of it.

Live delivery, differences and `chats.log` therefore say the same of the same event.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from messenger.chats.protocol import KindName, Last, RoleName
from messenger.ids import AccountId, ChatId
from messenger.log.account_log import AccountKind, AccountRow
from messenger.log.events import EventKind
from messenger.log.store import LogRow


class ChatUpdated(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.updated"):
    """`set`: the fields of the Chat object that changed, in their new form; null = gone."""

    chat: str
    ev: int
    set: Mapping[str, Any]


class MemberChanged(Struct, frozen=True, kw_only=True, tag_field="t", tag="member.changed"):
    chat: str
    ev: int
    account: str
    role: RoleName
    by: str


class ChatBig(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.big"):
    """From here on events come on `chat:<id>`."""

    chat: str
    ev: int


class ChatDeleted(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.deleted"):
    chat: str
    ev: int


class MessagePinned(Struct, frozen=True, kw_only=True, tag_field="t", tag="message.pinned"):
    chat: str
    ev: int
    seq: int
    on: bool
    by: str
    silent: bool | UnsetType = UNSET


class Info(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a new member is told at once; the rest by `chats.get`."""

    epoch: int
    kind: KindName
    big: bool
    last: Last
    title: str | None = None
    peer: str | None = None


class ChatJoined(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.joined"):
    aev: int
    chat: str
    info: msgspec.Raw


class ChatLeft(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.left"):
    """`why`: left, removed, banned or deleted."""

    aev: int
    chat: str
    why: str


class ChatMuted(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.muted"):
    aev: int
    chat: str
    muted_until: int


class ChatPinned(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.pinned"):
    aev: int
    chat: str
    pin: int | None


class ChatFolder(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.folder"):
    aev: int
    chat: str
    folder: int | None


class ChatDraft(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.draft"):
    aev: int
    chat: str
    draft: str


class ChatCleared(Struct, frozen=True, kw_only=True, tag_field="t", tag="chat.cleared"):
    aev: int
    chat: str
    cleared_seq: int


ChatEvent = ChatUpdated | MemberChanged | ChatBig | ChatDeleted | MessagePinned
AccountFact = ChatJoined | ChatLeft | ChatMuted | ChatPinned | ChatFolder | ChatDraft | ChatCleared


def chat_update(
    chat: ChatId,
    ev: int,
    kind: int,
    *,
    actor: AccountId | None = None,
    seq: int | None = None,
    payload: Mapping[str, Any] | None = None,
) -> ChatEvent | None:
    """The update of an event; None where its kind is not of this package."""
    named, by, more = str(chat), str(actor or 0), payload or {}
    match kind:
        case EventKind.PIN:
            return MessagePinned(chat=named, ev=ev, seq=seq or 0, by=by, **more)
        case EventKind.INFO:
            return ChatUpdated(chat=named, ev=ev, set=more["set"])
        case EventKind.MEMBER | EventKind.ROLE:
            return MemberChanged(chat=named, ev=ev, by=by, **more)
        case EventKind.BIG:
            return ChatBig(chat=named, ev=ev)
        case EventKind.CHAT_DELETED:
            return ChatDeleted(chat=named, ev=ev)
        case _:
            return None


def update_of_row(chat: ChatId, row: LogRow) -> ChatEvent | None:
    """The same from a row of the log."""
    return chat_update(chat, row.ev, row.kind, actor=row.actor, seq=row.seq, payload=row.payload)


def account_update(
    kind: int, aev: int, chat: ChatId, payload: Mapping[str, Any]
) -> AccountFact | None:
    """The update of an account fact; None where its kind is not of this package."""
    named = str(chat)
    match kind:
        case AccountKind.JOINED:
            info = msgspec.Raw(msgspec.json.encode(payload["info"]))
            return ChatJoined(aev=aev, chat=named, info=info)
        case AccountKind.LEFT:
            return ChatLeft(aev=aev, chat=named, why=payload.get("why") or "removed")
        case AccountKind.MUTE:
            return ChatMuted(aev=aev, chat=named, **payload)
        case AccountKind.PIN:
            return ChatPinned(aev=aev, chat=named, **payload)
        case AccountKind.FOLDER:
            return ChatFolder(aev=aev, chat=named, **payload)
        case AccountKind.DRAFT:
            return ChatDraft(aev=aev, chat=named, **payload)
        case AccountKind.CLEARED:
            return ChatCleared(aev=aev, chat=named, **payload)
        case _:
            return None


def update_of_fact(row: AccountRow) -> AccountFact | None:
    """The same from a row of the account's log."""
    return account_update(row.kind, row.aev, row.chat, row.payload or {})

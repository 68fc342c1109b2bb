"""A stored message as the Message object of the wire, and ids of the wire as numbers."""

from collections.abc import Mapping, Sequence
from enum import IntEnum, unique
from typing import Any

import msgspec

from messenger.feature import Refused
from messenger.ids import AccountId, ChatId, parse_id
from messenger.log.events import CHANNEL, MessageFlag
from messenger.log.store import MessageRow
from messenger.messages.protocol import PAGE_BYTES, Extra, Message
from messenger.wire.codes import ErrorCode


@unique
class Kind(IntEnum):
    """`message.kind`."""

    TEXT = 1
    MEDIA = 2
    CALL = 3
    POLL = 4


KIND_NAMES: Mapping[int, str] = {kind.value: kind.name.lower() for kind in Kind}
KINDS: Mapping[str, int] = {name: kind for kind, name in KIND_NAMES.items()}


def id_of(text: str, field: str) -> int:
    """The number behind a `WireId`; Refused(INVALID) beyond 63 bits."""
    number = parse_id(text)
    if number is None:
        raise Refused(ErrorCode.INVALID, {"field": field, "why": "beyond 63 bits"})
    return number


def chat_of(text: str, field: str = "chat") -> ChatId:
    return ChatId(id_of(text, field))


def message_of(
    row: MessageRow,
    reactions: dict[str, int] | None = None,
    *,
    hidden: bool = False,
    channel: ChatId | None = None,
    views: int | None = None,
) -> Message:
    """`hidden`: the reader deleted it for themselves, and sees what a tombstone shows.

    `channel`: it is a post of this channel, which then speaks itself.
    """
    sender = str(row.sender if channel is None else channel)
    if hidden or row.flags & MessageFlag.DELETED:
        return Message(
            seq=row.seq,
            ev=row.ev,
            sender=sender,
            at=row.at,
            k=KIND_NAMES.get(row.kind, "text"),
            deleted=True,
        )
    extra = msgspec.convert(row.extra, Extra) if row.extra else Extra()
    return Message(
        seq=row.seq,
        ev=row.ev,
        sender=sender,
        at=row.at,
        k=KIND_NAMES.get(row.kind, "text"),
        text=row.body,
        ents=extra.ents,
        reply=row.reply,
        fwd=extra.fwd,
        edited=row.edited_at,
        silent=bool(row.flags & MessageFlag.SILENT),
        reactions=reactions or None,
        signed=extra.signed,
        preview=extra.preview,
        album=extra.album,
        views=views,
    )


def channel_of(chat: ChatId, chat_kind: int) -> ChatId | None:
    """The chat where it is a channel."""
    return chat if chat_kind == CHANNEL else None


def counts_of(stat: Any) -> dict[str, int] | None:
    """The counts within `post_stat.reactions`."""
    return stat.get("n") or None if isinstance(stat, dict) else None


def within_page(messages: Sequence[Message], budget: int = PAGE_BYTES) -> int:
    """How many of `messages`, from the first, fit into `budget` bytes of JSON; at least one."""
    size = 0
    for number, message in enumerate(messages):
        size += len(msgspec.json.encode(message)) + 1
        if size > budget and number:
            return number
    return len(messages)


def extra_text(extra: Extra) -> str | None:
    """The column `extra`: JSON, or NULL where there is nothing in it."""
    text = msgspec.json.encode(extra).decode()
    return None if text == "{}" else text


def wire_accounts(accounts: Sequence[AccountId]) -> list[str]:
    return [str(account) for account in accounts]

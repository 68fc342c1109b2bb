"""A message on its way into the log, and what became of it."""

from collections.abc import Callable

from msgspec import Struct

from messenger.feature import Refused
from messenger.ids import AccountId, ChatId, DeviceId


class Send(Struct, frozen=True, gc=False):
    """One message to be written; the fields are the statement's columns, in their order."""

    chat: ChatId
    account: AccountId
    device: DeviceId
    random_id: int
    digest: int
    """Of all that the message says (`send_digest`): the same key with another digest is refused."""
    kind: int
    flags: int
    reply: int | None
    media: int | None
    body: str | None
    extra: str | None
    """JSON."""


class Written(Struct, frozen=True, gc=False):
    """A send that is durable: committed with fsync."""

    send: Send
    seq: int
    ev: int
    at: int
    dup: bool
    """Written by an earlier call; its numbers, not news."""
    chat_kind: int
    chat_flags: int
    member_ver: int
    badge_epoch: int
    epoch: int = 1


Done = Callable[[Written | Refused], None]

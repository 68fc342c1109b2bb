"""The state of a run as the server and the devices hold it once everything has come to rest."""

from msgspec import Struct


class Stored(Struct, frozen=True):
    """A message as the server answers it in a history."""

    seq: int
    ev: int
    sender: str
    text: str
    deleted: bool = False


class Fact(Struct, frozen=True):
    """One event of a chat as the server answers it in a difference."""

    ev: int
    kind: str
    seq: int = 0


class ChatTruth(Struct, frozen=True):
    """A chat read anew after the run."""

    members: frozenset[str]
    last_seq: int
    last_ev: int
    messages: tuple[Stored, ...]
    facts: tuple[Fact, ...]
    """From the ledger's start of the chat to its head."""


class Shown(Struct, frozen=True):
    """What a device shows of a chat at the end."""

    ev: int
    read_seq: int
    unread: int
    texts: dict[int, str | None]
    """seq -> text; None for a deleted message."""


class Head(Struct, frozen=True):
    """What the server answers an account about a chat."""

    ev: int
    seq: int
    read_seq: int


class Truth(Struct, frozen=True):
    """Everything that was read after the run came to rest."""

    chats: dict[str, ChatTruth]
    devices: dict[int, dict[str, Shown]]
    heads: dict[str, dict[str, Head]]

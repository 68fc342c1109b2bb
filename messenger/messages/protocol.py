"""The wire of `messages.*`: requests with their bounds, the Message object, the updates.

Bounds that have an error code of their own (the text's 1302) are looser here and checked by the
handler; everything else that does not fit is error 107 with the field's name.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from messenger.badges import Badge
from messenger.ids import WireId

MAX_SEQ = 2**31 - 1
MAX_FIELD = 65_536  # characters of a text that is looked at at all
MAX_TEXT = 4_096
MAX_TEXT_BYTES = 16_384
PAGE_BYTES = 65_536 - 2_048
"""Of a page's messages; the rest is room for what stands around them."""

Seq = Annotated[int, Meta(ge=1, le=MAX_SEQ)]
Time = Annotated[int, Meta(ge=0, le=2**53)]
Text = Annotated[str, Meta(max_length=MAX_FIELD)]
Url = Annotated[str, Meta(max_length=2_048, pattern=r"^(https?://|mailto:|tel:)[^\x00-\x20]+$")]
EntityKind = Literal[
    "bold", "italic", "underline", "strike", "spoiler", "quote", "code", "pre", "link", "mention",
    "hashtag", "command", "email", "phone",
]  # fmt: skip
MessageKind = Literal["text", "media", "call", "poll"]


class Entity(Struct, frozen=True, omit_defaults=True):
    """A stretch of the text: `n` characters (code points of the stored text) from `at`."""

    k: EntityKind
    at: Annotated[int, Meta(ge=0, le=MAX_FIELD)]
    n: Annotated[int, Meta(ge=1, le=MAX_FIELD)]
    url: Url | None = None
    account: WireId | None = None
    lang: Annotated[str, Meta(max_length=32, pattern=r"^[\w+#.-]+$")] | None = None


class Forward(Struct, frozen=True, omit_defaults=True):
    """Where a forwarded message was first said; empty `account`: its forwarder hid it.

    Of a channel's post the channel is named, and its author only where the post was signed.
    """

    at: int
    account: str | None = None
    chat: str | None = None
    seq: int | None = None
    name: str | None = None


class Preview(Struct, frozen=True, omit_defaults=True):
    """A link as its poster shows it: the platform fetches nothing."""

    url: Url
    title: Annotated[str, Meta(max_length=256)] | None = None
    text: Annotated[str, Meta(max_length=1_024)] | None = None
    site: Annotated[str, Meta(max_length=64)] | None = None
    photo: WireId | None = None


class Signature(Struct, frozen=True, omit_defaults=True):
    """Who wrote a signed post, as it was then; filled by the server alone."""

    name: str
    account: str | None = None
    badge: Badge | None = None


class Message(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A message as everyone in the chat sees it; deleted ones are tombstones without content."""

    seq: int
    ev: int
    sender: str = field(name="from")
    at: int
    k: str
    text: str | None = None
    ents: tuple[Entity, ...] | None = None
    reply: int | None = None
    fwd: Forward | None = None
    edited: int | None = None
    silent: bool = False
    deleted: bool = False
    reactions: dict[str, int] | None = None
    signed: Signature | None = None
    preview: Preview | None = None
    album: str | None = None
    """Messages of one album are shown as one."""
    views: int | None = None
    """Of a channel's post, in pages of history: subscribers who have seen it."""
    bv: int = 0
    """Version of the sender's badge; an account held with a lower one is fetched again."""


class Extra(Struct, frozen=True, omit_defaults=True):
    """The column `extra` of a message: what only some messages have."""

    ents: tuple[Entity, ...] | None = None
    fwd: Forward | None = None
    signed: Signature | None = None
    preview: Preview | None = None
    album: str | None = None


# Requests


class SendMessage(Struct, frozen=True, kw_only=True):
    chat: WireId
    random_id: WireId
    """Chosen once per intention, so that a repeat after a lost reply stores nothing new."""
    text: Text = ""
    ents: Annotated[tuple[Entity, ...], Meta(max_length=100)] = ()
    media: Annotated[tuple[WireId, ...], Meta(max_length=10)] = ()
    reply: Seq | None = None
    silent: bool = False
    schedule_at: Time | None = None
    preview: Preview | None = None
    album: WireId | None = None
    """The same for all messages of one album."""
    sign: bool = False
    """In a channel: say who wrote it. Where the channel signs its posts, it does so anyway."""


class EditMessage(Struct, frozen=True, kw_only=True):
    chat: WireId
    seq: Seq
    text: Text
    ents: Annotated[tuple[Entity, ...], Meta(max_length=100)] = ()
    preview: Preview | UnsetType | None = UNSET
    """Left out: as it was; null: none any more."""


class DeleteMessages(Struct, frozen=True, kw_only=True):
    chat: WireId
    seqs: Annotated[tuple[Seq, ...], Meta(min_length=1, max_length=100)]
    scope: Literal["all", "me"] = field(name="for")


class ForwardMessages(Struct, frozen=True, kw_only=True):
    source: WireId = field(name="from")
    seqs: Annotated[tuple[Seq, ...], Meta(min_length=1, max_length=50)]
    to: WireId
    random_ids: Annotated[tuple[WireId, ...], Meta(min_length=1, max_length=50)]
    hide_sender: bool = False


class React(Struct, frozen=True, kw_only=True):
    chat: WireId
    seq: Seq
    emoji: Annotated[str, Meta(max_length=64)] | None


class Cursor(Struct, frozen=True):
    chat: WireId
    seq: Seq


class MoveCursors(Struct, frozen=True):
    cursors: Annotated[tuple[Cursor, ...], Meta(min_length=1, max_length=100)]


class AtMessage(Struct, frozen=True):
    chat: WireId
    seq: Seq


class GetMessages(Struct, frozen=True):
    chat: WireId
    seqs: Annotated[tuple[Seq, ...], Meta(min_length=1, max_length=100)]


class GetHistory(Struct, frozen=True, kw_only=True):
    """At most one of before, after, around; none of them: the newest page."""

    chat: WireId
    before: Seq | None = None
    after: Annotated[int, Meta(ge=0, le=MAX_SEQ)] | None = None
    around: Seq | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class SearchMessages(Struct, frozen=True, kw_only=True):
    q: Annotated[str, Meta(min_length=1, max_length=64)]
    chat: WireId | None = None
    sender: WireId | None = field(default=None, name="from")
    k: MessageKind | None = None
    since: Time | None = None
    until: Time | None = None
    cursor: Annotated[str, Meta(max_length=64)] | None = None
    limit: Annotated[int, Meta(ge=1, le=50)] = 20


class Typing(Struct, frozen=True):
    chat: WireId
    kind: Literal["text", "voice", "media", "stop"]


class OfChat(Struct, frozen=True):
    chat: WireId


class Unschedule(Struct, frozen=True):
    chat: WireId
    id: WireId


# Results


class Empty(Struct, frozen=True):
    """`{}`: the answer says no more than that it was done."""


class Sent(Struct, frozen=True, omit_defaults=True):
    seq: int
    ev: int
    at: int
    dup: bool = False


class WillSend(Struct, frozen=True):
    scheduled_id: str


class Edited(Struct, frozen=True):
    ev: int
    at: int


class Deleted(Struct, frozen=True, omit_defaults=True):
    ev: int | None = None
    aev: int | None = None


class NotForwarded(Struct, frozen=True, omit_defaults=True):
    error: dict[str, int | str]


class Forwarded(Struct, frozen=True):
    sent: list[Sent | NotForwarded]


class Moved(Struct, frozen=True):
    aev: int


class Readers(Struct, frozen=True):
    accounts: list[str]


class Messages(Struct, frozen=True, omit_defaults=True):
    messages: list[Message]
    left: list[int] | None = None


class History(Struct, frozen=True, omit_defaults=True):
    messages: list[Message]
    gaps: list[tuple[int, int]]
    """Deleted, or hidden by the caller, above what they have read: not to be counted as unread."""
    last_seq: int
    more: bool = False


class Hit(Struct, frozen=True):
    chat: str
    message: Message


class Hits(Struct, frozen=True, omit_defaults=True):
    hits: list[Hit]
    lag_ms: int
    next: str | None = None


class ScheduledMessage(Struct, frozen=True, omit_defaults=True, kw_only=True):
    id: str
    at: int
    k: str
    text: str | None = None
    ents: tuple[Entity, ...] | None = None
    reply: int | None = None
    silent: bool = False


class ScheduledMessages(Struct, frozen=True):
    messages: list[ScheduledMessage]


# Updates


class MessageNew(Struct, frozen=True, tag_field="t", tag="message.new"):
    """`m` stays last and Message ends the JSON: the sender's own copy gets its `rid` spliced in."""

    chat: str
    ev: int
    m: Message


class MessageEdited(Struct, frozen=True, tag_field="t", tag="message.edited"):
    chat: str
    ev: int
    m: Message


class MessageDeleted(Struct, frozen=True, tag_field="t", tag="message.deleted"):
    chat: str
    ev: int
    seqs: list[int]
    by: str


class MessageReactions(Struct, frozen=True, tag_field="t", tag="message.reactions"):
    chat: str
    ev: int
    seq: int
    counts: dict[str, int]


class MessageHidden(Struct, frozen=True, tag_field="t", tag="message.hidden"):
    aev: int
    chat: str
    seqs: list[int]


class ReadSelf(Struct, frozen=True, tag_field="t", tag="read.self"):
    aev: int
    chat: str
    read_seq: int


class Receipt(Struct, frozen=True, tag_field="t", tag="receipt"):
    chat: str
    account: str
    read_seq: int
    delivered_seq: int


class TypingNow(Struct, frozen=True, tag_field="t", tag="typing"):
    chat: str
    sender: str = field(name="from")
    kind: str

"""What goes over the wire for `channels.*`: requests, results, objects; bounds in the types."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from messenger.ids import WireId

Seq = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Seqs = Annotated[tuple[Seq, ...], Meta(min_length=1, max_length=100)]
Moment = Annotated[int, Meta(ge=0, le=2**53)]
Page = Annotated[str, Meta(pattern=r"^[0-9]{1,19}$")]
Emoji = Annotated[str, Meta(min_length=1, max_length=64)]
Query = Annotated[str, Meta(min_length=1, max_length=64)]
Rule = Annotated[str, Meta(min_length=1, max_length=64)]
Note = Annotated[str, Meta(max_length=1_000)]
Category = Literal[
    "news", "government", "education", "health", "science", "culture", "sport", "economy",
    "technology", "religion", "entertainment", "local", "other",
]  # fmt: skip
SignMode = Literal["name", "profile"]
ReportState = Literal["open", "taken", "decided", "appealed"]
SanctionKind = Literal["warning", "hidden", "silenced", "closed"]
SanctionState = Literal["in_force", "appealed", "upheld", "lifted"]

VIEWS_MAX = 20
SPAN_MAX = 200
"""Posts of one viewport: no screen shows more."""


# Requests


class OfChannel(Struct, frozen=True, kw_only=True):
    chat: WireId


class Configure(Struct, frozen=True, kw_only=True):
    """Fields left out stay as they are."""

    chat: WireId
    signed: SignMode | UnsetType | None = UNSET
    """Posts say who wrote them, from now on; null: only where their author asks for it."""
    reactions: Annotated[tuple[Emoji, ...], Meta(max_length=20)] | UnsetType | None = UNSET
    """The only ones allowed, none of them if empty; null: any."""
    category: Category | UnsetType | None = UNSET
    photo: WireId | UnsetType | None = UNSET


class Transfer(Struct, frozen=True, kw_only=True):
    chat: WireId
    account: WireId


class AnswerTransfer(Struct, frozen=True, kw_only=True):
    chat: WireId
    accept: bool


class View(Struct, frozen=True, kw_only=True):
    """Posts lo..hi were really on screen."""

    chat: WireId
    lo: Seq
    hi: Seq
    forwarded: bool = False
    """Seen in another chat, as a forward: counts for reach, never moves the cursor."""


class Views(Struct, frozen=True, kw_only=True):
    views: Annotated[tuple[View, ...], Meta(min_length=1, max_length=VIEWS_MAX)]


class OfPosts(Struct, frozen=True, kw_only=True):
    chat: WireId
    seqs: Seqs


class Statistics(Struct, frozen=True, kw_only=True):
    chat: WireId
    days: Annotated[int, Meta(ge=1, le=90)] = 30
    posts: Annotated[int, Meta(ge=0, le=50)] = 20
    """The newest ones."""


class Log(Struct, frozen=True, kw_only=True):
    chat: WireId
    before: Page | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class Search(Struct, frozen=True, kw_only=True):
    q: Query
    limit: Annotated[int, Meta(ge=1, le=20)] = 20


class Suggest(Struct, frozen=True, kw_only=True):
    category: Category
    limit: Annotated[int, Meta(ge=1, le=20)] = 20


class Reports(Struct, frozen=True, kw_only=True):
    state: ReportState = "open"
    after: Page | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 50


class OneReport(Struct, frozen=True, kw_only=True):
    report: WireId


class Decide(Struct, frozen=True, kw_only=True):
    report: WireId
    sanction: SanctionKind | None
    """null: the report is dismissed."""
    rule: Rule
    """The rule of the platform that was broken, or that was not."""
    note: Note = ""
    until: Moment = 0
    """End of the sanction; 0: until it is lifted."""


class Appeal(Struct, frozen=True, kw_only=True):
    case: WireId
    text: Annotated[str, Meta(min_length=1, max_length=1_000)]


class DecideAppeal(Struct, frozen=True, kw_only=True):
    case: WireId
    uphold: bool
    note: Note = ""


# Results


class Nothing(Struct, frozen=True):
    """A result without fields."""


class Done(Struct, frozen=True):
    """The number of the chat's event just made; where nothing changed, of its newest one."""

    ev: int


class Offered(Struct, frozen=True):
    """The other side has until then to accept."""

    until: int


class PostStats(Struct, frozen=True):
    """`views`: subscribers, exact. `reach`: others, estimated. Never to be added together."""

    seq: int
    views: int
    forwards: int
    reach: int


class StatsOfPosts(Struct, frozen=True):
    posts: list[PostStats]


class Author(Struct, frozen=True):
    seq: int
    account: str


class Authors(Struct, frozen=True):
    posts: list[Author]


class Day(Struct, frozen=True):
    """One UTC day. `members` is exact as of its last change; what came and left are counts."""

    day: int
    members: int
    lost: int
    by_link: int
    by_name: int
    by_request: int
    by_admin: int


class Delivered(Struct, frozen=True):
    """How soon online readers had the post on their connection."""

    readers: int
    p50_ms: int
    p95_ms: int
    p99_ms: int


class PostFigures(Struct, frozen=True):
    """`curve`: [age in seconds, views by then]."""

    seq: int
    at: int
    views: int
    forwards: int
    reach: int
    reactions: int
    curve: list[tuple[int, int]]
    delivered: Delivered


class Figures(Struct, frozen=True):
    members: int
    days: list[Day]
    posts: list[PostFigures]


class LogEntry(Struct, frozen=True):
    """`act`: member, transfer, sanction, appeal or lifted; `more` says what exactly."""

    n: str
    at: int
    by: str
    act: str
    account: str | None
    more: msgspec.Raw


class LogEntries(Struct, frozen=True, omit_defaults=True):
    entries: list[LogEntry]
    next: str | None = None


class Found(Struct, frozen=True, omit_defaults=True):
    """A Chat object; `alike`: it looks like a verified channel and is none."""

    chat: msgspec.Raw
    alike: bool = False


class Hits(Struct, frozen=True):
    chats: list[Found]


class ReportInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    chat: str
    at: int
    reason: str
    text: str
    state: ReportState
    seq: int | None = None
    post: str | None = None
    """Its text, where it is not deleted."""
    assignee: str | None = None
    case: str | None = None


class ReportPage(Struct, frozen=True, omit_defaults=True):
    reports: list[ReportInfo]
    next: str | None = None


class Decided(Struct, frozen=True, omit_defaults=True):
    """`case`: the number under which the channel's owner may appeal."""

    case: str | None = None


class SanctionInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    case: str
    chat: str
    kind: SanctionKind
    rule: str
    note: str
    at: int
    until: int
    state: SanctionState
    appeal: str = ""


class Sanctions(Struct, frozen=True):
    sanctions: list[SanctionInfo]

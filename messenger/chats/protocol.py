"""What goes over the wire for `chats.*`: requests, results, objects; bounds in the types.

Rights are names (`post`, `invite`, ..): for plain members those denied, for admins those granted.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from messenger.badges import Badge
from messenger.ids import WireId

RightName = Literal[
    "post",
    "media",
    "edit_others",
    "delete_others",
    "invite",
    "pin",
    "change_info",
    "restrict_members",
    "add_admins",
    "statistics",
    "manage_links",
]
RoleName = Literal["owner", "admin", "member", "restricted", "banned", "left"]
KindName = Literal["direct", "group", "channel"]
JoinMode = Literal["open", "link", "request"]
SignMode = Literal["name", "profile"]

ADD_MAX = 100
CREATE_MAX = 200
GET_MAX = 100
LIST_MAX = 200
LOG_MAX = 100

Title = Annotated[str, Meta(min_length=1, max_length=128)]
About = Annotated[str, Meta(max_length=255)]
Username = Annotated[str, Meta(max_length=64)]
Link = Annotated[str, Meta(max_length=128)]
Page = Annotated[str, Meta(pattern=r"^[0-9]{1,19}$")]
Moment = Annotated[int, Meta(ge=0, le=2**53)]
Seq = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Limit = Annotated[int, Meta(ge=1, le=LIST_MAX)]
Rights = Annotated[list[RightName], Meta(max_length=11)]


# Requests


class List(Struct, frozen=True, kw_only=True):
    after: Page | None = None
    limit: Limit = LIST_MAX


class Get(Struct, frozen=True, kw_only=True):
    chats: Annotated[list[WireId], Meta(max_length=GET_MAX)]


class OpenDirect(Struct, frozen=True, kw_only=True):
    account: WireId


class Create(Struct, frozen=True, kw_only=True):
    kind: Literal["group", "channel"]
    title: Title
    about: About | None = None
    members: Annotated[list[WireId], Meta(max_length=CREATE_MAX)] = []
    username: Username | None = None
    random_id: WireId


class Update(Struct, frozen=True, kw_only=True):
    """Fields left out stay as they are; an empty about or username, and a null photo, go away."""

    chat: WireId
    title: Title | UnsetType = UNSET
    about: About | UnsetType = UNSET
    photo: WireId | UnsetType | None = UNSET
    username: Username | UnsetType = UNSET
    slow_s: Annotated[int, Meta(ge=0, le=3_600)] | UnsetType = UNSET
    rights: Rights | UnsetType = UNSET
    """Denied to plain members."""
    join: JoinMode | UnsetType = UNSET
    history_for_new: bool | UnsetType = UNSET
    signed: bool | UnsetType = UNSET
    discussion: WireId | UnsetType | None = UNSET


class Chat(Struct, frozen=True, kw_only=True):
    """A request that names a chat and nothing else."""

    chat: WireId


class Members(Struct, frozen=True, kw_only=True):
    chat: WireId
    after: Page | None = None
    limit: Limit = LIST_MAX
    role: RoleName | None = None


class AddMembers(Struct, frozen=True, kw_only=True):
    chat: WireId
    accounts: Annotated[list[WireId], Meta(min_length=1, max_length=ADD_MAX)]


class RemoveMember(Struct, frozen=True, kw_only=True):
    chat: WireId
    account: WireId
    ban: bool = False
    until: Moment = 0
    """End of the ban; 0 = for ever. Without `ban`, removing a banned account lifts the ban."""


class SetRole(Struct, frozen=True, kw_only=True):
    chat: WireId
    account: WireId
    role: Literal["member", "admin"]
    rights: Rights = []
    """Granted to an admin."""


class Restrict(Struct, frozen=True, kw_only=True):
    chat: WireId
    account: WireId
    deny: Rights
    until: Moment = 0
    """0 = until changed."""


class ChatAccount(Struct, frozen=True, kw_only=True):
    chat: WireId
    account: WireId


class Join(Struct, frozen=True, kw_only=True):
    """One of the two."""

    username: Username | None = None
    link: Link | None = None


class LinkCreate(Struct, frozen=True, kw_only=True):
    chat: WireId
    expires_at: Moment | None = None
    max_uses: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    approval: bool = False


class LinkRevoke(Struct, frozen=True, kw_only=True):
    link: Link
    """The link itself, or its `id` from `chats.links`: what is kept does not give the link back."""


class Requests(Struct, frozen=True, kw_only=True):
    chat: WireId
    after: Page | None = None


class AnswerRequest(Struct, frozen=True, kw_only=True):
    chat: WireId
    account: WireId
    accept: bool


class Mute(Struct, frozen=True, kw_only=True):
    chat: WireId
    until: Moment
    """0 = off."""


class Pin(Struct, frozen=True, kw_only=True):
    chat: WireId
    rank: Annotated[int, Meta(ge=0, le=1_000)] | None


class Folder(Struct, frozen=True, kw_only=True):
    chat: WireId
    n: Annotated[int, Meta(ge=0, le=100)] | None


class Draft(Struct, frozen=True, kw_only=True):
    chat: WireId
    text: Annotated[str, Meta(max_length=4_096)]
    """Empty = no draft."""


class Clear(Struct, frozen=True, kw_only=True):
    chat: WireId
    up_to_seq: Annotated[int, Meta(ge=0, le=2**31 - 1)]


class PinMessage(Struct, frozen=True, kw_only=True):
    chat: WireId
    seq: Seq
    on: bool
    silent: bool = False


class Log(Struct, frozen=True, kw_only=True):
    chat: WireId
    before_ev: Seq | None = None
    limit: Annotated[int, Meta(ge=1, le=LOG_MAX)] = LOG_MAX


class Report(Struct, frozen=True, kw_only=True):
    chat: WireId
    seq: Seq | None = None
    reason: Annotated[str, Meta(min_length=1, max_length=64)]
    text: Annotated[str, Meta(max_length=1_000)] = ""


# Objects and results


class Last(Struct, frozen=True, gc=False):
    """The chat's head."""

    seq: int
    ev: int
    at: int


class Me(Struct, frozen=True, kw_only=True):
    role: RoleName
    rights: list[RightName]
    joined_seq: int
    read_seq: int
    cleared_seq: int
    muted_until: int
    pin: int | None
    folder: int | None


class ChatObject(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat as one of its members sees it."""

    id: str
    epoch: int
    kind: KindName
    big: bool
    members: int
    rights: list[RightName]
    slow_s: int
    last: Last
    me: Me
    title: str | None = None
    about: str | None = None
    username: str | None = None
    photo: str | None = None
    join: JoinMode | None = None
    history_for_new: bool = True
    signed: SignMode | None = None
    """Channels: posts say who wrote them, by name or with the profile."""
    reactions: list[str] | None = None
    """Channels: the only ones allowed; None = any."""
    category: str | None = None
    peer: str | None = None
    """The other account of a direct chat; one's own of saved messages."""
    peer_read: int | None = None
    badge: Badge | None = None


class ChatList(Struct, frozen=True, omit_defaults=True):
    chats: list[msgspec.Raw]
    aev: int
    next: str | None = None


class ChatSet(Struct, frozen=True, omit_defaults=True):
    chats: list[msgspec.Raw]
    left: list[str] = []


class Opened(Struct, frozen=True):
    chat: ChatObject
    created: bool


class Skipped(Struct, frozen=True):
    account: str
    why: Literal["unknown", "privacy", "member", "banned", "full"]


class Created(Struct, frozen=True):
    chat: ChatObject
    skipped: list[Skipped]


class Done(Struct, frozen=True):
    """The number of the chat's event just made; where nothing changed, of its newest one."""

    ev: int


class Noted(Struct, frozen=True):
    """The number of the account fact just made, or of the one that says so already."""

    aev: int


class Added(Struct, frozen=True):
    added: list[str]
    skipped: list[Skipped]
    ev: int


class Member(Struct, frozen=True):
    account: str
    role: RoleName
    rights: list[RightName]
    at: int


class MemberPage(Struct, frozen=True, omit_defaults=True):
    members: list[Member]
    next: str | None = None


class Joined(Struct, frozen=True, omit_defaults=True):
    """`chat` only for members: who waits for an answer sees nothing yet."""

    state: Literal["member", "requested"]
    chat: ChatObject | None = None


class LinkCreated(Struct, frozen=True):
    """Shown once: only its SHA-256 is kept."""

    link: str


class LinkInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    creator: str
    at: int
    uses: int
    approval: bool
    expires_at: int | None = None
    max_uses: int | None = None


class LinkList(Struct, frozen=True):
    links: list[LinkInfo]


class Request(Struct, frozen=True):
    account: str
    at: int


class RequestPage(Struct, frozen=True, omit_defaults=True):
    requests: list[Request]
    next: str | None = None


class Messages(Struct, frozen=True, omit_defaults=True):
    """`more`: older pins did not fit; `messages.get` gives them by seq."""

    messages: list[msgspec.Raw]
    more: bool = False


class LogPage(Struct, frozen=True):
    """The newest first; each is the update as members got it, with `at` and `by`."""

    events: list[msgspec.Raw]


class Reported(Struct, frozen=True):
    report_id: str


class Nothing(Struct, frozen=True):
    """A result without fields."""

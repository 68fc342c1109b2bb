"""The wire of `sync.*`."""

from typing import Annotated

from msgspec import Meta, Raw, Struct

from messenger.ids import WireId

MAX_NUMBER = 2**31 - 1
PAGE_BYTES = 65_536 - 2_048
"""Of a reply's lists; the rest is room for what stands around them."""

Number = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]


class GetHeads(Struct, frozen=True, kw_only=True):
    after: WireId | None = None
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    big_only: bool = False


HeadRow = tuple[str, int, int, int, int, bool]
"""chat, epoch, ev, seq, read_seq, big"""


class Heads(Struct, frozen=True, omit_defaults=True):
    """`aev` was read before the heads: what happens meanwhile has a higher number."""

    aev: int
    heads: list[HeadRow]
    next: str | None = None


class GetDifference(Struct, frozen=True, kw_only=True):
    aev: Number
    chats: Annotated[tuple[tuple[WireId, Number, Number], ...], Meta(max_length=200)] = ()
    """chat, epoch, ev: what the device knows."""
    limit: Annotated[int, Meta(ge=1, le=1_000)] = 1_000


class Head(Struct, frozen=True):
    ev: int
    seq: int
    read_seq: int


class Slice(Struct, frozen=True, omit_defaults=True, kw_only=True, rename={"start": "from"}):
    """Events from + 1 .. to, without a hole; or `too_long`, and the head to start anew from."""

    chat: str
    epoch: int
    start: int | None = None
    to: int | None = None
    events: list[Raw] | None = None
    more: bool = False
    too_long: bool = False
    head: Head | None = None


class Difference(Struct, frozen=True):
    aev: int
    acct: list[Raw]
    acct_too_long: bool
    chats: list[Slice]
    left: list[str]


class Check(Struct, frozen=True):
    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]


class Checked(Struct, frozen=True):
    same: bool

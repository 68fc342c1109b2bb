"""One topic on this node: who listens to it, and up to which position all of them have heard.

Sessions that are up to date share the room's position, so the gap rule is one comparison per
publication and node. One that is still catching up keeps its own buffer and joins the others when
it has reached them. No clock, no socket, no await: `hub.py` and `subscribing.py` do the reading.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Protocol

from msgspec import Struct

from messenger.settings import NamespaceOptions
from messenger.wire.codec import JSON, PROTOBUF
from messenger.wire.messages import ClientInfo

BULK_FROM = 512  # sessions of one topic from which its frames leave in slices
AHEAD_MOST = 1_000  # publications held back behind a hole; beyond it the room starts anew


class Heard(Struct, frozen=True, gc=False):
    """One publication as it came over the bus."""

    offset: int
    """0 where the topic keeps no history."""
    data: bytes
    info: ClientInfo | None = None
    tags: Mapping[str, str] | None = None


class Outlet(Protocol):
    """Where a subscription's frames go: the session's connection."""

    lagging: bool

    def write(self, frame: bytes) -> None: ...

    def write_bulk(self, frame: bytes) -> None: ...


class Subscription:
    """One session listening to one room."""

    __slots__ = (
        "broken",
        "buffer",
        "chan_info",
        "expires_at",
        "kind",
        "offset",
        "outlet",
        "positioned",
        "presence",
        "recoverable",
        "room",
        "server_side",
        "session",
        "wants_joins",
    )

    def __init__(
        self, session: object, outlet: Outlet, room: "Room", *, binary: bool, server_side: bool
    ) -> None:
        self.session = session
        self.outlet = outlet
        self.room = room
        self.server_side = server_side
        self.kind = 2 if binary else 0  # +1 with a compaction id: which of four frames it gets
        self.buffer: list[Heard] | None = []
        self.broken = False
        self.offset = 0
        self.expires_at = 0.0
        self.chan_info = b""
        self.wants_joins = False
        self.positioned = False
        self.recoverable = False
        self.presence = False


class Verdict(Enum):
    """What the room's position says of a publication."""

    DELIVER = "the next one, or the topic has no positions"
    DROP = "heard before"
    HOLD = "one is missing before it"


class Room:
    """The subscriptions of one topic on this node."""

    __slots__ = (
        "ahead",
        "catching",
        "checked_at",
        "early",
        "epoch",
        "filling",
        "live",
        "number",
        "offset",
        "opened",
        "options",
        "source",
        "topic",
    )

    def __init__(self, topic: str, options: NamespaceOptions, number: int) -> None:
        self.topic = topic
        self.options = options
        self.source = options.source
        self.number = number
        self.live: dict[Subscription, None] = {}
        self.catching: dict[Subscription, None] = {}
        self.epoch = ""
        self.offset = 0
        self.opened = False
        self.early: list[tuple[str, Heard]] = []
        self.ahead: dict[int, Heard] = {}
        self.filling = False
        self.checked_at = 0.0

    @property
    def empty(self) -> bool:
        return not self.live and not self.catching

    @property
    def numbered(self) -> bool:
        """Its publications have offsets, so that what is missing shows."""
        return self.source in ("user", "chat") or self.options.has_history

    @property
    def follows(self) -> bool:
        """Somebody is up to date here and nothing is known to be missing: where it stands, its
        topic stands, or will be found to stand further for all together."""
        return self.opened and bool(self.live) and not (self.filling or self.ahead)

    @property
    def ephemeral(self) -> bool:
        """What a lagging session may miss."""
        return self.source == "eph"

    def open(self, epoch: str, offset: int) -> list[Heard]:
        """Set the position read from the store; returns what came early and is now due."""
        self.opened, self.epoch, self.offset = True, epoch, offset
        early, self.early = self.early, []
        return [heard for heard_epoch, heard in early if heard_epoch in ("", epoch)]

    def judge(self, epoch: str, heard: Heard) -> Verdict:
        """Where `heard` stands; moves the position when it is due."""
        if not heard.offset:
            return Verdict.DELIVER
        if not self.opened:
            self.early.append((epoch, heard))
            return Verdict.DROP
        if epoch != self.epoch:
            return Verdict.HOLD
        if heard.offset <= self.offset:
            return Verdict.DROP
        if heard.offset == self.offset + 1:
            self.offset = heard.offset
            return Verdict.DELIVER
        if len(self.ahead) < AHEAD_MOST:
            self.ahead[heard.offset] = heard
        return Verdict.HOLD

    def due(self) -> list[Heard]:
        """What was held back and follows the position now, in order."""
        due = []
        while (heard := self.ahead.pop(self.offset + 1, None)) is not None:
            self.offset = heard.offset
            due.append(heard)
        for offset in [offset for offset in self.ahead if offset <= self.offset]:
            del self.ahead[offset]
        return due

    def deliver(self, heard: Heard) -> int:
        """Give `heard` to every subscription; returns how many frames were written."""
        if len(self.live) == 1 and not self.catching and not self.ephemeral:
            for subscription in self.live:  # an account's only session: most there is
                subscription.outlet.write(self.frame(subscription.kind, heard))
            return 1
        frames: list[bytes | None] = [None, None, None, None]
        bulk = len(self.live) > BULK_FROM
        ephemeral = self.ephemeral
        for subscription in self.live:
            outlet = subscription.outlet
            if ephemeral and outlet.lagging:
                continue
            frame = frames[subscription.kind]
            if frame is None:
                frame = frames[subscription.kind] = self.frame(subscription.kind, heard)
            if bulk:
                outlet.write_bulk(frame)
            else:
                outlet.write(frame)
        if self.catching:
            self._deliver_catching(heard)
        return len(self.live)

    def frame(self, kind: int, heard: Heard) -> bytes:
        """The publication for one of four kinds of session: encoding, name or number."""
        codec = PROTOBUF if kind & 2 else JSON
        if kind & 1:
            message = codec.publication_id(
                self.number, heard.data, heard.offset, heard.info, heard.tags
            )
        else:
            message = codec.publication(
                self.topic, heard.data, heard.offset, heard.info, heard.tags
            )
        return codec.frame(message)

    def go_live(self, subscription: Subscription) -> None:
        """The subscription has all up to its offset; buffer and room must agree from here."""
        subscription.buffer = None
        if subscription.offset <= self.offset or not subscription.offset:
            self.catching.pop(subscription, None)
            self.live[subscription] = None

    def remove(self, subscription: Subscription) -> None:
        self.live.pop(subscription, None)
        self.catching.pop(subscription, None)

    def _deliver_catching(self, heard: Heard) -> None:
        for subscription in list(self.catching):
            if subscription.buffer is not None:
                subscription.buffer.append(heard)
            elif not heard.offset or heard.offset > subscription.offset:
                subscription.outlet.write(self.frame(subscription.kind, heard))
            if subscription.buffer is None and self.offset >= subscription.offset:
                self.go_live(subscription)

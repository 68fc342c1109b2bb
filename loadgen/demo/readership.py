"""The readers of the demo's channel: what each of them hears, tells and does.

Every event of the channel must come to every reader once and in order, whichever way it comes:
live, or replayed from the log to who was away.
"""

import time
from array import array
from collections import Counter, defaultdict

import msgspec
from msgspec import Raw, Struct

from loadgen.bench.driver import Session, rpc
from loadgen.bench.marks import mark_of
from loadgen.bench.room import Room

BACK, VIEW, REACT = 3, 7, 8
"""Numbers of commands: their answers begin with them."""
OFFSET = b'"offset":'


class _Publication(Struct):
    data: Raw
    offset: int


class _Subscribed(Struct):
    epoch: str
    recovered: bool = False
    publications: list[_Publication] = []


class _Reply(Struct):
    subscribe: _Subscribed


class Readership(Room):
    """A room whose readers also lose their sockets, tell what they saw, and react."""

    def __init__(self, chat: str, readers: int) -> None:
        super().__init__(chat, readers)
        self.taken = 0
        """Events, by all readers together."""
        self.again = 0
        self.overtaken = 0
        self.replayed = 0
        self.recoveries = 0
        self.told = 0
        self.answered = 0
        self.reacted: dict[int, Counter[str]] = defaultdict(Counter)
        """seq -> emoji -> how many, as the readers chose."""
        self.live_waits = array("d")
        self._at = array("q", [0] * readers)
        """The last event of each reader."""
        self._epoch = ""
        self._live = b'{"push":{"channel":"chat:%b"' % chat.encode()

    def heard(self, session: Session, data: bytes) -> None:
        if data.startswith(self._live):
            start = data.rfind(OFFSET) + len(OFFSET)
            self._take(session.tag, int(data[start : data.find(b"}", start)]), data, live=True)
        elif data.startswith((b'{"id":%d,' % VIEW, b'{"id":%d,' % REACT)):
            if b'"error"' in data[:24]:
                self.refused = self.refused or data
            self.answered += 1
        elif data.startswith(b'{"id":%d,"sub' % BACK):
            self._back(session, data)
        else:
            if not self._epoch and b'"subscribe":' in data[:30]:
                self._epoch = msgspec.json.decode(data, type=_Reply).subscribe.epoch
            super().heard(session, data)

    def missing(self, head: int) -> int:
        """Events up to `head` that some reader never took."""
        return sum(head - at for at in self._at)

    def returns(self, session: Session) -> None:
        """On a new socket: the channel, and what was missed of it."""
        sub = {"channel": f"chat:{self.chat}", "recover": True}
        position = {"epoch": self._epoch, "offset": self._at[session.tag]}
        session.send(msgspec.json.encode({"id": BACK, "subscribe": sub | position}))

    def tell(self, session: Session, lo: int, hi: int) -> None:
        self.told += 1
        view = {"chat": self.chat, "lo": lo, "hi": hi}
        session.send(rpc(VIEW, "channels.view", {"views": [view]}))

    def react(self, session: Session, seq: int, emoji: str, instead_of: str = "") -> None:
        """One reaction a reader: a second one takes the place of the first."""
        self.told += 1
        self.reacted[seq][emoji] += 1
        if instead_of:
            self.reacted[seq][instead_of] -= 1
        session.send(rpc(REACT, "messages.react", {"chat": self.chat, "seq": seq, "emoji": emoji}))

    def _back(self, session: Session, data: bytes) -> None:
        reply = msgspec.json.decode(data, type=_Reply).subscribe
        self.recoveries += reply.recovered
        for one in reply.publications:
            self.replayed += 1
            self._take(session.tag, one.offset, bytes(one.data), live=False)

    def _take(self, reader: int, ev: int, data: bytes, *, live: bool) -> None:
        at = self._at[reader]
        self.again += ev <= at
        self.overtaken += ev > at + 1
        self._at[reader] = max(at, ev)
        self.taken += 1
        number = mark_of(data)
        if number >= 0 and self.order.seen(reader, number):
            self.arrived += 1
            if live:
                self.live_waits.append(time.monotonic() - self._posted_at[number])

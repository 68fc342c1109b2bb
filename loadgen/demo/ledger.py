"""The run's own account of itself: what was meant, answered and seen, by whom and when.

It is written by the virtual people as things happen and shares nothing with the server's
bookkeeping; `conservation.py` compares it with what the server says afterwards. Times are seconds
since the start of the run on one clock.
"""

from collections import defaultdict
from enum import StrEnum

from msgspec import Struct


class Outcome(StrEnum):
    """How an intention ended."""

    OPEN = "open"
    """Unanswered so far; if it stays so, it is in the chat once or never."""
    ACKED = "acked"
    REFUSED = "refused"


class Via(StrEnum):
    """How a device came to an event."""

    PUSH = "push"
    RECOVERED = "recovered"
    """Replayed by the topic's position when a cut socket came back."""
    DIFFERENCE = "difference"
    ANSWER = "answer"
    """The device's own ack, which counts as its event."""


class Message(Struct):
    """One intention to send."""

    event: int
    device: int
    account: str
    chat: str
    text: str
    intended_s: float
    sent_s: float = -1.0
    outcome: Outcome = Outcome.OPEN
    seq: int = 0
    ev: int = 0
    acked_s: float = -1.0
    dup: bool = False
    code: int = 0
    cut: bool = False
    """The sender had no socket, or lost it before the answer: no figure of the server's speed."""


class Change(Struct):
    """One intention to edit (with a text) or to delete for all (without)."""

    event: int
    of: int
    chat: str
    text: str
    outcome: Outcome = Outcome.OPEN
    ev: int = 0
    code: int = 0


class Applied(Struct, frozen=True, gc=False):
    """One event of a chat as one device took it in, after the gap rule."""

    chat: str
    ev: int
    kind: str
    seq: int
    """0 where the event is about no message."""
    event: int
    """The plan's number in the message's text; 0 where there is none."""
    at_s: float
    via: Via


class Opened(Struct, frozen=True):
    """Where a device stood in a chat when the ledger began to watch it."""

    ev: int
    seq: int
    read_seq: int


class Ledger:
    """Written by the people of one run, read once at the end."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.changes: dict[int, Change] = {}
        self.applied: defaultdict[int, list[Applied]] = defaultdict(list)
        self.opened: dict[tuple[int, str], Opened] = {}
        self.accounts: dict[int, str] = {}
        """Device -> account."""
        self.cursors: defaultdict[tuple[str, str], int] = defaultdict(int)
        """(account, chat) -> highest answered read cursor."""
        self.cursors_open: defaultdict[tuple[str, str], int] = defaultdict(int)
        """The same, asked for but not (yet) answered."""

    def watch(self, device: int, account: str) -> None:
        self.accounts[device] = account

    def open(self, device: int, chat: str, opened: Opened) -> None:
        """From here on the device must see every event of the chat."""
        self.opened[device, chat] = opened

    def intend(self, message: Message) -> None:
        if message.event in self.messages:
            raise AssertionError(f"event {message.event} is meant twice")
        self.messages[message.event] = message

    def change(self, change: Change) -> None:
        if change.event in self.changes:
            raise AssertionError(f"event {change.event} is meant twice")
        self.changes[change.event] = change

    def acked(self, event: int, seq: int, ev: int, at_s: float, *, dup: bool = False) -> None:
        message = self.messages[event]
        message.outcome, message.seq, message.ev = Outcome.ACKED, seq, ev
        message.acked_s, message.dup = at_s, dup

    def refused(self, event: int, code: int) -> None:
        intention = self.messages.get(event) or self.changes[event]
        intention.outcome, intention.code = Outcome.REFUSED, code

    def changed(self, event: int, ev: int) -> None:
        self.changes[event].outcome, self.changes[event].ev = Outcome.ACKED, ev

    def reading(self, account: str, chat: str, seq: int) -> None:
        """A cursor is on its way; the server may or may not move to it."""
        key = (account, chat)
        self.cursors_open[key] = max(self.cursors_open[key], seq)

    def read(self, account: str, chat: str, seq: int) -> None:
        """The server said the cursor stands here, durably."""
        key = (account, chat)
        self.cursors[key] = max(self.cursors[key], seq)

    def take(self, device: int, applied: Applied) -> None:
        self.applied[device].append(applied)

"""The plain model beside the platform: what must be true, by what was answered and nothing else.

Sets of numbers and dictionaries. Where two persons change the same thing at once, the number in
the answer says who was last; each person alone acts one thing at a time.
"""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable

from messenger.client.errors import Json


class ChatTruth:
    """One chat."""

    def __init__(self, id: str, owner: str) -> None:
        self.id = id
        self.owner = owner
        self.senders: dict[int, str] = {}
        self.versions: dict[int, dict[int, str]] = defaultdict(dict)
        """seq -> the text by the ev that made it."""
        self.deleted: set[int] = set()
        self.reactions: dict[int, dict[str, str]] = defaultdict(dict)
        self.pins: dict[int, tuple[int, bool]] = {}
        self.titles: dict[int, str] = {}
        self.read: Counter[str] = Counter()
        self.cleared: Counter[str] = Counter()
        self.hidden: dict[str, set[int]] = defaultdict(set)
        self.muted: dict[str, int] = {}
        self.moved: set[str] = set()
        """Accounts that were not members all the time: their cursors began anew."""

    def sent(self, account: str, text: str, answer: Json) -> None:
        """A send was acked. A repeat must say the same number again."""
        seq = answer["seq"]
        assert self.senders.get(seq, account) == account, f"seq {seq} given twice"
        self.senders[seq] = account
        self.said(seq, answer["ev"], text)
        self.read[account] = max(self.read[account], seq)

    def said(self, seq: int, ev: int, text: str) -> None:
        """The text from that event on; what is stored is composed."""
        self.versions[seq][ev] = unicodedata.normalize("NFC", text)

    def pick(self, choose: Callable[[list[int]], int], *, by: str | None = None) -> int | None:
        """A message that is not known to be deleted; of that sender."""
        seqs = [
            seq
            for seq, sender in self.senders.items()
            if seq not in self.deleted and by in (None, sender)
        ]
        return choose(sorted(seqs)) if seqs else None

    def text(self, seq: int) -> str:
        versions = self.versions[seq]
        return versions[max(versions)]

    def counts(self, seq: int) -> dict[str, int]:
        return dict(Counter(self.reactions[seq].values()))

    def pinned(self, account: str) -> set[int]:
        """What the account sees of the pins."""
        on = {seq for seq, (_, on) in self.pins.items() if on and seq > self.cleared[account]}
        return on - self.deleted - self.hidden[account]

    def unread(self, account: str) -> int:
        floor = max(self.read[account], self.cleared[account])
        gone = self.deleted | self.hidden[account]
        return sum(1 for seq in self.senders if seq > floor and seq not in gone)

    def shown(self, account: str, least: int) -> dict[int, tuple[str, dict[str, int]]]:
        """seq -> (text, reactions) of what the account sees from `least` on."""
        floor = max(self.cleared[account] + 1, least)
        gone = self.deleted | self.hidden[account]
        return {
            seq: (self.text(seq), self.counts(seq))
            for seq in self.senders
            if seq >= floor and seq not in gone
        }

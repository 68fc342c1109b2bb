"""What the run is doing right now, for whoever shows it; written by the run, only read by views."""

import time
from collections import Counter, deque

RECENT = 4_000


class Board:
    """Counters of one run."""

    def __init__(self, people: int, devices: int, seconds: float) -> None:
        self.people = people
        self.devices = devices
        self.seconds = seconds
        self.phases: list[tuple[str, float]] = []
        """Finished phases and how long they took."""
        self.phase = ""
        self.done = 0
        self.total = 0
        self.sent = 0
        self.acked = 0
        self.taken = 0
        """New messages taken in by devices."""
        self.cut = 0
        self.resumed = 0
        """Cut sockets whose place in the personal stream was kept."""
        self.asked: Counter[str] = Counter()
        """By act, those the ledger does not hold one by one."""
        self.answered: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        """By the name of the error."""
        self.acks: deque[float] = deque(maxlen=RECENT)
        self.deliveries: deque[float] = deque(maxlen=RECENT)
        """The newest waits, in seconds."""
        self.verdict = ""
        self._began = time.monotonic()

    def begin(self, phase: str, total: int = 0) -> None:
        self.end()
        self.phase, self.done, self.total = phase, 0, total
        self._began = time.monotonic()

    def end(self) -> None:
        if self.phase:
            self.phases.append((self.phase, self.elapsed))
        self.phase = ""

    @property
    def elapsed(self) -> float:
        """Seconds of the present phase."""
        return time.monotonic() - self._began

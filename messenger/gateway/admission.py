"""The door's governor: how many new connections this node takes while it has work to do.

A node logs in more than 4,000 devices a second when it does nothing else; after a crash elsewhere
15,000 stand at its door at once, and people who are inside want to write. So upgrades have a token
bucket whose rate follows the loop: halved while it is late, growing back while it is not. Who is
refused gets 503 with a time drawn by chance. Pure: time and lag come in.
"""

import math

from messenger.delivery.shedding import Load, pressure

LATE_S = 0.05  # of the loop, smoothed: what a send may take at the most during a storm
LEAST = 0.1  # of the rate: some always come in, or nobody would see that it is over
GROWTH = 0.05  # of the rate with every sample of 0.1 s: from the least to all in 2 s
BURST_LEAST = 200  # at once even while late: ~50 ms of work
CONNECTS_MOST = 2_000  # connect commands in progress; beyond: 111. They wait for Redis alone
RETRY_S = (1, 5)


class Admission:
    """Of one node."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._at = now
        self.share = 1.0
        """Of the rate, now."""
        self.connecting = 0
        """Connect commands in progress."""

    def observe(self, load: Load) -> None:
        """One sample of the node's load, ten a second."""
        if load.loop_lag_s > LATE_S or pressure(load) >= 1:
            self.share = max(LEAST, self.share / 2)
            self._level = min(self._level, self._most)
        else:
            self.share = min(1.0, self.share + GROWTH)

    def take(self, now: float) -> bool:
        """May another connection be upgraded."""
        passed = max(0.0, now - self._at)
        self._level = min(self._most, self._level + passed * self._rate * self.share)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    @property
    def crowded(self) -> bool:
        """Redis does not keep up with those who connect: no more of them now."""
        return self.connecting > CONNECTS_MOST

    @property
    def _most(self) -> float:
        return max(min(BURST_LEAST, self._burst), self._burst * self.share)


def retry_after_s(chance: float) -> int:
    """Seconds for `Retry-After`; `chance` in [0, 1)."""
    least, most = RETRY_S
    return least + math.floor(chance * (most - least + 1))

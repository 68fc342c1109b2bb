"""How old a message is when its frames are made: what a person waits after pressing send.

One message in 64 publications is measured (the first too): 1 us there, 0.1 us elsewhere. Its time
is that of the committing node, so between machines it is as good as their clocks.
"""

import re
import time
from collections.abc import Callable

from messenger.metrics import Spread

SAMPLE = 64
_AT = re.compile(rb'\{"t":"message\.new",.*?"at":(\d{13})')  # other updates tell other times


def wall_ms() -> float:
    return time.time() * 1_000


class PushAge:
    """Feeds `commit_to_push_seconds`."""

    __slots__ = ("_now_ms", "_spread", "_unsampled")

    def __init__(self, spread: Spread, now_ms: Callable[[], float] = wall_ms) -> None:
        self._spread = spread
        self._now_ms = now_ms
        self._unsampled = 1

    def saw(self, update: bytes) -> None:
        """Count `update`; once its turn has come, the next new message is measured."""
        self._unsampled -= 1
        if self._unsampled > 0:
            return
        if found := _AT.match(update):
            self._unsampled = SAMPLE
            self._spread.observe(max(0.0, self._now_ms() - int(found[1])) / 1_000)

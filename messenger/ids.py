"""Ids: 63 bits in SQL, decimal text on the wire (JavaScript keeps 53 bits of a number).

41 bits of milliseconds since 2025, 10 bits of generator, 12 bits of counter: time-ordered, so
B-trees grow at the right edge. No meaning may be read from the bits.
"""

from collections.abc import Callable
from typing import Annotated, NewType

from msgspec import Meta

AccountId = NewType("AccountId", int)
DeviceId = NewType("DeviceId", int)
ChatId = NewType("ChatId", int)
MediaId = NewType("MediaId", int)

WireId = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,18}$")]
"""An id on the wire; `parse_id` refuses what does not fit 63 bits."""

EPOCH_MS = 1_735_689_600_000
MAX_ID = 2**63 - 1
_GENERATOR_BITS = 10
_COUNTER_BITS = 12
_COUNTERS = 1 << _COUNTER_BITS
BACKWARDS_MS = 5_000  # a larger step back of the clock is an operator's problem, not ours to hide


class ClockWentBackError(Exception):
    """The clock stepped back by more than `BACKWARDS_MS`; minting on would risk equal ids."""


class Minter:
    """Mints ids for one leased generator number; the caller owns the lease."""

    __slots__ = ("_counter", "_generator", "_last_ms", "_now_ms")

    def __init__(self, generator: int, now_ms: Callable[[], int]) -> None:
        if not 0 <= generator < 1 << _GENERATOR_BITS:
            raise AssertionError(f"generator {generator} outside 10 bits")
        self._generator = generator
        self._now_ms = now_ms
        self._last_ms = 0
        self._counter = 0

    def mint(self) -> int:
        """A new id, greater than all earlier ones of this minter."""
        now = self._now_ms()
        if now > self._last_ms:
            self._last_ms, self._counter = now, 0
        elif self._last_ms - now > BACKWARDS_MS:
            raise ClockWentBackError(f"clock is {self._last_ms - now} ms behind the last id")
        else:
            self._counter += 1
            if self._counter == _COUNTERS:  # borrow the next millisecond rather than wait for it
                self._last_ms, self._counter = self._last_ms + 1, 0
        ms = self._last_ms - EPOCH_MS
        return (
            ms << (_GENERATOR_BITS + _COUNTER_BITS)
            | self._generator << _COUNTER_BITS
            | self._counter
        )


def parse_id(text: str) -> int | None:
    """The number behind a `WireId`, or None where it does not fit 63 bits."""
    number = int(text)
    return number if number <= MAX_ID else None

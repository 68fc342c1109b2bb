"""The usual frames of clients, cut from the stream without the library's general parser.

websockets' sans-I/O parser is a generator that suspends for every field: 5 us a frame, a third of
what an echo costs. What SDKs send is nearly always one whole masked text or binary frame; those are
cut here. Control frames go to the library one by one; at anything else (fragments, reserved bits,
no mask, too long) `cut` gives up for the rest of the connection and leaves it to the library.
"""

from msgspec import Struct

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled part
    from websockets.utils import apply_mask

TEXT, BINARY = 0x81, 0x82
CONTROL = frozenset((0x88, 0x89, 0x8A))
MASKED = 0x80


class Cut(Struct, frozen=True, gc=False):
    """What was found at the start of some bytes."""

    frames: list[tuple[int, bytes]]
    """(first byte, payload); of a control frame its bytes as they came."""
    used: int
    """So many bytes are done with."""
    usual: bool
    """False: what follows is for the library."""


def whole_text(data: bytes, most: int) -> bytes | None:
    """The payload where `data` is exactly one masked text frame, as nearly always; else None."""
    end = len(data)
    if end < 6 or end > most or data[0] != TEXT:
        return None
    length, start = data[1] - MASKED, 2
    if length == 126:
        length, start = data[2] << 8 | data[3], 4
    elif length > 126:
        return None
    if start + 4 + length != end:
        return None
    return apply_mask(data[start + 4 :], data[start : start + 4])


def cut(data: bytes, most: int) -> Cut:
    """All whole frames at the start of `data`, none longer than `most`."""
    frames: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while end - at >= 2:
        first, length = data[at], data[at + 1] - MASKED
        if length < 0 or (first != TEXT and first != BINARY and first not in CONTROL):
            return Cut(frames, at, usual=False)
        start = at + 2
        if length >= 126:
            width = 2 if length == 126 else 8
            start += width
            if end < start:
                break
            length = int.from_bytes(data[at + 2 : start], "big")
            if length > most or first in CONTROL:
                return Cut(frames, at, usual=False)
        stop = start + 4 + length
        if end < stop:
            break
        if first in CONTROL:
            frames.append((first, data[at:stop]))
        else:
            frames.append((first, apply_mask(data[start + 4 : stop], data[start : start + 4])))
        at = stop
    return Cut(frames, at, usual=True)

"""Server frames of RFC 6455: final, unmasked, never fragmented, so that many sessions share one.

Built by hand because the frame of a fan-out is made once and written a thousand times.
"""

from typing import Final

TEXT: Final = 0x81
BINARY: Final = 0x82
CLOSE: Final = 0x88

PING_JSON: Final = b"\x81\x02{}"
PING_PROTOBUF: Final = b"\x82\x01\x00"

CLOSE_REASON_BYTES: Final = 123  # RFC 6455 section 5.5: a control frame carries at most 125 bytes


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return bytes((first, 126, length >> 8, length & 255))
    return bytes((first, 127)) + length.to_bytes(8, "big")


_USUAL: Final = 1024  # bytes; looking a header up takes half the time of making it
_TEXT_HEADERS: Final = tuple(_header(TEXT, length) for length in range(_USUAL))
_BINARY_HEADERS: Final = tuple(_header(BINARY, length) for length in range(_USUAL))


def frame(payload: bytes, binary: bool) -> bytes:  # noqa: FBT001 - hot, positional by contract
    """`payload` as one WebSocket message."""
    length = len(payload)
    if length < _USUAL:
        return (_BINARY_HEADERS if binary else _TEXT_HEADERS)[length] + payload
    return _header(BINARY if binary else TEXT, length) + payload


def close_frame(code: int, reason: str) -> bytes:
    """The Close frame; a reason that is too long is cut at a character."""
    text = reason.encode()[:CLOSE_REASON_BYTES].decode(errors="ignore").encode()
    return bytes((CLOSE, len(text) + 2)) + code.to_bytes(2, "big") + text

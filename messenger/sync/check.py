"""The digest of all heads: 8 bytes that tell a device whether it knows what the server knows.

Pure, so that the rule for clients (FNV-1a, 64 bits, 16 hexadecimal digits) stands in one place.
"""

from collections.abc import Iterable

_OFFSET, _PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, 2**64 - 1


def digest(heads: Iterable[tuple[int, int, int]], aev: int) -> str:
    """Over "chat:epoch:ev;" of all heads by chat id, then the aev."""
    text = "".join(f"{chat}:{epoch}:{ev};" for chat, epoch, ev in sorted(heads))
    return fnv1a(f"{text}{aev}".encode())


def fnv1a(data: bytes) -> str:
    """0.1 us a byte: 0.1 ms for 40 chats."""
    value = _OFFSET
    for byte in data:
        value = (value ^ byte) * _PRIME & _MASK
    return f"{value:016x}"

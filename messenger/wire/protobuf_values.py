"""Protobuf encoding of the messages in `protobuf_schema.py`, proto3 rules.

By hand, because generated classes cost a copy of every message into another object. The decoder
trusts nothing: every length is checked, and unknown fields are skipped by their wire type.
"""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import Raw

from messenger.wire.bad_frame import BadFrame
from messenger.wire.messages import Message
from messenger.wire.protobuf_schema import (
    BLOB,
    BLOCK,
    BY_KEY,
    FIXED32,
    FIXED64,
    FLAG,
    I32,
    MANY,
    MAP,
    ONE,
    SCHEMA,
    TEXT,
    TEXTS,
    U32,
    U64,
    VARINT,
    Field,
    Kind,
)

_ONE_BYTE: Final = tuple(bytes((n,)) for n in range(128))
_MASK64: Final = 2**64 - 1
_MAX_VARINT: Final = 10  # bytes


def varint(number: int) -> bytes:
    """Base 128, low digits first; a negative number as its 64-bit two's complement."""
    if 0 <= number < 128:
        return _ONE_BYTE[number]
    number &= _MASK64
    digits = bytearray()
    while number > 127:
        digits.append(number & 127 | 128)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def block(number: int, body: bytes) -> bytes:
    """A field that carries its length: text, bytes or a message."""
    return _ONE_BYTE[number << 3 | BLOCK] + varint(len(body)) + body


def whole(number: int, value: int) -> bytes:
    """A varint field; zero is left out."""
    return _ONE_BYTE[number << 3] + varint(value) if value else b""


def texts(number: int, value: Mapping[str, str]) -> bytes:
    """A map<string, string>: one block per entry."""
    return b"".join(
        block(number, block(1, key.encode()) + block(2, text.encode()))
        for key, text in value.items()
    )


def encode(message: Message) -> bytes:
    """The fields of `message`, without its own length."""
    return b"".join(
        _field(field, value)
        for field in SCHEMA[type(message)]
        if (value := getattr(message, field.name))
    )


def _field(field: Field, value: Any) -> bytes:
    kind, number = field.kind, field.number
    if kind is TEXT:
        return block(number, value.encode())
    if kind is BLOB:
        return block(number, bytes(value))
    if kind is ONE:
        return block(number, encode(value))
    if kind is MANY:
        return b"".join(block(number, encode(item)) for item in value)
    if kind is MAP:
        return b"".join(
            block(number, block(1, key.encode()) + block(2, encode(item)))
            for key, item in value.items()
        )
    if kind is TEXTS:
        return texts(number, value)
    return whole(number, value)


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at `at`, cut to 64 bits, and the place after it."""
    number = shift = 0
    for place in range(at, min(end, at + _MAX_VARINT)):
        digit = data[place]
        number |= (digit & 127) << shift
        if digit < 128:
            return number & _MASK64, place + 1
        shift += 7
    raise BadFrame("varint is cut off or too long")


def decode(of: type[Message], data: bytes, at: int, end: int) -> Any:
    """The message of type `of` in data[at:end].

    A field given twice counts once, the last time; senders of this protocol never split one.
    """
    known = BY_KEY[of]
    values: dict[str, Any] = {}
    while at < end:
        key = data[at]
        if key < 128:  # nearly always: our fields are numbered up to 15
            at += 1
        else:
            key, at = read_varint(data, at, end)
        field = known.get(key)
        if field is None:
            at = _skip(data, at, end, key & 7)
            continue
        name, kind, part = field
        if key & 7 == VARINT:
            number, at = read_varint(data, at, end)
            values[name] = _number(kind, number)
        else:
            start, at = _span(data, at, end)
            _store(values, name, kind, part, data, start, at)
    return of(**values)


def _span(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Start and end of the block at `at`."""
    if at < end and data[at] < 128:
        length = data[at]
        at += 1
    else:
        length, at = read_varint(data, at, end)
    if length > end - at:
        raise BadFrame("block is longer than its message")
    return at, at + length


def _skip(data: bytes, at: int, end: int, wire_type: int) -> int:
    if wire_type == VARINT:
        return read_varint(data, at, end)[1]
    if wire_type == BLOCK:
        return _span(data, at, end)[1]
    size = {FIXED64: 8, FIXED32: 4}.get(wire_type)
    if size is None or size > end - at:  # groups (3, 4) are not in proto3
        raise BadFrame("unknown wire type, or a fixed field that is cut off")
    return at + size


def _number(kind: Kind, number: int) -> int | bool:
    if kind is FLAG:
        return number != 0
    if kind is U32:
        return number & 0xFFFFFFFF
    if kind is U64:
        if number >> 63:
            raise BadFrame("offset beyond 63 bits")  # the stores count in signed 64 bits
        return number
    bits = 32 if kind is I32 else 64
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number


def _store(
    values: dict[str, Any],
    name: str,
    kind: Kind,
    of: type[Message],
    data: bytes,
    start: int,
    end: int,
) -> None:
    if kind is TEXT:
        values[name] = _text(data, start, end)
    elif kind is BLOB:
        if end > start:  # an empty block is the same as none
            values[name] = Raw(data[start:end])
    elif kind is ONE:
        values[name] = decode(of, data, start, end)
    elif kind is MANY:
        values.setdefault(name, []).append(decode(of, data, start, end))
    else:
        key, item = _entry(None if kind is TEXTS else of, data, start, end)
        values.setdefault(name, {})[key] = item


def _entry(of: type[Message] | None, data: bytes, at: int, end: int) -> tuple[str, Any]:
    """Key (field 1) and value (field 2; None = text) of a map's entry; either may be left out."""
    key, item = "", of() if of is not None else ""
    while at < end:
        tag, at = read_varint(data, at, end)
        if tag == 1 << 3 | BLOCK:
            start, at = _span(data, at, end)
            key = _text(data, start, at)
        elif tag == 2 << 3 | BLOCK:
            start, at = _span(data, at, end)
            item = decode(of, data, start, at) if of is not None else _text(data, start, at)
        else:
            at = _skip(data, at, end, tag & 7)
    return key, item


def _text(data: bytes, start: int, end: int) -> str:
    try:
        return data[start:end].decode()
    except UnicodeDecodeError as bad:
        raise BadFrame("text is not UTF-8") from bad

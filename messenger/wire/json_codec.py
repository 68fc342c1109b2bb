"""The JSON encoding: text frames, messages joined by one newline.

Replies and pushes are spliced around payloads that are JSON already; a payload is encoded once,
by whoever made it. Nothing we write contains a newline inside a message: an empty line inside a
frame is fatal in centrifuge-python.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec

from messenger.wire import frames
from messenger.wire.bad_frame import BadFrame
from messenger.wire.codes import CloseCode, UnsubscribeCode
from messenger.wire.messages import (
    RESULT_NAMES,
    ClientInfo,
    Command,
    Message,
    Reply,
    Result,
    Subscribe,
)

BINARY = False
PING = b"{}"
PING_FRAME = frames.PING_JSON

# Lax, because clients in languages without 64-bit numbers send offsets as text.
_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command, strict=False)
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply, strict=False)
_encode = msgspec.json.Encoder().encode

_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_LONE_SURROGATE = re.compile(rb"(?<!\\)(?:%b(?!%b)|(?<!%b)%b)" % (_HIGH, _LOW, _HIGH, _LOW))
"""Half a character, which no UTF-8 can say. It becomes NUL, which every text field refuses, so that
the sender hears which field is wrong instead of losing the connection."""


def decode_frame(data: bytes, most: int) -> list[Command]:
    """The commands of one text message, at most `most`; raises BadFrame before any is handed out.

    The text is checked here as a whole: raw payloads are passed on unread, and invalid UTF-8 in
    one would break the sockets of everybody who receives it.
    """
    return [_command(line) for line in _lines(data, most)]


def decode_replies(data: bytes, most: int) -> list[Reply]:
    """The client's side of the same."""
    return [_reply(line) for line in _lines(data, most)]


def encode_commands(commands: Sequence[Command]) -> bytes:
    return b"\n".join(map(_encode, commands))


def frame(message: bytes) -> bytes:
    return frames.frame(message, False)  # noqa: FBT003 - positional by contract


def reply(id: int, result: Result) -> bytes:
    """Any result but an rpc's, which comes as bytes: see `rpc`."""
    name = RESULT_NAMES[type(result)].encode()
    return b'{"id":%d,"%b":%b}' % (id, name, _encode(result))


def rpc(id: int, data: bytes) -> bytes:
    """`data` is the result's JSON."""
    return b'{"id":%d,"rpc":{"data":%b}}' % (id, data)


def error(id: int, code: int, message: str, temporary: bool = False) -> bytes:  # noqa: FBT001, FBT002 - a wire field
    return b'{"id":%d,"error":{"code":%d,"message":%b%b}}' % (
        id,
        code,
        _encode(message),
        b',"temporary":true' if temporary else b"",
    )


def publication(
    topic: str,
    data: bytes,
    offset: int = 0,
    info: ClientInfo | None = None,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """A publication on `topic`; `data` is JSON and is spliced in as it is."""
    if offset and info is None and not tags:  # every update on `user:`: once per recipient
        return b'{"push":{"channel":%b,"pub":{"data":%b,"offset":%d}}}' % (
            _encode(topic),
            data,
            offset,
        )
    return b'{"push":{"channel":%b,"pub":{"data":%b%b}}}' % (
        _encode(topic),
        data,
        _rest(offset, info, tags),
    )


def publication_id(
    number: int,
    data: bytes,
    offset: int = 0,
    info: ClientInfo | None = None,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """The same for sessions that know the topic by its compaction id."""
    return b'{"push":{"id":%d,"pub":{"data":%b%b}}}' % (number, data, _rest(offset, info, tags))


def join(topic: str, info: ClientInfo) -> bytes:
    return _push(topic, b"join", b'{"info":%b}' % _encode(info))


def join_id(number: int, info: ClientInfo) -> bytes:
    return b'{"push":{"id":%d,"join":{"info":%b}}}' % (number, _encode(info))


def leave(topic: str, info: ClientInfo) -> bytes:
    return _push(topic, b"leave", b'{"info":%b}' % _encode(info))


def leave_id(number: int, info: ClientInfo) -> bytes:
    return b'{"push":{"id":%d,"leave":{"info":%b}}}' % (number, _encode(info))


def unsubscribe(topic: str, code: UnsubscribeCode) -> bytes:
    """Nothing may follow it for that topic."""
    return _push(topic, b"unsubscribe", b'{"code":%d,"reason":%b}' % (code, _encode(code.reason)))


def subscribe(topic: str, added: Subscribe) -> bytes:
    """A server-side subscription was added while connected."""
    return _push(topic, b"subscribe", _encode(added))


def _push(topic: str, kind: bytes, body: bytes) -> bytes:
    return b'{"push":{"channel":%b,"%b":%b}}' % (_encode(topic), kind, body)


def _rest(offset: int, info: Message | None, tags: Mapping[str, str] | None) -> bytes:
    """What follows the data of a publication; most have an offset and nothing else."""
    rest = b',"offset":%d' % offset if offset else b""
    if info is not None:
        rest += b',"info":' + _encode(info)
    if tags:
        rest += b',"tags":' + _encode(tags)
    return rest


def _lines(data: bytes, most: int) -> list[bytes]:
    try:
        data.decode()
    except UnicodeDecodeError as bad:
        raise BadFrame("text is not UTF-8", CloseCode.INVALID_TEXT) from bad
    if b"\n" not in data:
        return [data]
    lines = data.split(b"\n")
    if len(lines) > 1 and not lines[-1]:
        lines.pop()  # one newline at the end is usual
    if len(lines) > most:
        raise BadFrame(f"more than {most} commands in a frame")
    return lines


def _command(line: bytes) -> Command:
    try:
        return _commands.decode(line)
    except (msgspec.DecodeError, RecursionError) as bad:  # deep nesting ends in RecursionError
        mended, lone = _LONE_SURROGATE.subn(b"\\\\u0000", line)
        if lone:
            return _command(mended)
        raise BadFrame(str(bad)) from bad


def _reply(line: bytes) -> Reply:
    try:
        return _replies.decode(line)
    except (msgspec.DecodeError, RecursionError) as bad:
        raise BadFrame(str(bad)) from bad

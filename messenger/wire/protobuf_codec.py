"""The Protobuf encoding: binary frames, each message preceded by its length as a varint.

Payloads stay UTF-8 JSON inside; they are spliced in as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from messenger.wire import frames
from messenger.wire.bad_frame import BadFrame
from messenger.wire.codes import UnsubscribeCode
from messenger.wire.messages import (
    ClientInfo,
    Command,
    Join,
    Leave,
    Message,
    Reply,
    Result,
    Subscribe,
    Unsubscribe,
)
from messenger.wire.protobuf_schema import REPLY_NUMBERS
from messenger.wire.protobuf_values import block, decode, encode, read_varint, texts, varint, whole

BINARY = True
PING = b"\x00"
PING_FRAME = frames.PING_PROTOBUF

_RPC = 13
_ERROR = 2
_PUSH = 4
_JOIN, _LEAVE, _UNSUBSCRIBE, _SUBSCRIBE = 5, 6, 7, 9
# Keys of length-delimited fields on the path of every publication, joined by hand there.
_PUSH_KEY, _CHANNEL_KEY, _PUB_KEY, _DATA_KEY = b"\x22", b"\x12", b"\x22", b"\x22"
_OFFSET = 6
_INFO = 5
_TAGS = 7


def decode_frame(data: bytes, most: int) -> list[Command]:
    """The commands of one binary message, at most `most`; BadFrame before any is handed out."""
    return _messages(Command, data, most)


def decode_replies(data: bytes, most: int) -> list[Reply]:
    """The client's side of the same."""
    return _messages(Reply, data, most)


def encode_commands(commands: Sequence[Command]) -> bytes:
    return b"".join(_delimited(encode(command)) for command in commands)


def frame(message: bytes) -> bytes:
    return frames.frame(message, True)  # noqa: FBT003 - positional by contract


def reply(id: int, result: Result) -> bytes:
    """Any result but an rpc's, which comes as bytes: see `rpc`."""
    return _delimited(whole(1, id) + block(REPLY_NUMBERS[type(result)], encode(result)))


def rpc(id: int, data: bytes) -> bytes:
    """`data` is the result's JSON."""
    return _delimited(whole(1, id) + block(_RPC, block(1, data)))


def error(id: int, code: int, message: str, temporary: bool = False) -> bytes:  # noqa: FBT001, FBT002 - a wire field
    body = whole(1, code) + block(2, message.encode()) + whole(3, temporary)
    return _delimited(whole(1, id) + block(_ERROR, body))


def publication(
    topic: str,
    data: bytes,
    offset: int = 0,
    info: ClientInfo | None = None,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """A publication on `topic`; `data` is JSON and is spliced in as it is."""
    name = topic.encode()
    return _publication(_CHANNEL_KEY + varint(len(name)) + name, data, offset, info, tags)


def publication_id(
    number: int,
    data: bytes,
    offset: int = 0,
    info: ClientInfo | None = None,
    tags: Mapping[str, str] | None = None,
) -> bytes:
    """The same for sessions that know the topic by its compaction id."""
    return _publication(whole(1, number), data, offset, info, tags)


def join(topic: str, info: ClientInfo) -> bytes:
    return _push(block(2, topic.encode()), _JOIN, Join(info))


def join_id(number: int, info: ClientInfo) -> bytes:
    return _push(whole(1, number), _JOIN, Join(info))


def leave(topic: str, info: ClientInfo) -> bytes:
    return _push(block(2, topic.encode()), _LEAVE, Leave(info))


def leave_id(number: int, info: ClientInfo) -> bytes:
    return _push(whole(1, number), _LEAVE, Leave(info))


def unsubscribe(topic: str, code: UnsubscribeCode) -> bytes:
    """Nothing may follow it for that topic."""
    return _push(block(2, topic.encode()), _UNSUBSCRIBE, Unsubscribe(code, code.reason))


def subscribe(topic: str, added: Subscribe) -> bytes:
    """A server-side subscription was added while connected."""
    return _push(block(2, topic.encode()), _SUBSCRIBE, added)


def _push(address: bytes, kind: int, body: Message) -> bytes:
    return _delimited(block(_PUSH, address + block(kind, encode(body))))


def _publication(
    address: bytes,
    data: bytes,
    offset: int,
    info: ClientInfo | None,
    tags: Mapping[str, str] | None,
) -> bytes:
    body = _DATA_KEY + varint(len(data)) + data
    if info is not None:
        body += block(_INFO, encode(info))
    if offset:
        body += whole(_OFFSET, offset)
    if tags:
        body += texts(_TAGS, tags)
    push = address + _PUB_KEY + varint(len(body)) + body
    return _delimited(_PUSH_KEY + varint(len(push)) + push)


def _delimited(message: bytes) -> bytes:
    return varint(len(message)) + message


def _messages(of: type[Message], data: bytes, most: int) -> list[Any]:
    if not data:
        raise BadFrame("frame without a command")
    found: list[Any] = []
    at, end = 0, len(data)
    while at < end:
        if len(found) == most:
            raise BadFrame(f"more than {most} commands in a frame")
        length, at = read_varint(data, at, end)
        if length > end - at:
            raise BadFrame("message is longer than its frame")
        found.append(decode(of, data, at, at + length))
        at += length
    return found

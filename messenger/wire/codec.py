"""The two encodings behind one set of names; a session picks one at its handshake.

Every function returns message bytes without WebSocket framing; `frame` adds it. Protobuf
messages carry their length, so they may be concatenated; JSON messages are joined by a newline.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol
from urllib.parse import parse_qs

from msgspec import Struct

from messenger.wire import json_codec, protobuf_codec
from messenger.wire.codes import UnsubscribeCode
from messenger.wire.messages import ClientInfo, Command, Reply, Result, Subscribe

JSON_SUBPROTOCOL = "centrifuge-json"
PROTOBUF_SUBPROTOCOL = "centrifuge-protobuf"


class Codec(Protocol):
    """What `json_codec` and `protobuf_codec` both are."""

    BINARY: bool
    PING: bytes
    PING_FRAME: bytes

    def decode_frame(self, data: bytes, most: int) -> list[Command]: ...
    def decode_replies(self, data: bytes, most: int) -> list[Reply]: ...
    def encode_commands(self, commands: Sequence[Command]) -> bytes: ...
    def frame(self, message: bytes) -> bytes: ...
    def reply(self, id: int, result: Result) -> bytes: ...
    def rpc(self, id: int, data: bytes) -> bytes: ...
    def error(self, id: int, code: int, message: str, temporary: bool = False) -> bytes: ...  # noqa: FBT001, FBT002 - a wire field
    def publication(
        self,
        topic: str,
        data: bytes,
        offset: int = 0,
        info: ClientInfo | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> bytes: ...
    def publication_id(
        self,
        number: int,
        data: bytes,
        offset: int = 0,
        info: ClientInfo | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> bytes: ...
    def join(self, topic: str, info: ClientInfo) -> bytes: ...
    def join_id(self, number: int, info: ClientInfo) -> bytes: ...
    def leave(self, topic: str, info: ClientInfo) -> bytes: ...
    def leave_id(self, number: int, info: ClientInfo) -> bytes: ...
    def unsubscribe(self, topic: str, code: UnsubscribeCode) -> bytes: ...
    def subscribe(self, topic: str, added: Subscribe) -> bytes: ...


JSON: Codec = json_codec
PROTOBUF: Codec = protobuf_codec


class Chosen(Struct, frozen=True):
    """What a handshake settles."""

    codec: Codec
    subprotocol: str | None
    """To be echoed; None where the client offered none of ours."""
    native_ping: bool
    """WebSocket pings instead of the protocol's own."""


def choose(offered: Sequence[str], query: str) -> Chosen:
    """The encoding for these `Sec-WebSocket-Protocol` values and this query string."""
    asked = parse_qs(query)
    native = asked.get("cf_ws_frame_ping_pong") == ["true"]
    if PROTOBUF_SUBPROTOCOL in offered:
        return Chosen(PROTOBUF, PROTOBUF_SUBPROTOCOL, native)
    by_query = ["protobuf"] in (asked.get("format"), asked.get("cf_protocol"))
    if by_query:
        return Chosen(PROTOBUF, None, native)
    subprotocol = JSON_SUBPROTOCOL if JSON_SUBPROTOCOL in offered else None
    return Chosen(JSON, subprotocol, native)

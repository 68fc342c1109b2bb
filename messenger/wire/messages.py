"""The messages of the Centrifuge client protocol v2, as both ends see them.

Field names are those of the schema, so that JSON needs no mapping; zero values are left out of
what we send. Raw fields hold JSON text in both encodings and are never decoded here: a payload
crosses the server as the bytes it came in.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

U32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
U63 = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""Schema type uint64; the top bit is refused because the stores count in signed 64 bits."""
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
I32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]

NOTHING: Final = Raw()
"""An absent raw field. Fields keep this very object, or encoding would write an empty value."""

FLAG_COMPACTION = 1
FLAG_REJECT_UNRECOVERED = 2


class Message(Struct, frozen=True, gc=False, omit_defaults=True):
    """Base of all messages; unknown fields are ignored, as SDKs of any age expect."""


class ClientInfo(Message, frozen=True, gc=False, omit_defaults=True):
    user: str = ""
    client: str = ""
    conn_info: Raw = NOTHING
    chan_info: Raw = NOTHING


class Publication(Message, frozen=True, gc=False, omit_defaults=True):
    data: Raw = NOTHING
    info: ClientInfo | None = None
    offset: U63 = 0
    tags: dict[str, str] = {}
    delta: bool = False
    time: I64 = 0
    channel: str = ""


class Error(Message, frozen=True, gc=False, omit_defaults=True):
    code: U32 = 0
    message: str = ""
    """Mandatory: without it centrifuge-python never leaves its connect loop."""
    temporary: bool = False


class StreamPosition(Message, frozen=True, gc=False, omit_defaults=True):
    offset: U63 = 0
    epoch: str = ""


class SubscribeRequest(Message, frozen=True, gc=False, omit_defaults=True):
    """Also the value of `connect.subs`, where only recover, offset and epoch are set."""

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: U63 = 0
    data: Raw = NOTHING
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    delta: str = ""
    tf: Raw = NOTHING
    flag: I64 = 0
    type: I32 = 0


class ConnectRequest(Message, frozen=True, gc=False, omit_defaults=True):
    token: str = ""
    data: Raw = NOTHING
    subs: dict[str, SubscribeRequest] = {}
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}


class UnsubscribeRequest(Message, frozen=True, gc=False, omit_defaults=True):
    channel: str = ""


class PublishRequest(Message, frozen=True, gc=False, omit_defaults=True):
    channel: str = ""
    data: Raw = NOTHING


class PresenceRequest(Message, frozen=True, gc=False, omit_defaults=True):
    channel: str = ""


class PresenceStatsRequest(Message, frozen=True, gc=False, omit_defaults=True):
    channel: str = ""


class HistoryRequest(Message, frozen=True, gc=False, omit_defaults=True):
    channel: str = ""
    limit: I32 = 0
    """0 = position only, -1 = up to the server's limit."""
    since: StreamPosition | None = None
    reverse: bool = False


class PingRequest(Message, frozen=True, gc=False, omit_defaults=True):
    pass


class SendRequest(Message, frozen=True, gc=False, omit_defaults=True):
    data: Raw = NOTHING


class RpcRequest(Message, frozen=True, gc=False, omit_defaults=True):
    data: Raw = NOTHING
    method: str = ""


class RefreshRequest(Message, frozen=True, gc=False, omit_defaults=True):
    token: str = ""


class SubRefreshRequest(Message, frozen=True, gc=False, omit_defaults=True):
    channel: str = ""
    token: str = ""


Request = (
    ConnectRequest
    | SubscribeRequest
    | UnsubscribeRequest
    | PublishRequest
    | PresenceRequest
    | PresenceStatsRequest
    | HistoryRequest
    | PingRequest
    | SendRequest
    | RpcRequest
    | RefreshRequest
    | SubRefreshRequest
)


class Command(Message, frozen=True, gc=False, omit_defaults=True):
    """Client to server. Without id and request it is a pong."""

    id: U32 = 0
    connect: ConnectRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: UnsubscribeRequest | None = None
    publish: PublishRequest | None = None
    presence: PresenceRequest | None = None
    presence_stats: PresenceStatsRequest | None = None
    history: HistoryRequest | None = None
    ping: PingRequest | None = None
    send: SendRequest | None = None
    rpc: RpcRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: SubRefreshRequest | None = None

    @property
    def request(self) -> Request | None:
        """The first request in schema order; dispatch on its type."""
        return (
            self.connect
            or self.subscribe
            or self.unsubscribe
            or self.publish
            or self.presence
            or self.presence_stats
            or self.history
            or self.ping
            or self.send
            or self.rpc
            or self.refresh
            or self.sub_refresh
        )


REQUEST_NAMES: Final[dict[type[Message], str]] = {
    ConnectRequest: "connect",
    SubscribeRequest: "subscribe",
    UnsubscribeRequest: "unsubscribe",
    PublishRequest: "publish",
    PresenceRequest: "presence",
    PresenceStatsRequest: "presence_stats",
    HistoryRequest: "history",
    PingRequest: "ping",
    SendRequest: "send",
    RpcRequest: "rpc",
    RefreshRequest: "refresh",
    SubRefreshRequest: "sub_refresh",
}
"""The field of `Command` that carries each request."""


class SubscribeResult(Message, frozen=True, gc=False, omit_defaults=True):
    expires: bool = False
    ttl: U32 = 0
    recoverable: bool = False
    epoch: str = ""
    publications: list[Publication] = []
    recovered: bool = False
    offset: U63 = 0
    positioned: bool = False
    data: Raw = NOTHING
    was_recovering: bool = False
    delta: bool = False
    id: I64 = 0


class ConnectResult(Message, frozen=True, gc=False, omit_defaults=True):
    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: U32 = 0
    data: Raw = NOTHING
    subs: dict[str, SubscribeResult] = {}
    ping: U32 = 0
    pong: bool = False
    session: str = ""
    node: str = ""
    time: I64 = 0


class UnsubscribeResult(Message, frozen=True, gc=False, omit_defaults=True):
    pass


class PublishResult(Message, frozen=True, gc=False, omit_defaults=True):
    pass


class PresenceResult(Message, frozen=True, gc=False, omit_defaults=True):
    presence: dict[str, ClientInfo] = {}


class PresenceStatsResult(Message, frozen=True, gc=False, omit_defaults=True):
    num_clients: U32 = 0
    num_users: U32 = 0


class HistoryResult(Message, frozen=True, gc=False, omit_defaults=True):
    publications: list[Publication] = []
    epoch: str = ""
    offset: U63 = 0


class PingResult(Message, frozen=True, gc=False, omit_defaults=True):
    pass


class RpcResult(Message, frozen=True, gc=False, omit_defaults=True):
    data: Raw = NOTHING


class RefreshResult(Message, frozen=True, gc=False, omit_defaults=True):
    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: U32 = 0


class SubRefreshResult(Message, frozen=True, gc=False, omit_defaults=True):
    expires: bool = False
    ttl: U32 = 0


Result = (
    ConnectResult
    | SubscribeResult
    | UnsubscribeResult
    | PublishResult
    | PresenceResult
    | PresenceStatsResult
    | HistoryResult
    | PingResult
    | RpcResult
    | RefreshResult
    | SubRefreshResult
)

RESULT_NAMES: Final[dict[type[Message], str]] = {
    ConnectResult: "connect",
    SubscribeResult: "subscribe",
    UnsubscribeResult: "unsubscribe",
    PublishResult: "publish",
    PresenceResult: "presence",
    PresenceStatsResult: "presence_stats",
    HistoryResult: "history",
    PingResult: "ping",
    RpcResult: "rpc",
    RefreshResult: "refresh",
    SubRefreshResult: "sub_refresh",
}
"""The field of `Reply` that carries each result."""


class Join(Message, frozen=True, gc=False, omit_defaults=True):
    info: ClientInfo | None = None


class Leave(Message, frozen=True, gc=False, omit_defaults=True):
    info: ClientInfo | None = None


class Unsubscribe(Message, frozen=True, gc=False, omit_defaults=True):
    """Code and reason both: centrifuge-python needs both."""

    code: U32 = 0
    reason: str = ""


class Subscribe(Message, frozen=True, gc=False, omit_defaults=True):
    """A server-side subscription was added now."""

    recoverable: bool = False
    epoch: str = ""
    offset: U63 = 0
    positioned: bool = False
    data: Raw = NOTHING


class Disconnect(Message, frozen=True, gc=False, omit_defaults=True):
    """The HTTP fallbacks' close frame; on a WebSocket the code goes into the Close frame."""

    code: U32 = 0
    reason: str = ""
    reconnect: bool = False


class Push(Message, frozen=True, gc=False, omit_defaults=True):
    """Either `channel` or, for a client that asked for compaction, `id`."""

    id: I64 = 0
    channel: str = ""
    pub: Publication | None = None
    join: Join | None = None
    leave: Leave | None = None
    unsubscribe: Unsubscribe | None = None
    subscribe: Subscribe | None = None
    disconnect: Disconnect | None = None


class Reply(Message, frozen=True, gc=False, omit_defaults=True):
    """Server to client. Without any field it is a ping."""

    id: U32 = 0
    error: Error | None = None
    push: Push | None = None
    connect: ConnectResult | None = None
    subscribe: SubscribeResult | None = None
    unsubscribe: UnsubscribeResult | None = None
    publish: PublishResult | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    history: HistoryResult | None = None
    ping: PingResult | None = None
    rpc: RpcResult | None = None
    refresh: RefreshResult | None = None
    sub_refresh: SubRefreshResult | None = None


def compact_json(data: bytes) -> bytes | None:
    """`data` as one line of valid UTF-8 JSON, or None if it is not JSON.

    For payloads that the JSON command decoder has not seen (Protobuf, the HTTP API): a newline
    inside would end the message early for every JSON session that receives it.
    """
    try:
        data.decode()
        msgspec.json.decode(data, type=Raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return None
    return msgspec.json.format(data, indent=-1) if b"\n" in data or b"\r" in data else data

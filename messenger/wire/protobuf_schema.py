"""Field numbers of centrifugal/protocol `client.proto` for each message, as data.

One table serves both directions; the encoder and the decoder in `protobuf_values.py` walk it.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

from messenger.wire import messages as m


class Kind(Enum):
    TEXT = auto()
    BLOB = auto()
    U32 = auto()
    U64 = auto()
    I32 = auto()
    I64 = auto()
    FLAG = auto()
    ONE = auto()
    MANY = auto()
    TEXTS = auto()  # map<string, string>
    MAP = auto()  # map<string, message>


class Field(NamedTuple):
    number: int
    name: str
    kind: Kind
    of: type[m.Message] = m.Message
    """The message type of ONE, MANY and MAP."""


TEXT, BLOB, FLAG = Kind.TEXT, Kind.BLOB, Kind.FLAG
U32, U64, I32, I64 = Kind.U32, Kind.U64, Kind.I32, Kind.I64
ONE, MANY, MAP, TEXTS = Kind.ONE, Kind.MANY, Kind.MAP, Kind.TEXTS

_CHANNEL: Final = (Field(1, "channel", TEXT),)
_INFO: Final = (Field(1, "info", ONE, m.ClientInfo),)
_DATA: Final = (Field(1, "data", BLOB),)
_EXPIRY: Final = (
    Field(1, "client", TEXT),
    Field(2, "version", TEXT),
    Field(3, "expires", FLAG),
    Field(4, "ttl", U32),
)

SCHEMA: Final[dict[type[m.Message], tuple[Field, ...]]] = {
    m.Command: (
        Field(1, "id", U32),
        Field(4, "connect", ONE, m.ConnectRequest),
        Field(5, "subscribe", ONE, m.SubscribeRequest),
        Field(6, "unsubscribe", ONE, m.UnsubscribeRequest),
        Field(7, "publish", ONE, m.PublishRequest),
        Field(8, "presence", ONE, m.PresenceRequest),
        Field(9, "presence_stats", ONE, m.PresenceStatsRequest),
        Field(10, "history", ONE, m.HistoryRequest),
        Field(11, "ping", ONE, m.PingRequest),
        Field(12, "send", ONE, m.SendRequest),
        Field(13, "rpc", ONE, m.RpcRequest),
        Field(14, "refresh", ONE, m.RefreshRequest),
        Field(15, "sub_refresh", ONE, m.SubRefreshRequest),
    ),
    m.Reply: (  # connect to ping are one higher than in Command, the last three equal
        Field(1, "id", U32),
        Field(2, "error", ONE, m.Error),
        Field(4, "push", ONE, m.Push),
        Field(5, "connect", ONE, m.ConnectResult),
        Field(6, "subscribe", ONE, m.SubscribeResult),
        Field(7, "unsubscribe", ONE, m.UnsubscribeResult),
        Field(8, "publish", ONE, m.PublishResult),
        Field(9, "presence", ONE, m.PresenceResult),
        Field(10, "presence_stats", ONE, m.PresenceStatsResult),
        Field(11, "history", ONE, m.HistoryResult),
        Field(12, "ping", ONE, m.PingResult),
        Field(13, "rpc", ONE, m.RpcResult),
        Field(14, "refresh", ONE, m.RefreshResult),
        Field(15, "sub_refresh", ONE, m.SubRefreshResult),
    ),
    m.Error: (Field(1, "code", U32), Field(2, "message", TEXT), Field(3, "temporary", FLAG)),
    m.Push: (
        Field(1, "id", I64),
        Field(2, "channel", TEXT),
        Field(4, "pub", ONE, m.Publication),
        Field(5, "join", ONE, m.Join),
        Field(6, "leave", ONE, m.Leave),
        Field(7, "unsubscribe", ONE, m.Unsubscribe),
        Field(9, "subscribe", ONE, m.Subscribe),
        Field(11, "disconnect", ONE, m.Disconnect),
    ),
    m.Publication: (
        Field(4, "data", BLOB),
        Field(5, "info", ONE, m.ClientInfo),
        Field(6, "offset", U64),
        Field(7, "tags", TEXTS),
        Field(8, "delta", FLAG),
        Field(9, "time", I64),
        Field(10, "channel", TEXT),
    ),
    m.ClientInfo: (
        Field(1, "user", TEXT),
        Field(2, "client", TEXT),
        Field(3, "conn_info", BLOB),
        Field(4, "chan_info", BLOB),
    ),
    m.Join: _INFO,
    m.Leave: _INFO,
    m.Unsubscribe: (Field(2, "code", U32), Field(3, "reason", TEXT)),
    m.Disconnect: (Field(1, "code", U32), Field(2, "reason", TEXT), Field(3, "reconnect", FLAG)),
    m.Subscribe: (
        Field(1, "recoverable", FLAG),
        Field(4, "epoch", TEXT),
        Field(5, "offset", U64),
        Field(6, "positioned", FLAG),
        Field(7, "data", BLOB),
    ),
    m.ConnectRequest: (  # flag, dict and profile are ignored
        Field(1, "token", TEXT),
        Field(2, "data", BLOB),
        Field(3, "subs", MAP, m.SubscribeRequest),
        Field(4, "name", TEXT),
        Field(5, "version", TEXT),
        Field(6, "headers", TEXTS),
    ),
    m.ConnectResult: (
        *_EXPIRY,
        Field(5, "data", BLOB),
        Field(6, "subs", MAP, m.SubscribeResult),
        Field(7, "ping", U32),
        Field(8, "pong", FLAG),
        Field(9, "session", TEXT),
        Field(10, "node", TEXT),
        Field(11, "time", I64),
    ),
    m.SubscribeRequest: (
        Field(1, "channel", TEXT),
        Field(2, "token", TEXT),
        Field(3, "recover", FLAG),
        Field(6, "epoch", TEXT),
        Field(7, "offset", U64),
        Field(8, "data", BLOB),
        Field(9, "positioned", FLAG),
        Field(10, "recoverable", FLAG),
        Field(11, "join_leave", FLAG),
        Field(12, "delta", TEXT),
        Field(13, "tf", BLOB),  # a message, but we refuse it unread
        Field(14, "flag", I64),
        Field(15, "type", I32),
    ),
    m.SubscribeResult: (
        Field(1, "expires", FLAG),
        Field(2, "ttl", U32),
        Field(3, "recoverable", FLAG),
        Field(6, "epoch", TEXT),
        Field(7, "publications", MANY, m.Publication),
        Field(8, "recovered", FLAG),
        Field(9, "offset", U64),
        Field(10, "positioned", FLAG),
        Field(11, "data", BLOB),
        Field(12, "was_recovering", FLAG),
        Field(13, "delta", FLAG),
        Field(14, "id", I64),
    ),
    m.UnsubscribeRequest: _CHANNEL,
    m.UnsubscribeResult: (),
    m.PublishRequest: (Field(1, "channel", TEXT), Field(2, "data", BLOB)),
    m.PublishResult: (),
    m.PresenceRequest: _CHANNEL,
    m.PresenceResult: (Field(1, "presence", MAP, m.ClientInfo),),
    m.PresenceStatsRequest: _CHANNEL,
    m.PresenceStatsResult: (Field(1, "num_clients", U32), Field(2, "num_users", U32)),
    m.HistoryRequest: (
        Field(1, "channel", TEXT),
        Field(7, "limit", I32),
        Field(8, "since", ONE, m.StreamPosition),
        Field(9, "reverse", FLAG),
    ),
    m.StreamPosition: (Field(1, "offset", U64), Field(2, "epoch", TEXT)),
    m.HistoryResult: (
        Field(1, "publications", MANY, m.Publication),
        Field(2, "epoch", TEXT),
        Field(3, "offset", U64),
    ),
    m.PingRequest: (),
    m.PingResult: (),
    m.SendRequest: _DATA,
    m.RpcRequest: (Field(1, "data", BLOB), Field(2, "method", TEXT)),
    m.RpcResult: _DATA,
    m.RefreshRequest: (Field(1, "token", TEXT),),
    m.RefreshResult: _EXPIRY,
    m.SubRefreshRequest: (Field(1, "channel", TEXT), Field(2, "token", TEXT)),
    m.SubRefreshResult: (Field(1, "expires", FLAG), Field(2, "ttl", U32)),
}

VARINT, FIXED64, BLOCK, FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 are not in proto3
_VARINTS: Final = {U32, U64, I32, I64, FLAG}


def _key(field: Field) -> int:
    """What stands in front of the field: its number and its wire type."""
    return field.number << 3 | (VARINT if field.kind in _VARINTS else BLOCK)


BY_KEY: Final = {
    type_: {_key(field): (field.name, field.kind, field.of) for field in fields}
    for type_, fields in SCHEMA.items()
}
REPLY_NUMBERS: Final = {
    field.of: field.number for field in SCHEMA[m.Reply] if field.of in m.RESULT_NAMES
}

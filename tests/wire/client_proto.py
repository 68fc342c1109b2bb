"""Classes of the published `client.proto`, made at test time without a compiler.

Written out by hand from the protocol's schema and on purpose not from our own table: it is what
our table is checked against.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

PACKAGE = "centrifugal.centrifuge.protocol"

SCHEMA = """
Command: id=1 u32, connect=4 ConnectRequest, subscribe=5 SubscribeRequest,
  unsubscribe=6 UnsubscribeRequest, publish=7 PublishRequest, presence=8 PresenceRequest,
  presence_stats=9 PresenceStatsRequest, history=10 HistoryRequest, ping=11 PingRequest,
  send=12 SendRequest, rpc=13 RPCRequest, refresh=14 RefreshRequest,
  sub_refresh=15 SubRefreshRequest
Reply: id=1 u32, error=2 Error, push=4 Push, connect=5 ConnectResult, subscribe=6 SubscribeResult,
  unsubscribe=7 UnsubscribeResult, publish=8 PublishResult, presence=9 PresenceResult,
  presence_stats=10 PresenceStatsResult, history=11 HistoryResult, ping=12 PingResult,
  rpc=13 RPCResult, refresh=14 RefreshResult, sub_refresh=15 SubRefreshResult
Error: code=1 u32, message=2 string, temporary=3 bool
Push: id=1 i64, channel=2 string, pub=4 Publication, join=5 Join, leave=6 Leave,
  unsubscribe=7 Unsubscribe, message=8 Message, subscribe=9 Subscribe, disconnect=11 Disconnect
Message: data=1 bytes
Publication: data=4 bytes, info=5 ClientInfo, offset=6 u64, tags=7 map string, delta=8 bool,
  time=9 i64, channel=10 string, key=11 string
ClientInfo: user=1 string, client=2 string, conn_info=3 bytes, chan_info=4 bytes
Join: info=1 ClientInfo
Leave: info=1 ClientInfo
Unsubscribe: code=2 u32, reason=3 string
Disconnect: code=1 u32, reason=2 string, reconnect=3 bool
Subscribe: recoverable=1 bool, epoch=4 string, offset=5 u64, positioned=6 bool, data=7 bytes
ConnectRequest: token=1 string, data=2 bytes, subs=3 map SubscribeRequest, name=4 string,
  version=5 string, headers=6 map string, flag=7 i64
ConnectResult: client=1 string, version=2 string, expires=3 bool, ttl=4 u32, data=5 bytes,
  subs=6 map SubscribeResult, ping=7 u32, pong=8 bool, session=9 string, node=10 string,
  time=11 i64, flag=12 i64
SubscribeRequest: channel=1 string, token=2 string, recover=3 bool, epoch=6 string, offset=7 u64,
  data=8 bytes, positioned=9 bool, recoverable=10 bool, join_leave=11 bool, delta=12 string,
  tf=13 FilterNode, flag=14 i64, type=15 i32
FilterNode: op=1 string
SubscribeResult: expires=1 bool, ttl=2 u32, recoverable=3 bool, epoch=6 string,
  publications=7 many Publication, recovered=8 bool, offset=9 u64, positioned=10 bool,
  data=11 bytes, was_recovering=12 bool, delta=13 bool, id=14 i64
UnsubscribeRequest: channel=1 string
UnsubscribeResult:
PresenceRequest: channel=1 string
PresenceResult: presence=1 map ClientInfo
PresenceStatsRequest: channel=1 string
PresenceStatsResult: num_clients=1 u32, num_users=2 u32
PublishRequest: channel=1 string, data=2 bytes
PublishResult:
SendRequest: data=1 bytes
PingRequest:
PingResult:
StreamPosition: offset=1 u64, epoch=2 string
HistoryRequest: channel=1 string, limit=7 i32, since=8 StreamPosition, reverse=9 bool
HistoryResult: publications=1 many Publication, epoch=2 string, offset=3 u64
RPCRequest: data=1 bytes, method=2 string
RPCResult: data=1 bytes
RefreshRequest: token=1 string
RefreshResult: client=1 string, version=2 string, expires=3 bool, ttl=4 u32
SubRefreshRequest: channel=1 string, token=2 string
SubRefreshResult: expires=1 bool, ttl=2 u32
"""

_SCALARS = {
    "u32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "u64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "i32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "i64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}


def _set_type(field: descriptor_pb2.FieldDescriptorProto, type_: str) -> None:
    if type_ in _SCALARS:
        field.type = _SCALARS[type_]
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{type_}"


def _add_field(message: descriptor_pb2.DescriptorProto, text: str) -> None:
    left, *words = text.split()
    name, number = left.split("=")
    label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
    field = message.field.add(name=name, number=int(number))
    if words[0] == "map":
        entry_name = name.title().replace("_", "") + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        key = entry.field.add(name="key", number=1)
        value = entry.field.add(name="value", number=2)
        _set_type(key, "string")
        _set_type(value, words[1])
        key.label = value.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
        field.label = label
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{entry_name}"
        return
    _set_type(field, words[-1])
    field.label = (
        label if words[0] == "many" else descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
    )


def classes() -> dict[str, type[Message]]:
    """Every message class of the schema, by its name."""
    file = descriptor_pb2.FileDescriptorProto(name="client.proto", package=PACKAGE, syntax="proto3")
    for block in SCHEMA.strip().replace("\n  ", " ").splitlines():
        name, _, fields = block.partition(":")
        message = file.message_type.add(name=name)
        for text in filter(None, fields.strip().split(", ")):
            _add_field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = [message.name for message in file.message_type]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in names
    }

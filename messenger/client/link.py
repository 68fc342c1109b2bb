"""The Centrifuge protocol from the client's side, without sockets.

Bytes of messages in, events out; what is to be sent is returned or waits in `out`. One link
outlives its connections: ids go on, and positions let the server replay what was missed.
"""

from msgspec import Raw, Struct, structs

from messenger.client.errors import RpcError
from messenger.wire.codec import Codec
from messenger.wire.messages import (
    FLAG_COMPACTION,
    NOTHING,
    REQUEST_NAMES,
    RESULT_NAMES,
    ClientInfo,
    Command,
    ConnectRequest,
    ConnectResult,
    Error,
    Publication,
    Push,
    Reply,
    Request,
    Result,
    StreamPosition,
    SubscribeRequest,
    SubscribeResult,
    Unsubscribe,
)

RESUBSCRIBE_FROM = 2500
REPLIES = 10_000  # in a frame of the server; it is trusted, a broken one is not waited for


class Connected(Struct, frozen=True):
    result: ConnectResult


class Answered(Struct, frozen=True):
    """The answer to a command other than connect and subscribe."""

    id: int
    answer: Result | RpcError


class ConnectFailed(Struct, frozen=True):
    error: RpcError


class Subscribed(Struct, frozen=True):
    topic: str
    result: SubscribeResult
    server_side: bool


class SubscribeFailed(Struct, frozen=True):
    topic: str
    error: RpcError


class Unsubscribed(Struct, frozen=True):
    topic: str
    code: int
    reason: str


class Published(Struct, frozen=True):
    topic: str
    publication: Publication


class Joined(Struct, frozen=True):
    topic: str
    info: ClientInfo


class Left(Struct, frozen=True):
    topic: str
    info: ClientInfo


class Pinged(Struct, frozen=True):
    pass


Event = (
    Connected
    | ConnectFailed
    | Answered
    | Subscribed
    | SubscribeFailed
    | Unsubscribed
    | Published
    | Joined
    | Left
    | Pinged
)


class Link:
    """Ids, subscriptions and positions of one client object."""

    def __init__(self, codec: Codec, name: str) -> None:
        self._codec = codec
        self._name = name
        self._last_id = 0
        self._connect_id = 0
        self._subscribing: dict[int, str] = {}
        self._topics: dict[int, str] = {}
        """Compaction ids; numbered by the node, so they die with the connection."""
        self.wanted: dict[str, SubscribeRequest] = {}
        """Client-side subscriptions; they are made again after each connect."""
        self.positions: dict[str, StreamPosition] = {}
        """Where recoverable topics stand, of both kinds."""
        self._server_side: set[str] = set()
        self.out: list[bytes] = []
        """Messages the protocol itself wants sent: pongs, new subscriptions."""

    def connect(self, token: str, data: Raw = NOTHING, version: str = "") -> bytes:
        """The first frame's message: connect, and all subscriptions behind it."""
        self._topics.clear()
        self._subscribing.clear()
        self.out.clear()
        self._last_id += 1
        self._connect_id = self._last_id
        subs = {
            topic: SubscribeRequest(recover=True, offset=at.offset, epoch=at.epoch)
            for topic, at in self.positions.items()
            if topic in self._server_side
        }
        request = ConnectRequest(token, data, subs, self._name, version)
        commands = [Command(self._connect_id, request)]
        commands += [self._subscribe(topic) for topic in self.wanted]
        return self._codec.encode_commands(commands)

    def request(self, request: Request) -> tuple[int, bytes]:
        """A command with the next id; the id comes back in `Answered`."""
        self._last_id += 1
        command = _command(self._last_id, request)
        return self._last_id, self._codec.encode_commands([command])

    def subscribe(self, request: SubscribeRequest) -> bytes:
        """Want a topic from now on; `Subscribed` or `SubscribeFailed` follows."""
        self.wanted[request.channel] = request
        return self._codec.encode_commands([self._subscribe(request.channel)])

    def forget(self, topic: str) -> None:
        """Want it no more; its position goes too."""
        self.wanted.pop(topic, None)
        self.positions.pop(topic, None)

    def invalidate(self) -> None:
        """After close 3014: no position may be continued; epoch `_` is never a server's."""
        self.positions = {topic: StreamPosition(0, "_") for topic in self.positions}

    def receive(self, data: bytes) -> list[Event]:
        """The events of one frame, in order."""
        events: list[Event] = []
        for reply in self._codec.decode_replies(data, REPLIES):
            if reply.push is not None:
                self._push(reply.push, events)
            elif reply.id:
                self._reply(reply, events)
            else:
                self.out.append(self._codec.encode_commands([Command()]))
                events.append(Pinged())
        return events

    def _subscribe(self, topic: str) -> Command:
        self._last_id += 1
        self._subscribing[self._last_id] = topic
        request = self.wanted[topic]
        if (at := self.positions.get(topic)) is not None:
            request = structs.replace(request, recover=True, offset=at.offset, epoch=at.epoch)
        return _command(self._last_id, request)

    def _reply(self, reply: Reply, events: list[Event]) -> None:
        error = _error(reply.error)
        if reply.id == self._connect_id:
            self._connected(reply, error, events)
        elif (topic := self._subscribing.pop(reply.id, None)) is not None:
            if error is not None:
                events.append(SubscribeFailed(topic, error))
            elif reply.subscribe is not None:
                self._subscribed(topic, reply.subscribe, events, server_side=False)
        else:
            answer = error or _result(reply)
            if answer is not None:
                events.append(Answered(reply.id, answer))

    def _connected(self, reply: Reply, error: RpcError | None, events: list[Event]) -> None:
        if error is not None:
            events.append(ConnectFailed(error))
        elif reply.connect is not None:
            self._server_side = set(reply.connect.subs)
            events.append(Connected(reply.connect))
            for topic, result in reply.connect.subs.items():
                self._subscribed(topic, result, events, server_side=True)

    def _subscribed(
        self, topic: str, result: SubscribeResult, events: list[Event], *, server_side: bool
    ) -> None:
        if result.recoverable:
            self.positions[topic] = StreamPosition(result.offset, result.epoch)
        else:
            self.positions.pop(topic, None)
        if result.id:
            self._topics[result.id] = topic
        events.append(Subscribed(topic, result, server_side))
        for publication in result.publications:
            self._published(topic, publication, events)

    def _published(self, topic: str, publication: Publication, events: list[Event]) -> None:
        at = self.positions.get(topic)
        if at is not None and publication.offset:
            self.positions[topic] = StreamPosition(publication.offset, at.epoch)
        events.append(Published(topic, publication))

    def _push(self, push: Push, events: list[Event]) -> None:
        topic = self._topics.get(push.id, "") if push.id else push.channel
        if push.pub is not None:
            self._published(topic, push.pub, events)
        elif push.join is not None and push.join.info is not None:
            events.append(Joined(topic, push.join.info))
        elif push.leave is not None and push.leave.info is not None:
            events.append(Left(topic, push.leave.info))
        elif push.unsubscribe is not None:
            self._unsubscribed(topic, push.unsubscribe, events)
        elif push.subscribe is not None:
            added = push.subscribe
            self._server_side.add(topic)
            result = SubscribeResult(
                recoverable=added.recoverable,
                positioned=added.positioned,
                epoch=added.epoch,
                offset=added.offset,
            )
            self._subscribed(topic, result, events, server_side=True)

    def _unsubscribed(self, topic: str, push: Unsubscribe, events: list[Event]) -> None:
        self._server_side.discard(topic)
        if topic not in self.wanted:
            self.positions.pop(topic, None)
        elif push.code < RESUBSCRIBE_FROM:
            self.forget(topic)
        else:
            self.out.append(self._codec.encode_commands([self._subscribe(topic)]))
        events.append(Unsubscribed(topic, push.code, push.reason))


def compacted(request: SubscribeRequest) -> SubscribeRequest:
    """The same, asking for a short id in place of the topic's name."""
    return structs.replace(request, flag=request.flag | FLAG_COMPACTION)


def _command(id: int, request: Request) -> Command:
    return structs.replace(Command(id), **{REQUEST_NAMES[type(request)]: request})


def _error(error: Error | None) -> RpcError | None:
    if error is None:
        return None
    return RpcError(error.code, error.message, temporary=error.temporary)


def _result(reply: Reply) -> Result | None:
    for name in RESULT_NAMES.values():
        result: Result | None = getattr(reply, name)
        if result is not None:
            return result
    return None

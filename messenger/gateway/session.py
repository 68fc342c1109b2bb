"""One connected device: its encoding, its commands in order, its subscriptions, its timers.

Commands are handled strictly in order. One that must wait (connect, subscribe, publish, history)
holds up those behind it; an rpc does not, its reply finds its way by id. While anything waits, or
the peer does not read, reading pauses: the peer's own socket is the queue.
"""

import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from messenger.feature import Caller
from messenger.gateway.heard import Order
from messenger.gateway.room import Room, Subscription
from messenger.wire.bad_frame import BadFrame
from messenger.wire.codec import Codec
from messenger.wire.codes import TEMPORARY, CloseCode, ErrorCode, UnsubscribeCode
from messenger.wire.frames import PING_JSON, PING_PROTOBUF
from messenger.wire.messages import ClientInfo, Command, RefreshResult, Result

if TYPE_CHECKING:
    from messenger.gateway.connection import GatewayProtocol
    from messenger.gateway.gateway import Gateway

NATIVE_PING = b"\x89\x00"
RATE_WINDOW_S = 5.0
SLOW_TIMEOUT_S = 1.0
RESYNC = b'{"t":"resync"}'


class Closed(Exception):  # noqa: N818 - a peer's violation of the protocol
    """The command ends the session with this code."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(code)
        self.code = code


class Session:
    """What the gateway knows of one connection; dropped with it."""

    __slots__ = (
        "answers",
        "busy",
        "caller",
        "client",
        "codec",
        "compacts",
        "connected",
        "connection",
        "count",
        "count_until",
        "due",
        "expires_at",
        "gateway",
        "in_flight",
        "info",
        "native_ping",
        "pending",
        "ping_at",
        "pong_by",
        "reading",
        "second",
        "started",
        "subscriptions",
        "user",
        "working",
    )

    def __init__(
        self,
        gateway: "Gateway",
        connection: "GatewayProtocol",
        codec: Codec,
        client: str,
        *,
        native_ping: bool,
        now: float,
    ) -> None:
        self.gateway = gateway
        self.connection = connection
        self.codec = codec
        self.compacts = True
        self.client = client
        self.native_ping = native_ping
        self.user = ""
        self.caller: Caller | None = None
        self.info: ClientInfo | None = None
        self.connected = False
        self.started = 0
        self.subscriptions: dict[str, Subscription] = {}
        self.pending: deque[Command] = deque()
        self.busy = False
        self.working = False
        self.reading = True
        self.in_flight = 0
        self.answers = True
        self.expires_at = 0.0
        self.ping_at = 0.0
        self.pong_by = 0.0
        self.due = now + gateway.settings.stale
        self.second = 0
        self.count = 0
        self.count_until = now + RATE_WINDOW_S

    # what the connection calls

    def on_text(self, data: bytes) -> None:
        if self.codec.BINARY:
            self.close(CloseCode.BAD_REQUEST)
        else:
            self._on_frame(data)

    def on_binary(self, data: bytes) -> None:
        if self.codec.BINARY:
            self._on_frame(data)
        else:
            self.close(CloseCode.BAD_REQUEST)

    def on_pong(self) -> None:
        self.pong_by = 0.0

    def on_lagging(self) -> None:
        self.gateway.lagging(self, True)  # noqa: FBT003 - named by the method
        self._pause()

    def on_drained(self) -> None:
        self.gateway.lagging(self, False)  # noqa: FBT003 - named by the method
        self.process()

    def on_closed(self, code: int | None) -> None:
        self.answers = False
        self.pending.clear()
        self.gateway.closed(self, code)

    # commands

    def process(self) -> None:
        """Handle what waits, as far as order and bounds allow."""
        if self.working:  # a reply came at once: the loop below goes on, the stack does not grow
            return
        self.working = True
        try:
            while self.pending and self._free:
                self._handle(self.pending.popleft())
        finally:
            self.working = False
        if self.pending:
            self._pause()
        elif not self.reading and not self.connection.lagging:
            self.reading = True
            self.connection.resume_reading()

    def release(self) -> None:
        """A command that held up the others is done."""
        self.busy = False
        self.process()

    # what it sends

    def send(self, message: bytes) -> None:
        if self.answers:
            self.connection.write(self.codec.frame(message))

    def reply(self, id: int, result: Result) -> None:
        if self.answers:
            self.connection.write_reply(self.codec.frame(self.codec.reply(id, result)))

    def error(self, id: int, code: ErrorCode, message: str | None = None) -> None:
        if self.answers:
            text = message if message is not None else code.message
            self.connection.write(
                self.codec.frame(self.codec.error(id, code, text, code in TEMPORARY))
            )

    def close(self, code: CloseCode) -> None:
        """Flush, say why, and go; nothing is answered any more."""
        if self.answers:
            self.answers = False
            self.pending.clear()
            self.gateway.metrics.closes.labels(str(int(code))).inc()
            self.connection.close(code)

    @property
    def idle(self) -> bool:
        """Nothing it asked for is still to be answered."""
        return not (self.busy or self.in_flight)

    def stop_reading(self) -> None:
        """What it has asked for is answered; what it has not sent yet is for another node."""
        self.pending.clear()
        self._pause()

    def leave(self) -> None:
        self.close(CloseCode.SHUTDOWN)

    def cut_off(self) -> None:
        """The peer does not read: nothing of what waits would arrive."""
        if self.answers:
            self.answers = False
            self.gateway.metrics.closes.labels(str(int(CloseCode.SLOW))).inc()
        self.connection.close(CloseCode.SLOW, timeout_s=SLOW_TIMEOUT_S)

    # what the hub calls

    def end_subscription(self, subscription: Subscription, code: UnsubscribeCode) -> None:
        """Take the topic away and say so; nothing more follows for it."""
        self.gateway.subscribing.leave(self, subscription)
        self.send(self.codec.unsubscribe(subscription.room.topic, code))

    def insufficient(self, subscription: Subscription) -> None:
        if subscription.room.source == "user":
            self.resync()
        elif not (subscription.positioned or subscription.recoverable):
            return
        elif subscription.server_side:
            self.close(CloseCode.INSUFFICIENT_STATE)
        else:
            self.end_subscription(subscription, UnsubscribeCode.INSUFFICIENT_STATE)

    def expelled(self, account: int, room: Room) -> None:
        if self.caller is not None and self.caller.account == account:
            subscription = self.subscriptions.get(room.topic)
            if subscription is not None:
                self.end_subscription(subscription, UnsubscribeCode.SERVER)

    def ordered(self, order: Order) -> None:
        caller = self.caller
        if caller is None or order.device not in (0, caller.device):
            return
        if order.do == "close":
            self.close(CloseCode(order.code))
        elif (self.started, self.client) < (order.started, order.client):
            self.close(CloseCode.REPLACED)

    def resync(self) -> None:
        """Live state was lost: the client compares its numbers with the store's."""
        if self.caller is not None:
            self.send(self.codec.publication(f"eph:{self.caller.account}", RESYNC))

    # time

    def tick(self, now: float) -> None:
        """Something is due: a ping, a missing pong, an expiry. Sets `due` to the next thing."""
        if not self.connected:
            self.close(CloseCode.STALE)
            return
        settings = self.gateway.settings
        if self.pong_by and now >= self.pong_by:
            if self.reading:
                self.close(CloseCode.NO_PONG)
                return
            self.pong_by = now + settings.pong  # its pong waits behind what we do not read
        if now >= self.ping_at:
            self.ping_at = now + settings.ping
            self.pong_by = now + settings.pong
            self._ping()
        grace = settings.expired_grace
        if self.expires_at and now >= self.expires_at + grace:
            self.close(CloseCode.EXPIRED)
            return
        for subscription in list(self.subscriptions.values()):
            if subscription.expires_at and now >= subscription.expires_at + grace:
                self.end_subscription(subscription, UnsubscribeCode.EXPIRED)
        self.schedule()

    def schedule(self) -> None:
        """Set `due` to the earliest of what is to come."""
        due = self.ping_at
        grace = self.gateway.settings.expired_grace
        if self.pong_by:
            due = min(due, self.pong_by)
        if self.expires_at:
            due = min(due, self.expires_at + grace)
        for subscription in self.subscriptions.values():
            if subscription.expires_at:
                due = min(due, subscription.expires_at + grace)
        self.due = due
        self.gateway.wheel.put(self)

    def refreshed(self, id: int, expires_at: float, ttl: int, version: str) -> None:
        self.expires_at = expires_at
        self.schedule()
        self.reply(
            id,
            RefreshResult(client=self.client, version=version, expires=ttl > 0, ttl=ttl),
        )

    # inside

    def _on_frame(self, data: bytes) -> None:
        if not self.answers:
            return
        try:
            commands = self.codec.decode_frame(data, self.gateway.frame_commands)
        except BadFrame as bad:
            self.close(bad.code)
            return
        self.count += len(commands)
        if self.count > self.gateway.commands_per_window and self._too_many():
            self.close(CloseCode.TOO_MANY_REQUESTS)
            return
        if len(commands) == 1 and not self.pending and self._free:  # the usual case
            self._handle(commands[0])
            return
        self.pending.extend(commands)
        self.process()

    @property
    def _free(self) -> bool:
        """Nothing holds up the next command."""
        return (
            not self.busy
            and self.in_flight < self.gateway.most_in_flight
            and not self.connection.lagging
            and self.answers
        )

    def _handle(self, command: Command) -> None:
        try:
            self.gateway.commands.handle(self, command)
        except Closed as closed:
            self.close(closed.code)

    def _too_many(self) -> bool:
        now = time.monotonic()
        if now < self.count_until:
            return True
        self.count = 0
        self.count_until = now + RATE_WINDOW_S
        return False

    def _pause(self) -> None:
        if self.reading:
            self.reading = False
            self.connection.pause_reading()

    def _ping(self) -> None:
        if self.native_ping:
            self.connection.write(NATIVE_PING)
        else:
            self.connection.write(PING_PROTOBUF if self.codec.BINARY else PING_JSON)


def raw(value: object) -> msgspec.Raw:
    """JSON of `value`, ready for a raw field."""
    return msgspec.Raw(msgspec.json.encode(value))

"""The sessions of this node, by the topics they listen to; what the bus brings goes to them.

Fan-out never awaits and never encodes per session. A hole in a topic's numbers is read from the
store behind it, then everybody goes on; where it cannot be read, the sessions are told to catch
up. What comes over the bus is ours, so a payload that cannot be parsed is a bug and is logged.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from messenger.bus.bus import Bus
from messenger.delivery.soles import SoleDevices
from messenger.gateway.ageing import PushAge
from messenger.gateway.heard import Appended, Expelled, Joined, Left, Order, Parsed, parse
from messenger.gateway.positions import account_of
from messenger.gateway.room import BULK_FROM, Heard, Room, Subscription, Verdict
from messenger.gateway.tasks import Tasks
from messenger.ids import AccountId, DeviceId
from messenger.metrics import Metrics
from messenger.settings import NamespaceOptions
from messenger.wire.codec import JSON, PROTOBUF
from messenger.wire.codes import UnsubscribeCode

HOLD_S = 0.5  # two processes commit in order and publish out of order: wait for the missing one
CHECK_S = 40.0  # an idle positioned topic is compared with its top this often
SPREAD_S = 5  # after a lost link every topic is compared within so many seconds
CHECKS_AT_LEAST = 100  # a second
SESSION_NEW = b'{"t":"session.new"'

log = logging.getLogger(__name__)


class Positions(Protocol):
    """The store behind each kind of topic."""

    async def position(self, topic: str, options: NamespaceOptions) -> tuple[str, int]:
        """(epoch, top); keeps the topic's hot window alive."""
        ...

    async def since(
        self, topic: str, source: str, offset: int, limit: int, account: AccountId | None = None
    ) -> list[Heard]:
        """The publications after `offset`, oldest first, at most `limit`.

        As `account` may see them; None: as everybody may who listens to the topic.
        """
        ...


class Listener(Protocol):
    """What the hub needs of a session."""

    def end_subscription(self, subscription: Subscription, code: UnsubscribeCode) -> None: ...

    def insufficient(self, subscription: Subscription) -> None:
        """Its position cannot be continued: 2500, or 3010 for a server-side topic."""

    def expelled(self, account: int, room: Room) -> None: ...

    def ordered(self, order: Order) -> None:
        """An order to the sessions of an account."""


def _not_counted(_topic: str, _update: bytes, _sessions: int) -> None:
    """Nobody wants to know."""


class Hub:
    """topic -> room."""

    def __init__(
        self,
        bus: Bus,
        positions: Positions,
        metrics: Metrics,
        recovery_max: int,
        soles: SoleDevices,
    ) -> None:
        self._bus = bus
        self._positions = positions
        self._metrics = metrics
        self._age = PushAge(metrics.commit_to_push_seconds)
        self._recovery_max = recovery_max
        self._soles = soles
        soles.hears = self._hears
        self._tasks = Tasks()
        self._rooms: dict[str, Room] = {}
        self._numbers = 0
        self.on_dirty: Callable[[str, bytes], None] = lambda _topic, _update: None
        self.on_delivered: Callable[[str, bytes, int], None] = _not_counted
        """(topic, update, sessions of this node), for chats that are open."""

    def room(self, topic: str, options: NamespaceOptions) -> Room:
        """The room of `topic`; the first one to enter makes the node listen."""
        room = self._rooms.get(topic)
        if room is None:
            self._numbers += 1  # never reused, so that frames with the number can be shared
            room = self._rooms[topic] = Room(topic, options, self._numbers)
            self._bus.listen(topic)
        return room

    def find(self, topic: str) -> Room | None:
        return self._rooms.get(topic)

    def leave(self, subscription: Subscription) -> None:
        """Take the subscription out; the last one to leave ends the listening."""
        room = subscription.room
        room.remove(subscription)
        if room.empty and self._rooms.get(room.topic) is room:
            del self._rooms[room.topic]
            self._bus.unlisten(room.topic)
            if room.source == "user":
                self._soles.forget(account_of(room.topic))

    async def listening(self, room: Room) -> None:
        """Return once what happens in the topic reaches this node."""
        await self._bus.listening(room.topic)

    async def opened(self, room: Room) -> tuple[str, int]:
        """Wait until the node listens, then read the position; (epoch, top) of now."""
        await self._bus.listening(room.topic)
        if not room.numbered:
            room.open("", 0)
            return "", 0
        if room.follows and room.source == "chat":  # thousands may open one chat at once
            return room.epoch, room.offset
        epoch, top = await self._positions.position(room.topic, room.options)
        if not room.opened:
            for heard in room.open(epoch, top):
                self._hear(room, epoch, heard)
        elif room.epoch != epoch:
            self._begin_anew(room, epoch, top)
        return epoch, top

    async def since(self, room: Room, offset: int, account: AccountId | None) -> list[Heard]:
        """For one session. One more than can be recovered is read, so that "too many" shows."""
        limit = self._recovery_max + 1
        return await self._positions.since(room.topic, room.source, offset, limit, account)

    def on_message(self, topic: str, payload: bytes) -> None:
        """The bus brought something for `topic`."""
        room = self._rooms.get(topic)
        if room is None:  # the last session left while it was on its way
            if topic.startswith("dirty:"):
                self.on_dirty(topic, payload)
            return
        self._dispatch(room, parse(room.source, payload))

    def listened(self) -> Counter[str]:
        """Subscriptions of this node by kind of topic."""
        counts: Counter[str] = Counter({"user": 0, "eph": 0, "chat": 0, "stream": 0, "live": 0})
        for room in self._rooms.values():
            counts[room.source] += len(room.live) + len(room.catching)
        return counts

    def check_all(self) -> None:
        """The bus was away: every positioned topic is compared with its top, soon."""
        self._soles.forget_all()
        for room in self._rooms.values():
            room.checked_at = 0.0

    async def run(self) -> None:
        """Fill holes and compare idle positioned topics with their tops, until cancelled."""
        async with self._tasks:
            await self._check_idle()

    async def _check_idle(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1.0)
            now = loop.time()
            due = [
                room
                for room in self._rooms.values()
                if room.numbered and room.opened and now - room.checked_at > CHECK_S
            ]
            due.sort(key=lambda room: room.checked_at)  # the longest unchecked first: none starves
            for room in due[: max(CHECKS_AT_LEAST, len(due) // SPREAD_S)]:
                room.checked_at = now
                self._tasks.spawn(self._check(room), "check")

    async def _check(self, room: Room) -> None:
        epoch, top = await self._positions.position(room.topic, room.options)
        if epoch != room.epoch:
            self._begin_anew(room, epoch, top)
        elif top > room.offset:
            self._fill_soon(room, after_s=HOLD_S)

    def _hears(self, account: AccountId) -> bool:
        """Are facts of the account told to this node, and none missed."""
        room = self._rooms.get(f"user:{account}")
        return room is not None and room.opened and self._bus.hears(room.topic)

    def _dispatch(self, room: Room, parsed: Parsed) -> None:
        match parsed:
            case Appended():  # the usual one: messages for one account
                for heard in parsed.heard:
                    self._hear(room, parsed.epoch, heard)
            case Heard():
                self._hear(room, room.epoch, parsed)
            case Joined() | Left():
                self._deliver_presence(room, parsed)
            case Expelled(account=account):
                for subscription in _all_of(room):
                    _listener(subscription).expelled(account, room)
            case Order():
                self._pass_on(room, parsed)
            case None:
                log.error("bus payload not understood", extra={"source": room.source})

    def _pass_on(self, room: Room, order: Order) -> None:
        if order.do == "replaced":
            self._soles.met(account_of(room.topic), DeviceId(order.device))
        for subscription in _all_of(room):
            _listener(subscription).ordered(order)

    def _hear(self, room: Room, epoch: str, heard: Heard) -> None:
        verdict = room.judge(epoch, heard)
        if verdict is Verdict.DELIVER:
            self._deliver(room, heard)
            if room.ahead:
                for waiting in room.due():
                    self._deliver(room, waiting)
        elif verdict is Verdict.HOLD:
            self._fill_soon(room, after_s=HOLD_S if room.source == "chat" else 0.0)

    def _deliver(self, room: Room, heard: Heard) -> None:
        sessions = room.deliver(heard)
        self._metrics.frames.inc(sessions)
        if room.source == "user":
            self._age.saw(heard.data)
            if heard.data.startswith(SESSION_NEW):
                self._soles.forget(account_of(room.topic))
        elif room.source == "chat":
            self.on_delivered(room.topic, heard.data, sessions)

    def _fill_soon(self, room: Room, after_s: float) -> None:
        if not room.filling:
            room.filling = True
            self._tasks.spawn(self._fill(room, after_s), "fill")

    async def _fill(self, room: Room, after_s: float) -> None:
        try:
            if after_s:
                await asyncio.sleep(after_s)
                if room.ahead and min(room.ahead) <= room.offset:
                    room.due()
            epoch, top = await self._positions.position(room.topic, room.options)
            if epoch != room.epoch:
                self._begin_anew(room, epoch, top)
                return
            for heard in await self._positions.since(
                room.topic, room.source, room.offset, self._recovery_max
            ):
                if heard.offset == room.offset + 1:
                    room.offset = heard.offset
                    self._deliver(room, heard)
            for waiting in room.due():
                self._deliver(room, waiting)
            if room.ahead or top > room.offset:
                self._begin_anew(room, epoch, max(top, room.offset))
        finally:
            room.filling = False

    def _begin_anew(self, room: Room, epoch: str, top: int) -> None:
        """The numbers cannot be continued: whoever relies on them catches up from the store."""
        room.epoch, room.offset = epoch, top
        room.ahead.clear()
        if room.source == "user":
            self._soles.forget(account_of(room.topic))
        for subscription in _all_of(room):
            if subscription.buffer is None:
                _listener(subscription).insufficient(subscription)
            else:
                subscription.broken = True  # what it reads now belongs to the old numbers

    def _deliver_presence(self, room: Room, moved: Joined | Left) -> None:
        """Four frames at the most, whoever is there; those who lag may miss them."""
        frames: dict[int, bytes] = {}
        bulk = len(room.live) > BULK_FROM
        for subscription in room.live:
            outlet = subscription.outlet
            if not subscription.wants_joins or outlet.lagging:
                continue
            frame = frames.get(subscription.kind)
            if frame is None:
                frame = frames[subscription.kind] = _presence_frame(room, subscription.kind, moved)
            if bulk:
                outlet.write_bulk(frame)
            else:
                outlet.write(frame)


def _presence_frame(room: Room, kind: int, moved: Joined | Left) -> bytes:
    codec = PROTOBUF if kind & 2 else JSON
    if kind & 1:
        numbered = codec.join_id if isinstance(moved, Joined) else codec.leave_id
        return codec.frame(numbered(room.number, moved.info))
    named = codec.join if isinstance(moved, Joined) else codec.leave
    return codec.frame(named(room.topic, moved.info))


def _all_of(room: Room) -> Iterable[Subscription]:
    return [*room.live, *room.catching]


def _listener(subscription: Subscription) -> Listener:
    return subscription.session  # type: ignore[return-value]  # room.py is pure and knows no session

"""The publish/subscribe between nodes, and commands to Redis, over one link pair per shard.

At most once: what is published while a node's links are down does not reach it; its sessions find
the hole by position. Nothing here awaits per message: commands of a turn leave in one write.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from messenger.bus.keys import slot_of, topic_key
from messenger.bus.link import BusDown, Command, Done, Part, settle
from messenger.bus.scripts import ALL, Script
from messenger.bus.shard import Address, Bounds, BusRefused, Shard
from messenger.bus.topology import Slots, read_slots
from messenger.metrics import Metrics
from messenger.settings import Settings

START_S = 30.0  # a Redis that restarts may load its data first
WHOLE_S = 5.0  # of these the node waits for all shards; then those there must do
LISTEN_TIMEOUT_S = 5.0
MOVED_PAUSE_S = 0.1  # many replies tell of one move
ELECTION_PAUSE_S = 0.5  # while a shard is down nobody tells that another took its place: we ask
REFUSED_PAUSE_S = 1.0  # a line in the log each
CROWDED = 2  # times `bus_queue` unsent: a quarter of what ends a link even while Redis reads

log = logging.getLogger(__name__)

Reply = TypeVar("Reply")
OnMessage = Callable[[str, bytes], None]


def _silent() -> None:
    """Nobody wants to know."""


class Bus:
    """`on_message(topic, payload)` for every topic listened to; `on_lost()` and `on_back()` when a
    shard's links went and came back, subscriptions included. All three may be set later."""

    def __init__(
        self,
        redis_url: str,
        on_message: OnMessage,
        on_lost: Callable[[], None] = _silent,
        on_back: Callable[[], None] = _silent,
        *,
        settings: Settings,
        metrics: Metrics,
        scripts: Iterable[Script] = (),
    ) -> None:
        self.on_message = on_message
        self.on_lost = on_lost
        self.on_back = on_back
        self._settings = settings
        self._metrics = metrics
        self._scripts = {script.sha: script for script in (*ALL, *scripts)}
        self._seeds = Address.parse_all(redis_url)
        self._shards: list[Shard] = []
        self._by_slot: list[Shard] = []  # empty while one shard holds every slot
        self._moved = asyncio.Event()
        self._awaited: dict[bytes, list[asyncio.Future[None]]] = {}
        metrics.bus_queue_bytes.set_function(
            lambda: sum(shard.queued_bytes for shard in self._shards)
        )

    @property
    def up(self) -> bool:
        """Every shard can be reached."""
        return bool(self._shards) and all(shard.up for shard in self._shards)

    @property
    def crowded(self) -> bool:
        """A link holds so much that whoever has another way to tell should take it."""
        most = CROWDED * self._settings.bus_queue
        return any(shard.queued_bytes > most for shard in self._shards)

    @property
    def shards(self) -> Sequence[Shard]:
        """The servers that hold the slots now."""
        return self._shards

    async def start(self, wait_s: float = START_S) -> None:
        """Open the links; `run` opens those of shards that are away now, where others are there.

        Raises BusRefused in one line, or BusDown after `wait_s`.
        """
        began = time.monotonic()
        while True:
            try:
                await self._open_all()
            except BusDown as down:
                waited = time.monotonic() - began
                if waited > WHOLE_S and self._starts_in_part():
                    return
                if waited > wait_s:
                    raise BusDown(f"REDIS_URL: {down}") from None
                await asyncio.sleep(0.1)
            else:
                return

    async def run(self) -> None:
        """Keep the links open, and follow slots to other servers, until cancelled."""
        keepers: dict[Shard, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                for shard in self._shards:
                    if shard not in keepers:
                        name = f"bus {shard.address.port}"
                        keepers[shard] = tasks.create_task(shard.keep(), name=name)
                for shard in keepers.keys() - set(self._shards):
                    keepers.pop(shard).cancel()
                await self._moved.wait()
                await asyncio.sleep(MOVED_PAUSE_S if self.up else ELECTION_PAUSE_S)
                self._moved.clear()
                await self._follow()
                if not self.up:
                    self.moved()

    async def close(self) -> None:
        """Send what is queued, then end the links."""
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                await asyncio.gather(*(self._ask(shard, ("PING",)) for shard in self._shards))
        except (BusDown, TimeoutError):
            pass  # nothing can be sent any more
        for shard in self._shards:
            shard.close("node leaves")

    def listen(self, topic: str) -> None:
        """Ask for what is published on `topic`, now and after every loss of the link."""
        key = topic_key(topic).encode()
        shard = self.shard_of(key)
        if key not in shard.topics:
            shard.subscribe(key, topic)

    def unlisten(self, topic: str) -> None:
        key = topic_key(topic).encode()
        self.shard_of(key).unsubscribe(key)
        for waiter in self._awaited.pop(key, ()):
            settle(waiter, BusDown("not listened to any more"))

    def hears(self, topic: str) -> bool:
        """Does what is published on `topic` reach this node now, for certain."""
        key = topic_key(topic).encode()
        shard = self.shard_of(key)
        return shard.up and key in shard.topics and key not in shard.unconfirmed

    async def listening(self, topic: str) -> None:
        """Return once Redis has confirmed `listen(topic)`.

        Raises BusDown after 5 s, and where the topic is not listened to any more.
        """
        key = topic_key(topic).encode()
        shard = self.shard_of(key)
        if key not in shard.topics:
            raise BusDown("not listened to")  # left, perhaps by another, since listen()
        if shard.up and key not in shard.unconfirmed:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(key, []).append(waiter)
        try:
            async with asyncio.timeout(LISTEN_TIMEOUT_S):
                await waiter
        except TimeoutError:
            raise BusDown("subscription not confirmed") from None

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand to every node that listens now; at most once, in order per publisher."""
        key = topic_key(topic)
        self.shard_of(key).send(("SPUBLISH", key, payload), None)

    def call(self, *command: Part, done: Done | None = None, key: str | None = None) -> None:
        """Queue a command for this turn's write. `done` gets the reply or an Exception, later.

        `key` names the shard where it is neither the first argument nor an EVALSHA's first key.
        """
        if self._by_slot:
            shard = self.shard_of(key if key is not None else _key_of(command))
        else:
            shard = self._shards[0]
        shard.send(command, done)

    def asking(self, *command: Part, key: str | None = None) -> "asyncio.Future[Any]":
        """One command for callers with a time-out of their own; nobody need hear its end."""
        answer = self._ask(self.shard_of(key if key is not None else _key_of(command)), command)
        answer.add_done_callback(_heard)
        return answer

    async def ask(self, *command: Part, key: str | None = None) -> Any:
        """One command, awaited for at most `redis_timeout`. Raises BusDown or hiredis errors."""
        began = time.perf_counter()
        shard = self.shard_of(key if key is not None else _key_of(command))
        reply = await self._in_time(self._ask(shard, command))
        self._observe(command, began)
        return reply

    async def ask_all(self, commands: Sequence[Command], key: str | None = None) -> list[Any]:
        """Several commands in one write. The first error among the replies is raised."""
        began = time.perf_counter()
        futures = []
        for command in commands:
            shard = self.shard_of(key if key is not None else _key_of(command))
            futures.append(self._ask(shard, command))
        replies = await self._in_time(asyncio.gather(*futures))
        if commands:
            self._observe(commands[0], began)
        return replies

    def run8(self, key: str) -> str:
        """What epochs on the shard of `key` are bound to."""
        return self.shard_of(key).run8

    def shard_of(self, key: str | bytes) -> Shard:
        return self._by_slot[slot_of(key)] if self._by_slot else self._shards[0]

    def heard(self, push: list[Any]) -> None:
        """A push of a subscriber link."""
        kind, key = push[0], push[1]
        shard = self.shard_of(key)
        if kind == b"smessage":
            topic = shard.topics.get(key)
            if topic is not None:  # else it was on its way when we left
                self.on_message(topic, push[2])
        elif kind == b"sunsubscribe" and key in shard.topics:
            self.moved()  # not our wish: the slot has left that server
        elif kind == b"ssubscribe" and shard.confirmed(key) and key in shard.topics:
            for waiter in self._awaited.pop(key, ()):
                settle(waiter, None)

    def lost(self, _shard: Shard, _reason: str) -> None:
        self.moved()
        self.on_lost()

    def moved(self) -> None:
        """Something says that slots are not where we think."""
        if self._seeds[0].cluster:
            self._moved.set()

    def back(self, _shard: Shard) -> None:
        self.on_back()

    async def _open_all(self) -> None:
        if not self._shards:
            await self._find_shards()
        closed = [shard for shard in self._shards if not shard.up]
        found = await asyncio.gather(*(shard.open() for shard in closed), return_exceptions=True)
        errors = [error for error in found if error is not None]
        for error in errors:
            if not isinstance(error, BusDown):
                for shard in self._shards:
                    shard.close("start refused")
                raise error
        if errors:
            raise errors[0]

    def _starts_in_part(self) -> bool:
        """Let `run` look for what is away; False where nothing is there."""
        away = [shard for shard in self._shards if not shard.up]
        if len(away) == len(self._shards):
            return False
        for shard in away:
            log.warning("bus starts without a shard", extra={"shard": shard.address.port})
            shard.open_soon()
        self.moved()
        return True

    async def _find_shards(self) -> None:
        """`redis://`: one server with all slots. `redis+cluster://`: ask it who holds what."""
        if not self._seeds[0].cluster:
            self._shards = [self._shard(self._seeds[0])]
            return
        self._place(await self._read_slots(), {})

    async def _read_slots(self) -> Slots:
        """Those we have a link to answer at once; one that hangs costs its time-out."""
        seeds = [shard.address for shard in self._shards if shard.up] + self._seeds
        seeds += [shard.address for shard in self._shards]
        return await read_slots(dict.fromkeys(seeds), self._settings.redis_timeout, self._metrics)

    def _place(self, slots: Slots, known: Mapping[Address, Shard]) -> None:
        """Give every slot its shard; those that hold none any more are left out."""
        shards = {address: known.get(address) or self._shard(address) for _, _, address in slots}
        self._shards = list(shards.values())
        self._by_slot = []
        if len(shards) > 1:
            for first, last, address in slots:
                self._by_slot += [shards[address]] * (last - first + 1)

    async def _follow(self) -> None:
        """Read who holds what now, and take topics to their new shards."""
        try:
            slots = await self._read_slots()
        except BusDown:
            self._moved.set()  # nobody answers, or an election is going on: again after a pause
            return
        except BusRefused as refused:
            log.error("bus refused", extra={"why": str(refused)})
            await asyncio.sleep(REFUSED_PAUSE_S)
            self._moved.set()  # who runs the cluster may let us in again
            return
        before, by_slot = self._shards, self._by_slot
        self._place(slots, {shard.address: shard for shard in before})
        if self._by_slot == by_slot and self._shards == before:
            return
        for shard in before:
            for key, topic in list(shard.topics.items()):
                owner = self.shard_of(key)
                if owner is not shard:
                    del shard.topics[key]  # the old server has unsubscribed us itself
                    owner.subscribe(key, topic)
            if shard not in self._shards:
                shard.close("holds no slots")
                self._metrics.bus_up.remove(shard.name)
        for shard in self._shards:
            if shard not in before:
                shard.open_soon()
        self.on_back()

    def _shard(self, address: Address) -> Shard:
        bounds = Bounds(self._settings.bus_queue, self._settings.redis_timeout)
        return Shard(address, bounds, self._scripts, self, self._metrics)

    def _ask(self, shard: Shard, command: Command) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        shard.send(command, partial(settle, future))
        return future

    async def _in_time(self, replies: "asyncio.Future[Reply]") -> Reply:
        try:
            async with asyncio.timeout(self._settings.redis_timeout):
                return await replies
        except TimeoutError:
            raise BusDown("no answer in time") from None

    def _observe(self, command: Command, began: float) -> None:
        script = self._scripts.get(str(command[1])) if command[0] == "EVALSHA" else None
        operation = script.name if script is not None else str(command[0]).lower()
        self._metrics.redis_seconds.labels(operation).observe(time.perf_counter() - began)


def _heard(answer: "asyncio.Future[Any]") -> None:
    """An exception that nobody waits for any more is no news."""
    if not answer.cancelled():
        answer.exception()


def _key_of(command: Command) -> str | bytes:
    part = command[3 if command[0] in ("EVALSHA", "EVAL") else 1]
    if not isinstance(part, str | bytes):
        raise AssertionError(f"{command[0]!r} has its key elsewhere: say key=")
    return part

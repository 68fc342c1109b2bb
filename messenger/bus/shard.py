"""One Redis server of the bus: a link for commands, a link for subscriptions, one fate.

Either link lost means both are opened again: what was published in between is lost, so the node
must compare positions in any case, and one path is tested instead of three.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from messenger.addresses import redis_seeds
from messenger.bus.link import BusDown, Command, Done, Link
from messenger.bus.scripts import Script
from messenger.metrics import Metrics

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 5.0
SUBSCRIBE_AT_ONCE = 1_000  # keys per answer awaited, so that no number of topics fills the link
BACK_OFF_S = (0.05, 2.0)  # the first and the longest wait, each drawn with full jitter
OLDEST = 7  # sharded topics came with Redis 7


class BusRefused(Exception):  # noqa: N818 - said to the operator in one line, not handled
    """This Redis cannot be used: too old, may evict keys, or refuses our password."""


class Address(Struct, frozen=True):
    """Where a Redis is and how to sign in."""

    host: str
    port: int
    user: str | None = None
    password: str | None = None
    tls: bool = False
    cluster: bool = False

    @classmethod
    def parse_all(cls, url: str) -> "list[Address]":
        """Of every host of a cluster's URL."""
        return [cls.parse(seed) for seed in redis_seeds(url)]

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Raises BusRefused for a database number: a cluster knows only 0."""
        parts = urlsplit(url)
        if parts.path.strip("/") not in ("", "0"):
            raise BusRefused("REDIS_URL: only database 0 can be used")
        return cls(
            parts.hostname or "127.0.0.1",
            parts.port or 6379,
            unquote(parts.username) if parts.username else None,
            unquote(parts.password) if parts.password else None,
            parts.scheme.startswith("rediss"),
            "cluster" in parts.scheme,
        )

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context() if self.tls else None

    def hello(self, protocol: int) -> Command:
        if self.password is None:
            return ("HELLO", protocol)
        return ("HELLO", protocol, "AUTH", self.user or "default", self.password)


class Listeners(Protocol):
    """Whom a shard tells; the bus itself."""

    def heard(self, push: list[Any]) -> None: ...

    def lost(self, shard: "Shard", reason: str) -> None: ...

    def back(self, shard: "Shard") -> None: ...

    def moved(self) -> None: ...


class Bounds(Struct, frozen=True):
    """Of each link."""

    queue_bytes: int
    timeout_s: float


class Shard:
    """Opened once by `open`, then kept open by `keep`."""

    def __init__(
        self,
        address: Address,
        bounds: Bounds,
        scripts: Mapping[str, Script],
        listeners: Listeners,
        metrics: Metrics,
    ) -> None:
        self.address = address
        self.run8 = ""
        """First 8 characters of the server's run_id: part of every epoch, since a crash may
        forget the last second and would give offsets twice."""
        self.topics: dict[bytes, str] = {}
        """What the node listens to here, by key: outlives links."""
        self.unconfirmed: dict[bytes, int] = {}
        self.up = False
        self._bounds = bounds
        self._scripts = scripts
        self._listeners = listeners
        self._metrics = metrics
        self._commands: Link | None = None
        self._subscriber: Link | None = None
        self._lost = asyncio.Event()
        metrics.bus_up.labels(self.name).set_function(lambda: float(self.up))

    @property
    def name(self) -> str:
        """As metrics and operators call it."""
        return f"{self.address.host}:{self.address.port}"

    def send(self, command: Command, done: Done | None) -> None:
        """Queue for this turn's write; `done` gets the reply or an exception, later."""
        link = self._commands
        if link is not None and self.up:
            link.send(command, done)
        elif done is not None:
            asyncio.get_running_loop().call_soon(done, BusDown("no link"))

    def send_packed(self, packed: bytes, done: Done | None) -> None:
        link = self._commands
        if link is not None and self.up:
            link.send_packed(packed, done)
        elif done is not None:
            asyncio.get_running_loop().call_soon(done, BusDown("no link"))

    def subscribe(self, key: bytes, topic: str) -> None:
        self.topics[key] = topic
        if self._subscriber is not None:
            self._subscribe(self._subscriber, key)

    def unsubscribe(self, key: bytes) -> None:
        if self.topics.pop(key, None) is not None and self._subscriber is not None:
            self._subscriber.send_unanswered(("SUNSUBSCRIBE", key))

    def confirmed(self, key: bytes) -> bool:
        """One SSUBSCRIBE of `key` was answered; True when it was the last one open."""
        open_ones = self.unconfirmed.get(key, 0) - 1
        if open_ones > 0:
            self.unconfirmed[key] = open_ones
            return False
        self.unconfirmed.pop(key, None)
        return True

    @property
    def queued_bytes(self) -> int:
        """What the kernel has not taken yet, of both links."""
        links = (self._commands, self._subscriber)
        return sum(link.queued_bytes for link in links if link is not None)

    async def open(self) -> None:
        """Open both links and subscribe again. Raises BusDown, or BusRefused for good."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S) as limit:
                commands = await self._connect(protocol=2)
                self._commands = commands
                await self._prepare(commands)
                subscriber = await self._connect(protocol=3)
                self._subscriber = subscriber
                await self._subscribe_all(subscriber, limit)
        except (OSError, TimeoutError) as error:
            self.close("cannot connect")
            raise BusDown(f"cannot connect: {type(error).__name__}") from None
        except BaseException:
            self.close("cannot open")
            raise
        if commands.closed or subscriber.closed:
            self.close("one of two was lost while opening")
            raise BusDown("lost while opening")
        self._lost.clear()
        self.up = True

    def open_soon(self) -> None:
        """Let `keep` open the links for the first time, as if they had been lost."""
        self._lost.set()

    async def keep(self) -> None:
        """Open the links again whenever they are lost, until cancelled."""
        while True:
            await self._lost.wait()
            await self._open_again()
            self._metrics.bus_reconnects.inc()
            log.warning("bus link back", extra={"shard": self.address.port})
            self._listeners.back(self)

    def close(self, reason: str) -> None:
        self.up = False
        for link in (self._commands, self._subscriber):
            if link is not None:
                link.close(reason)
        self._commands = self._subscriber = None

    async def _open_again(self) -> None:
        wait, longest = BACK_OFF_S
        while True:
            await asyncio.sleep(random.uniform(0, wait))  # noqa: S311 - spreads nodes, no secret
            wait = min(longest, wait * 2)
            try:
                return await self.open()
            except BusDown:
                continue
            except BusRefused as refused:
                log.error("bus refused", extra={"why": str(refused)})

    async def _connect(self, protocol: int) -> Link:
        loop = asyncio.get_running_loop()
        _, link = await loop.create_connection(
            self._new_link,
            self.address.host,
            self.address.port,
            ssl=self.address.tls_context,
        )
        try:
            await checked(link.ask(*self.address.hello(protocol)))
        except BaseException:
            link.close("refused")
            raise
        return link

    def _new_link(self) -> Link:
        link = Link(
            bound=self._bounds.queue_bytes,
            timeout_s=self._bounds.timeout_s,
            metrics=self._metrics,
            scripts={sha: script.text for sha, script in self._scripts.items()},
            on_push=self._listeners.heard,
            on_closed=lambda reason: self._link_closed(link, reason),
            on_moved=self._listeners.moved,
        )
        return link

    def _link_closed(self, link: Link, reason: str) -> None:
        if not self.up or link not in (self._commands, self._subscriber):
            return  # opening failed, or the second link of a pair that is already given up
        self.close(reason)
        self._lost.set()
        log.warning("bus link lost", extra={"shard": self.address.port, "why": reason})
        self._listeners.lost(self, reason)

    async def _prepare(self, link: Link) -> None:
        info = parse_info(await checked(link.ask("INFO")))
        check_server(info)
        if info.get("role") != "master":
            raise BusDown("a replica: its primary is elsewhere")
        if info.get("cluster_enabled") == "1":
            state = await checked(link.ask("CLUSTER", "INFO"))
            if b"cluster_state:ok" not in state:
                raise BusDown("the cluster is not ready")
        loaded = [link.ask("SCRIPT", "LOAD", script.text) for script in self._scripts.values()]
        for script, answer in zip(self._scripts.values(), loaded, strict=True):
            if (await checked(answer)).decode() != script.sha:
                raise AssertionError(f"script {script.name} has another hash in Redis")
        self.run8 = info["run_id"][:8]

    async def _subscribe_all(self, link: Link, limit: asyncio.Timeout) -> None:
        """The time-out is of each slice: many topics take long, and that is no fault."""
        self.unconfirmed.clear()
        keys = list(self.topics)
        for start in range(0, len(keys), SUBSCRIBE_AT_ONCE):
            for key in keys[start : start + SUBSCRIBE_AT_ONCE]:
                if key in self.topics:  # else it was left while we waited
                    self._subscribe(link, key)
            await link.ask("PING")  # answered after all of them
            limit.reschedule(asyncio.get_running_loop().time() + OPEN_TIMEOUT_S)

    def _subscribe(self, link: Link, key: bytes) -> None:
        self.unconfirmed[key] = self.unconfirmed.get(key, 0) + 1
        link.send_unanswered(("SSUBSCRIBE", key))


def parse_info(reply: bytes) -> dict[str, str]:
    """The `name:value` lines of INFO."""
    lines = (line.partition(":") for line in reply.decode().splitlines())
    return {name: value for name, colon, value in lines if colon}


def check_server(info: Mapping[str, str]) -> None:
    """Raises BusRefused for a server that would break a promise, BusDown for one still loading."""
    version = info.get("redis_version", "0")
    if int(version.partition(".")[0]) < OLDEST:
        raise BusRefused(f"REDIS_URL: Redis {version} is too old, {OLDEST} or later is needed")
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        raise BusRefused(f"REDIS_URL: maxmemory-policy is {policy}, noeviction is needed")
    if info.get("loading") == "1":
        raise BusDown("Redis is loading its data")


async def checked(answer: "asyncio.Future[Any]") -> Any:
    """The reply; what Redis refuses becomes BusRefused (sign-in) or BusDown."""
    try:
        return await answer
    except BusDown:
        raise
    except Exception as error:  # noqa: BLE001 - hiredis.ReplyError and its kin
        code = str(error).partition(" ")[0]
        if code in ("WRONGPASS", "NOAUTH", "NOPERM"):
            raise BusRefused(f"REDIS_URL: Redis refuses our user or password ({code})") from None
        raise BusDown(f"Redis answers {code}") from None

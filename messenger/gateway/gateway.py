"""The node's door: takes connections in, keeps their sessions, lets them go.

Composes the parts of this package; the only object uvicorn's connections know.
"""

import asyncio
import gc
import logging
import random
import secrets
import time
from collections import deque
from http import HTTPStatus

from messenger.gateway.admission import retry_after_s
from messenger.gateway.commands import Commands, methods
from messenger.gateway.connecting import Connecting
from messenger.gateway.connection import GatewayProtocol
from messenger.gateway.dirty import DirtyHeads
from messenger.gateway.door import ConnectionHandler
from messenger.gateway.drain import Drain
from messenger.gateway.drill import Drill, Dropped
from messenger.gateway.handshake import Refusal, Upgrade
from messenger.gateway.hub import Hub
from messenger.gateway.presence import DeviceHooks, TopicPresence
from messenger.gateway.proxies import client_address, parse_networks
from messenger.gateway.recheck import Recheck
from messenger.gateway.session import RATE_WINDOW_S, Session
from messenger.gateway.subscribing import Subscribing
from messenger.gateway.tasks import Tasks
from messenger.gateway.topics import Topics
from messenger.gateway.turn import Turn
from messenger.gateway.wheel import Wheel
from messenger.limits import Limits
from messenger.metrics import Metrics
from messenger.rpc import Rpcs
from messenger.settings import Settings
from messenger.wire.codec import choose

log = logging.getLogger(__name__)

FREEZE_EVERY = 1_000  # more connections; a full pass over 15,000 unfrozen ones took 240 ms
MEASURE_S = 1.0
LEAVE_SLICE = 64  # sessions a turn: about 5 ms


class Gateway:
    """All sessions of this node."""

    def __init__(
        self,
        settings: Settings,
        rpcs: Rpcs,
        limits: Limits,
        hub: Hub,
        connecting: Connecting,
        subscribing: Subscribing,
        topics: Topics,
        presence: TopicPresence,
        dirty: DirtyHeads,
        recheck: Recheck,
        devices: DeviceHooks,
        metrics: Metrics,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.subscribing = subscribing
        self.turn = Turn(asyncio.get_running_loop(), metrics.writes)
        self.entrance = connecting.entrance
        self.wheel = Wheel()
        self.drain = Drain(settings.drain_rate)
        self._drill = Drill()
        self._tasks = Tasks()
        self.commands = Commands(rpcs, self._tasks.spawn, methods(connecting, subscribing, topics))
        self.commands_per_window = int(settings.command_rate * RATE_WINDOW_S)
        self.frame_bytes = settings.frame_bytes
        self.frame_commands = settings.frame_commands
        self.most_in_flight = settings.in_flight
        self.write_high = settings.write_high
        self.write_low = settings.write_low
        self.lag_bytes = settings.lag_bytes
        self.draining = False
        self.admission = connecting.admission
        self._proxies = parse_networks(settings.trusted_proxies)
        self._limits = limits
        self._hub = hub
        self._presence = presence
        self._dirty = dirty
        self._recheck = recheck
        self._devices = devices
        self._sessions: dict[str, Session] = {}
        self._lagging: dict[Session, float] = {}
        self._leaving: deque[Session] = deque()  # bound: max_sessions
        self._frozen = 0

    @property
    def sessions(self) -> int:
        return len(self._sessions)

    def session(self, client: str) -> Session | None:
        return self._sessions.get(client)

    # what connections call

    def knock(self, peer: str, forwarded_for: str) -> str | None:
        """Why they are not taken in now; asked before a handshake costs anything.

        The address is asked before what all share, so that none can use that up alone.
        """
        why = self._closed(self.entrance.waiting)
        if why is None:
            if not self._limits.admit(client_address(peer, forwarded_for, self._proxies)):
                why = "address"
            elif self.entrance.full:
                why = "crowd"
            elif not self.admission.take(time.monotonic()):
                why = "rate"
        if why is not None:
            self.metrics.upgrades_refused.labels(why).inc()
        return why

    def _closed(self, waiting: int) -> str | None:
        """Why nobody at all is taken in now."""
        if self.draining:
            return "draining"
        if "gateway" not in self.settings.roles:
            return "worker"
        if len(self._sessions) + waiting >= self.settings.max_sessions:
            return "full"
        return None

    def open(self, connection: GatewayProtocol, asked: Upgrade) -> ConnectionHandler:
        """Take the connection in, or raise `Refusal` with the HTTP answer."""
        self._check_origin(asked)
        self._check_closed()
        connection.peer = client_address(connection.peer, asked.forwarded_for, self._proxies)
        chosen = choose(asked.offered, asked.path.partition("?")[2])
        connection.binary = chosen.codec.BINARY
        client = secrets.token_hex(8)
        now = time.monotonic()
        session = Session(
            self, connection, chosen.codec, client, native_ping=chosen.native_ping, now=now
        )
        self._sessions[client] = session
        self.metrics.sessions.set(len(self._sessions))
        self.wheel.put(session)
        self._freeze()
        return session

    def leave(self, handler: ConnectionHandler) -> None:
        """uvicorn stops: the session goes in its turn, at once where nobody counts turns."""
        self.draining = True
        if self._tasks.running and isinstance(handler, Session):
            self.drain.add(handler)
        else:
            handler.leave()

    def bus_is_back(self) -> None:
        """What was published meanwhile is lost: compare positions, memberships and devices."""
        self._hub.check_all()
        self._tasks.spawn(self._recheck.run(list(self._sessions.values())), "recheck")

    def go_away(self, window_s: float) -> None:
        """Tell every device that this node leaves, and when to come back: spread, not at once.

        `window_s` and as long as it takes to send all away: so long the others have to take them.
        """
        self.draining = True
        window_s += self.drain.takes_s(len(self._sessions))
        for session in self._sessions.values():
            if session.caller is not None:
                resume_ms = random.randint(0, int(window_s * 1_000))  # noqa: S311 - spreads load
                update = b'{"t":"system.go_away","resume_after_ms":%d}' % resume_ms
                session.send(session.codec.publication(f"eph:{session.caller.account}", update))

    def drop(self, share: float, window_s: float, now: float) -> Dropped:
        """Close a share of the connected sessions for a drill. Raises DrillRunningError."""
        connected = [session for session in self._sessions.values() if session.connected]
        return self._drill.start(connected, share, window_s, now)

    # what sessions call

    def closed(self, session: Session, code: int | None) -> None:
        """The connection is gone; `code` is the peer's, None without a close frame."""
        self._sessions.pop(session.client, None)
        self._lagging.pop(session, None)
        self.wheel.remove(session)
        self._dirty.forget(session)
        self.metrics.sessions.set(len(self._sessions))
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._let_go)
        self._leaving.append(session)

    def _let_go(self) -> None:
        """What the closed ones listened to, a few a turn: thousands may be cut in one."""
        some = [self._leaving.popleft() for _ in range(min(LEAVE_SLICE, len(self._leaving)))]
        if self._leaving:
            asyncio.get_running_loop().call_soon(self._let_go)
        for session in some:
            try:
                for subscription in list(session.subscriptions.values()):
                    self.subscribing.leave(session, subscription)
                if session.caller is not None and session.connected:
                    self._devices.closed(session.caller)
            except Exception:
                log.exception("session not let go whole")

    def lagging(self, session: Session, is_lagging: bool) -> None:  # noqa: FBT001 - one fact
        if is_lagging:
            self._lagging[session] = time.monotonic()
        else:
            self._lagging.pop(session, None)
        self.metrics.lagging_sessions.set(len(self._lagging))

    # the node's tasks

    async def run(self) -> None:
        """Timers, checks, leases and drains, until cancelled."""
        async with self._tasks, asyncio.TaskGroup() as tasks:
            tasks.create_task(self.wheel.run(), name="wheel")
            tasks.create_task(self._hub.run(), name="hub")
            tasks.create_task(self._presence.run(), name="presence")
            tasks.create_task(self._dirty.run(), name="dirty")
            tasks.create_task(self.drain.run(), name="drain")
            tasks.create_task(self._drill.run(), name="drill")
            tasks.create_task(self._watch_lag(), name="lag")
            tasks.create_task(self._measure(), name="measure")

    async def _watch_lag(self) -> None:
        """Cut off who has lagged too long, and the longest laggers while the sum is too large."""
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            total = 0
            for session, since in list(self._lagging.items()):  # oldest first
                total += session.connection.buffered()
                if now - since > self.settings.lag_seconds:
                    session.cut_off()
            self.metrics.outbox_bytes.set(total)
            for session in list(self._lagging):
                if total <= self.settings.lag_total:
                    break
                total -= session.connection.buffered()
                session.cut_off()

    async def _measure(self) -> None:
        """How late the loop turns, and what is listened to."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await asyncio.sleep(MEASURE_S)
            self.metrics.loop_lag_seconds.observe(max(0.0, loop.time() - began - MEASURE_S))
            for source, count in self._hub.listened().items():
                self.metrics.subscriptions.labels(source).set(count)

    def _check_origin(self, asked: Upgrade) -> None:
        origin = asked.origin
        if origin is None:
            return  # apps send none; a browser always does
        allowed = self.settings.allowed_origins
        if "*" in allowed or origin in allowed:
            return
        if not allowed and origin.partition("://")[2] == asked.host:
            return
        self.metrics.upgrades_refused.labels("origin").inc()
        raise Refusal(HTTPStatus.FORBIDDEN, "origin not allowed")

    def _check_closed(self) -> None:
        """Again: since they knocked they may have waited for their turn."""
        why = self._closed(waiting=0)
        if why is not None:
            self.metrics.upgrades_refused.labels(why).inc()
            retry_s = retry_after_s(random.random())  # noqa: S311 - spreads load
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, f"not now: {why}", retry_s)

    def _freeze(self) -> None:
        """What lives long is not looked at by the collector again; it still dies by its count."""
        count = len(self._sessions)
        if count >= self._frozen + FREEZE_EVERY:
            gc.collect(1)
            gc.freeze()
            self._frozen = count
        elif count < self._frozen - FREEZE_EVERY:
            self._frozen = count

"""The connect command: whose connection this is, its server-side topics, where it left off.

No SQL here: the token carries account, device and expiry; revocation is one field in Redis. The
reply comes once every topic is listened to and its position read, so nothing falls in between.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

from messenger.bus.bus import Bus
from messenger.bus.link import BusDown
from messenger.feature import Caller, Refused
from messenger.gateway.admission import Admission
from messenger.gateway.entrance import Entrance
from messenger.gateway.presence import DeviceHooks
from messenger.gateway.session import Closed, Session, raw
from messenger.gateway.subscribing import Subscribing
from messenger.ids import AccountId, DeviceId
from messenger.metrics import Metrics
from messenger.namespaces import Namespaces
from messenger.settings import Settings
from messenger.tokens import ConnectionClaims, ConnectionTokens, TokenExpired, TokenInvalid
from messenger.wire.codes import CloseCode, ErrorCode
from messenger.wire.messages import (
    NOTHING,
    ClientInfo,
    ConnectRequest,
    ConnectResult,
    RefreshRequest,
    SubscribeRequest,
    SubscribeResult,
)

VERSION = "peyk 0.1"
JS = "js"  # centrifuge-js 5.8 over Protobuf compares ids by identity and drops what carries one
NO_CLAIMS = ConnectionClaims(user="")


class Connecting:
    """Answers connect and refresh."""

    def __init__(
        self,
        settings: Settings,
        tokens: ConnectionTokens,
        namespaces: Namespaces,
        subscribing: Subscribing,
        bus: Bus,
        devices: DeviceHooks,
        metrics: Metrics,
        admission: Admission,
    ) -> None:
        self.admission = admission
        self.entrance = Entrance(asyncio.get_running_loop())
        self._settings = settings
        self._tokens = tokens
        self._namespaces = namespaces
        self._subscribing = subscribing
        self._bus = bus
        self._devices = devices
        self._metrics = metrics

    async def connect(self, session: Session, id: int, request: ConnectRequest) -> None:
        """Reply with the session's topics and positions, or say why not."""
        started = time.perf_counter()
        self.admission.connecting += 1
        try:
            if self.admission.crowded:
                raise Refused(ErrorCode.TOO_MANY_REQUESTS)
            await self.entrance.connect()
            await self._connect(session, id, request)
        except (Refused, Closed) as no:
            session.pending.clear()  # whatever came behind it in the frame assumed a connection
            self._metrics.connects.labels(no.code.name).inc()
            raise
        except (BusDown, TimeoutError):
            session.pending.clear()
            self._metrics.connects.labels("BUS_DOWN").inc()
            raise Refused(ErrorCode.TOO_MANY_REQUESTS) from None
        finally:
            self.admission.connecting -= 1
            if not session.connected:  # refused, or the socket went away while we read
                for subscription in list(session.subscriptions.values()):
                    self._subscribing.leave(session, subscription)
        self._metrics.connects.labels("OK").inc()
        self._metrics.login_seconds.observe(time.perf_counter() - started)

    def refresh(self, session: Session, id: int, request: RefreshRequest) -> None:
        """Take a new token for the same user and device."""
        claims = self._verify(request.token)
        device = session.caller.device if session.caller is not None else 0
        if claims.user != session.user or (claims.device or 0) != device:
            raise Closed(CloseCode.INVALID_TOKEN)
        expires_at, ttl = _expiry(claims)
        session.refreshed(id, expires_at, ttl, VERSION)

    async def _connect(self, session: Session, id: int, request: ConnectRequest) -> None:
        claims = self._claims(request)
        session.user = claims.user
        session.compacts = not (session.codec.BINARY and request.name == JS)
        session.started = time.time_ns() // 1_000_000
        session.caller = _caller(claims, session)
        session.info = ClientInfo(claims.user, session.client, claims.info or NOTHING)
        topics = self._topics(session, claims)
        results = await self._attach_all(session, topics, request.subs)
        if not session.answers:
            return
        await self._replace_older(session)
        session.expires_at, ttl = _expiry(claims)
        session.connected = True
        session.reply(id, self._result(session, results, ttl))
        for topic in results:
            self._subscribing.go_live(session, session.subscriptions[topic])
        now = time.monotonic()
        session.ping_at = now + self._settings.ping * random.uniform(0.5, 1.0)  # noqa: S311 - spreads pings
        session.schedule()
        if session.caller is not None:
            self._devices.opened(session.caller)

    def _claims(self, request: ConnectRequest) -> ConnectionClaims:
        if request.token:
            return self._verify(request.token)
        if not (self._settings.client.insecure or self._settings.client.allow_anonymous):
            raise Closed(CloseCode.BAD_REQUEST)
        return NO_CLAIMS

    def _verify(self, token: str) -> ConnectionClaims:
        try:
            return self._tokens.verify(token)
        except TokenExpired:
            raise Refused(ErrorCode.TOKEN_EXPIRED) from None
        except TokenInvalid:
            raise Closed(CloseCode.INVALID_TOKEN) from None

    def _topics(self, session: Session, claims: ConnectionClaims) -> list[str]:
        """The server-side topics: the configured personal ones, then those of the token."""
        topics = []
        if claims.user:
            topics = [
                pattern.replace("{user}", claims.user) for pattern in self._settings.client.personal
            ]
        topics += claims.topics
        allowed = []
        for topic in dict.fromkeys(topics):
            options = self._namespaces.of(topic)
            if options is None:
                continue
            if options.is_product and session.caller is None:
                continue  # its numbers belong to the product: product tokens only
            allowed.append(topic)
        return allowed

    async def _attach_all(
        self, session: Session, topics: list[str], asked: Mapping[str, SubscribeRequest]
    ) -> dict[str, SubscribeResult]:
        """No task for each: all begin to listen in one turn, most have nothing else to wait for."""
        subscribing = self._subscribing
        entered = [
            subscribing.enter_server_side(session, topic, asked.get(topic)) for topic in topics
        ]
        async with asyncio.timeout(self._settings.redis_timeout * 3):
            for subscription in entered:
                await subscribing.listening(subscription)
            # Asked once we listen: a revocation from now on is heard.
            revoked = self._revoked_until(session.caller)
            results = {
                topic: await subscribing.read_server_side(session, subscription, asked.get(topic))
                for topic, subscription in zip(topics, entered, strict=True)
            }
            until = None if revoked is None else await revoked
        if until is not None and int(until) > time.time():
            raise Closed(CloseCode.DEVICE_REVOKED)
        return results

    def _revoked_until(self, caller: Caller | None) -> "asyncio.Future[Any] | None":
        """Leaves for Redis with the positions, in one write."""
        if caller is None:
            return None
        return self._bus.asking("HGET", f"revoked:{{{caller.account}}}", caller.device)

    async def _replace_older(self, session: Session) -> None:
        """Two sessions of one device: the newer wins, on whatever node the older is."""
        caller = session.caller
        if caller is not None:
            order = f"x replaced {caller.device} {session.client} {session.started}"
            self._bus.publish(f"eph:{caller.account}", order.encode())

    def _result(
        self, session: Session, results: dict[str, SubscribeResult], ttl: int
    ) -> ConnectResult:
        data = NOTHING
        if session.caller is not None:
            data = raw(
                {
                    "account": str(session.caller.account),
                    "device": str(session.caller.device),
                    "now": time.time_ns() // 1_000_000,
                }
            )
        native = session.native_ping
        return ConnectResult(
            client=session.client,
            version=VERSION,
            expires=ttl > 0,
            ttl=ttl,
            data=data,
            subs=results,
            ping=0 if native else int(self._settings.ping),
            pong=not native,
        )


def _caller(claims: ConnectionClaims, session: Session) -> Caller | None:
    """A product token names an account and a device; any other connection has no caller."""
    if not claims.device or not claims.user.isdecimal():
        return None
    return Caller(
        AccountId(int(claims.user)),
        DeviceId(int(claims.device)),
        session.connection.peer,
        session.client,
    )


def _expiry(claims: ConnectionClaims) -> tuple[float, int]:
    """(monotonic time of expiry, seconds left); (0, 0) for a connection that never expires."""
    if not claims.expires_at:
        return 0.0, 0
    left = claims.expires_at - time.time()
    return time.monotonic() + left, max(1, int(left))

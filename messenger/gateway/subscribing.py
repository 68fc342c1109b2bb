"""Subscribe and unsubscribe: buffer first, then read, then splice by number, then go live.

Between the moment a session starts to listen and the moment it has read what it missed nothing
may fall through and nothing may come twice. So live publications go into the subscription's
buffer from the first moment; what was read and what was buffered meet by offset.
"""

import time
from collections.abc import Coroutine
from typing import Any

from msgspec import Raw

from messenger.feature import Refused
from messenger.gateway.hub import Hub
from messenger.gateway.positions import ChatDoor, chat_of
from messenger.gateway.presence import TopicPresence
from messenger.gateway.room import Heard, Room, Subscription
from messenger.gateway.session import Closed, Session
from messenger.ids import AccountId
from messenger.metrics import Metrics
from messenger.namespaces import Namespaces, Standing, SubscribeBy
from messenger.settings import NamespaceOptions, Settings
from messenger.tokens import SubscriptionClaims, SubscriptionTokens, TokenExpired, TokenInvalid
from messenger.wire.codes import CloseCode, ErrorCode
from messenger.wire.messages import (
    FLAG_COMPACTION,
    FLAG_REJECT_UNRECOVERED,
    Publication,
    SubRefreshRequest,
    SubRefreshResult,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribeRequest,
    UnsubscribeResult,
)

TOPIC_CHARS = 255
NO_REQUEST = SubscribeRequest()


class Subscribing:
    """Answers subscribe, unsubscribe and sub_refresh; attaches server-side topics for connect."""

    def __init__(
        self,
        settings: Settings,
        namespaces: Namespaces,
        tokens: SubscriptionTokens,
        hub: Hub,
        chats: ChatDoor,
        presence: TopicPresence,
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._namespaces = namespaces
        self._tokens = tokens
        self._hub = hub
        self._chats = chats
        self._presence = presence
        self._metrics = metrics

    # client-side

    def subscribe(
        self, session: Session, id: int, request: SubscribeRequest
    ) -> Coroutine[Any, Any, None]:
        """Check what can be checked now; the rest waits in order."""
        topic = request.channel
        if not topic or len(topic) > TOPIC_CHARS or request.tf:
            raise Refused(ErrorCode.BAD_REQUEST)
        if request.type:
            raise Refused(ErrorCode.NOT_AVAILABLE)  # map and shared poll subscriptions
        options = self._namespaces.of(topic)
        if options is None:
            raise Refused(ErrorCode.UNKNOWN_TOPIC)
        if topic in session.subscriptions:
            raise Refused(ErrorCode.ALREADY_SUBSCRIBED)
        if len(session.subscriptions) >= self._settings.max_subscriptions:
            raise Refused(ErrorCode.LIMIT_EXCEEDED)
        claims = self._claims(session, topic, request.token)
        self._decide(session, topic, options, claims)
        return self._subscribe(session, id, request, options, claims)

    def unsubscribe(self, session: Session, id: int, request: UnsubscribeRequest) -> None:
        """Fine also when there was no subscription: an error here makes SDKs reconnect."""
        subscription = session.subscriptions.get(request.channel)
        if subscription is not None and not subscription.server_side:
            self.leave(session, subscription)
        session.reply(id, UnsubscribeResult())

    def sub_refresh(self, session: Session, id: int, request: SubRefreshRequest) -> None:
        subscription = session.subscriptions.get(request.channel)
        if subscription is None:
            raise Refused(ErrorCode.PERMISSION_DENIED)
        try:
            claims = self._tokens.verify(request.token)
        except TokenExpired:
            raise Refused(ErrorCode.EXPIRED) from None
        except TokenInvalid:
            raise Closed(CloseCode.INVALID_TOKEN) from None
        if (claims.user, claims.channel) != (session.user, request.channel):
            raise Closed(CloseCode.INVALID_TOKEN)
        subscription.expires_at, ttl = _expiry(claims)
        session.schedule()
        session.reply(id, SubRefreshResult(expires=ttl > 0, ttl=ttl))

    def leave(self, session: Session, subscription: Subscription) -> None:
        """Forget the subscription; others hear of it where the topic tells of joins and leaves."""
        session.subscriptions.pop(subscription.room.topic, None)
        self._hub.leave(subscription)
        self._presence.left(session, subscription)

    # server-side

    def enter_server_side(
        self, session: Session, topic: str, asked: SubscribeRequest | None
    ) -> Subscription:
        """Begin to listen for connect; `read_server_side` says where it stands."""
        options = self._namespaces.of(topic)
        if options is None:
            raise AssertionError(f"no namespace of {topic}")
        subscription = self._enter(session, topic, options, server_side=True)
        self._set_wishes(subscription, asked or NO_REQUEST, options)
        return subscription

    async def listening(self, subscription: Subscription) -> None:
        """Return once what happens in its topic reaches this node."""
        await self._hub.listening(subscription.room)

    async def read_server_side(
        self, session: Session, subscription: Subscription, asked: SubscribeRequest | None
    ) -> SubscribeResult:
        """Once the topic is listened to; `go_live` follows after the reply to connect."""
        return await self._result(session, subscription, asked or NO_REQUEST)

    def go_live(self, session: Session, subscription: Subscription) -> None:
        """After the reply: push what was buffered meanwhile, then join the others."""
        room = subscription.room
        if not self._push_buffered(subscription):  # a hole in what was heard: catch up again
            if room.source != "user":
                session.insufficient(subscription)
                return
            session.resync()
            subscription.offset = room.offset
        room.go_live(subscription)
        self._presence.joined(session, subscription)

    # inside

    def _push_buffered(self, subscription: Subscription) -> bool:
        """Write what came meanwhile, as far as it is whole; is it?"""
        for heard in subscription.buffer or ():
            if heard.offset and heard.offset <= subscription.offset:
                continue
            if subscription.positioned and heard.offset > subscription.offset + 1:
                return False
            if heard.offset:
                subscription.offset = heard.offset
            subscription.outlet.write(subscription.room.frame(subscription.kind, heard))
        return not (subscription.broken and subscription.positioned)

    def _claims(self, session: Session, topic: str, token: str) -> SubscriptionClaims | None:
        if not token:
            return None
        try:
            claims = self._tokens.verify(token)
        except TokenExpired:
            raise Refused(ErrorCode.TOKEN_EXPIRED) from None
        except TokenInvalid:
            raise Refused(ErrorCode.PERMISSION_DENIED) from None
        if (claims.user, claims.channel) != (session.user, topic):
            raise Closed(CloseCode.INVALID_TOKEN)  # somebody else's token
        return claims

    def _decide(
        self,
        session: Session,
        topic: str,
        options: NamespaceOptions,
        claims: SubscriptionClaims | None,
    ) -> None:
        verdict = self._namespaces.may_subscribe(
            topic, options, user=session.user, by=_by(session, claims), insecure=self.insecure
        )
        if verdict is not None:
            raise Refused(verdict)

    @property
    def insecure(self) -> bool:
        return self._settings.client.insecure

    async def _subscribe(
        self,
        session: Session,
        id: int,
        request: SubscribeRequest,
        options: NamespaceOptions,
        claims: SubscriptionClaims | None,
    ) -> None:
        subscription = self._enter(session, request.channel, options, server_side=False)
        try:
            if options.source == "chat":
                await self._check_member(session, subscription)
            self._set_wishes(subscription, request, options)
            if claims is not None:
                subscription.chan_info = claims.info
            result = await self._result(session, subscription, request)
            if request.flag & FLAG_REJECT_UNRECOVERED and request.recover and not result.recovered:
                raise Refused(ErrorCode.UNRECOVERABLE_POSITION)
        except BaseException:
            session.subscriptions.pop(request.channel, None)
            self._hub.leave(subscription)
            raise
        if session.subscriptions.get(request.channel) is not subscription:
            raise Refused(ErrorCode.PERMISSION_DENIED)  # expelled while we read
        ttl = 0
        if claims is not None:
            subscription.expires_at, ttl = _expiry(claims)
            session.schedule()
        number = 0
        if request.flag & FLAG_COMPACTION and options.compaction and session.compacts:
            number = subscription.room.number
            subscription.kind |= 1
        session.reply(id, _with_life(result, ttl, number))
        self.go_live(session, subscription)

    async def _check_member(self, session: Session, subscription: Subscription) -> None:
        """Once the node listens: an expulsion that comes from now on is heard."""
        await self._hub.listening(subscription.room)
        caller = session.caller
        chat = chat_of(subscription.room.topic)
        if caller is None or not await self._chats.may_open(chat, caller.account):
            raise Refused(ErrorCode.PERMISSION_DENIED)

    def _enter(
        self, session: Session, topic: str, options: NamespaceOptions, *, server_side: bool
    ) -> Subscription:
        room = self._hub.room(topic, options)
        subscription = Subscription(
            session,
            session.connection,
            room,
            binary=session.codec.BINARY,
            server_side=server_side,
        )
        room.catching[subscription] = None
        session.subscriptions[topic] = subscription
        return subscription

    def _set_wishes(
        self, subscription: Subscription, request: SubscribeRequest, options: NamespaceOptions
    ) -> None:
        has_numbers = options.source in ("user", "chat") or options.has_history
        subscription.recoverable = has_numbers and (
            options.force_recovery or (options.allow_recovery and request.recoverable)
        )
        subscription.positioned = has_numbers and (
            subscription.recoverable
            or options.force_positioning
            or (options.allow_positioning and request.positioned)
        )
        subscription.wants_joins = options.join_leave and (
            options.force_push_join_leave or request.join_leave
        )
        subscription.presence = options.presence

    async def _result(
        self, session: Session, subscription: Subscription, request: SubscribeRequest
    ) -> SubscribeResult:
        """Position and, where asked for, what was missed (protocol A8, 1-4)."""
        room = subscription.room
        epoch, top = await self._hub.opened(room)
        subscription.offset = top
        if not (subscription.recoverable or subscription.positioned):
            return SubscribeResult()
        if not (request.recover and subscription.recoverable):
            return self._numbered(subscription, epoch, top)
        account = session.caller.account if session.caller is not None else None
        missed = await self._missed(room, request, account, (epoch, top))
        self._metrics.recoveries.labels("yes" if missed is not None else "no").inc()
        if missed is None:
            return self._numbered(subscription, epoch, top, was_recovering=True)
        subscription.offset = missed[-1].offset if missed else top
        return SubscribeResult(
            recoverable=True,
            positioned=True,
            epoch=epoch,
            offset=request.offset,  # the SDK advances by processing the publications
            publications=[
                Publication(Raw(heard.data), heard.info, heard.offset, dict(heard.tags or {}))
                for heard in missed
            ],
            recovered=True,
            was_recovering=True,
        )

    async def _missed(
        self,
        room: Room,
        request: SubscribeRequest,
        account: AccountId | None,
        position: tuple[str, int],
    ) -> list[Heard] | None:
        """The publications after the requested offset; None where they cannot be proven whole."""
        epoch, top = position
        if request.epoch not in ("", epoch) or request.offset > top:
            return None
        if request.offset == top:
            return []
        missed = await self._hub.since(room, request.offset, account)
        whole = (
            missed
            and missed[0].offset == request.offset + 1
            and missed[-1].offset >= top
            and len(missed) <= self._settings.recovery_max
            and sum(len(heard.data) for heard in missed) <= self._settings.recovery_bytes
        )
        return missed if whole else None

    def _numbered(
        self, subscription: Subscription, epoch: str, top: int, *, was_recovering: bool = False
    ) -> SubscribeResult:
        return SubscribeResult(
            recoverable=subscription.recoverable,
            positioned=subscription.positioned,
            epoch=epoch,
            offset=top,
            was_recovering=was_recovering,
        )


def _by(session: Session, claims: SubscriptionClaims | None) -> SubscribeBy:
    return SubscribeBy(
        standing=Standing.of(session.user, subscribed=False),
        account=str(session.caller.account) if session.caller is not None else "",
        token=claims is not None,
    )


def _with_life(result: SubscribeResult, ttl: int, number: int) -> SubscribeResult:
    if not ttl and not number:
        return result
    return SubscribeResult(
        expires=ttl > 0,
        ttl=ttl,
        recoverable=result.recoverable,
        epoch=result.epoch,
        publications=result.publications,
        recovered=result.recovered,
        offset=result.offset,
        positioned=result.positioned,
        was_recovering=result.was_recovering,
        id=number,
    )


def _expiry(claims: SubscriptionClaims) -> tuple[float, int]:
    if not claims.expires_at:
        return 0.0, 0
    left = claims.expires_at - time.time()
    return time.monotonic() + left, max(1, int(left))

"""Publish, history and presence of generic topics, by socket; http/publish_api.py offers the same.

Product topics refuse all of it: their numbers belong to the product.
"""

from collections.abc import Coroutine, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw

from messenger.bus.streams import Streams
from messenger.feature import Refused, Shed, Sheds
from messenger.gateway.positions import heard_of
from messenger.gateway.presence import info_json
from messenger.gateway.session import Session
from messenger.metrics import Metrics
from messenger.namespaces import Namespaces, Standing
from messenger.settings import NamespaceOptions, Settings
from messenger.wire.codes import ErrorCode
from messenger.wire.messages import (
    ClientInfo,
    HistoryRequest,
    HistoryResult,
    PresenceRequest,
    PresenceResult,
    PresenceStatsRequest,
    PresenceStatsResult,
    Publication,
    PublishRequest,
    PublishResult,
    StreamPosition,
    compact_json,
)

REPLY_BYTES = 65_536
HISTORY_MOST = 300
TOPIC_CHARS = 255


class Topics:
    """Answers publish, history, presence and presence_stats."""

    def __init__(
        self,
        settings: Settings,
        namespaces: Namespaces,
        streams: Streams,
        metrics: Metrics,
        sheds: Sheds,
    ) -> None:
        self._settings = settings
        self._namespaces = namespaces
        self._streams = streams
        self._metrics = metrics
        self._sheds = sheds

    def publish(
        self, session: Session, id: int, request: PublishRequest
    ) -> Coroutine[Any, Any, None]:
        options = self._options(request.channel)
        self._check(self._namespaces.may_publish, session, request.channel, options)
        data = compact_json(bytes(request.data)) if request.data else None
        if data is None:
            raise Refused(ErrorCode.BAD_REQUEST)
        subscription = session.subscriptions.get(request.channel)
        info = msgspec.json.decode(info_json(session, subscription), type=ClientInfo)
        return self._publish(session, id, request.channel, options, data, info)

    def history(
        self, session: Session, id: int, request: HistoryRequest
    ) -> Coroutine[Any, Any, None]:
        options = self._options(request.channel)
        self._check(self._namespaces.may_history, session, request.channel, options)
        if request.limit < -1:
            raise Refused(ErrorCode.BAD_REQUEST)
        if request.limit:  # 0 asks for the position alone, which recovery needs
            self._check_load(Shed.HISTORY)
        return self._history(session, id, request)

    def presence(
        self, session: Session, id: int, request: PresenceRequest
    ) -> Coroutine[Any, Any, None]:
        options = self._options(request.channel)
        self._check(self._namespaces.may_presence, session, request.channel, options)
        self._check_load(Shed.PRESENCE)
        return self._presence(session, id, request.channel)

    def presence_stats(
        self, session: Session, id: int, request: PresenceStatsRequest
    ) -> Coroutine[Any, Any, None]:
        options = self._options(request.channel)
        self._check(self._namespaces.may_presence, session, request.channel, options)
        self._check_load(Shed.PRESENCE)
        return self._presence_stats(session, id, request.channel)

    async def publish_to(
        self,
        topic: str,
        options: NamespaceOptions,
        data: bytes,
        info: ClientInfo | None = None,
        tags: Mapping[str, str] | None = None,
        *,
        skip_history: bool = False,
        idempotency: str | None = None,
    ) -> tuple[str, int]:
        """Append and hand to every node that listens; (epoch, offset), offset 0 without history."""
        self._metrics.published_generic.inc()
        publication = msgspec.json.encode(Publication(Raw(data), info, tags=dict(tags or {})))
        size = 0 if skip_history or not options.has_history else options.history_size
        position = await self._streams.publish_topic(
            topic,
            publication,
            size,
            options.history_ttl_s,
            options.history_meta_ttl_s,
            idempotency,
        )
        return position.epoch, position.offset

    async def history_of(
        self, topic: str, limit: int, since: StreamPosition | None, *, reverse: bool
    ) -> HistoryResult:
        """A page of at most 300 publications and 64 KiB; raises 112 for a position that is gone."""
        most = HISTORY_MOST if limit < 0 else min(limit, HISTORY_MOST)
        offset = since.offset if since is not None else None
        meta_ttl = self._options(topic).history_meta_ttl_s
        entries, position = await self._streams.topic_history(
            topic, offset, most, meta_ttl=meta_ttl, reverse=reverse
        )
        if since is not None and (
            since.epoch not in ("", position.epoch) or since.offset > position.offset
        ):
            raise Refused(ErrorCode.UNRECOVERABLE_POSITION)
        return HistoryResult(_bounded(entries), position.epoch, position.offset)

    async def presence_of(self, topic: str) -> dict[str, ClientInfo]:
        """As many as fit into one reply; `presence_stats` counts them all."""
        entries = await self._streams.presence_get(topic)
        present: dict[str, ClientInfo] = {}
        size = 0
        for client, info in entries.items():
            size += len(client) + len(info)
            if size > REPLY_BYTES:
                break
            present[client] = msgspec.json.decode(info, type=ClientInfo)
        return present

    def _options(self, topic: str) -> NamespaceOptions:
        if not topic or len(topic) > TOPIC_CHARS:
            raise Refused(ErrorCode.BAD_REQUEST)
        options = self._namespaces.of(topic)
        if options is None:
            raise Refused(ErrorCode.UNKNOWN_TOPIC)
        return options

    def _check(self, may: Any, session: Session, topic: str, options: NamespaceOptions) -> None:
        standing = Standing.of(session.user, subscribed=topic in session.subscriptions)
        verdict = may(options, standing=standing, insecure=self._settings.client.insecure)
        if verdict is not None:
            raise Refused(verdict)

    def _check_load(self, what: Shed) -> None:
        if self._sheds(what):
            raise Refused(ErrorCode.TOO_MANY_REQUESTS)  # temporary: the same may be asked again

    async def _publish(
        self,
        session: Session,
        id: int,
        topic: str,
        options: NamespaceOptions,
        data: bytes,
        info: ClientInfo,
    ) -> None:
        await self.publish_to(topic, options, data, info)
        session.reply(id, PublishResult())

    async def _history(self, session: Session, id: int, request: HistoryRequest) -> None:
        result = await self.history_of(
            request.channel, request.limit, request.since, reverse=request.reverse
        )
        session.reply(id, result)

    async def _presence(self, session: Session, id: int, topic: str) -> None:
        session.reply(id, PresenceResult(await self.presence_of(topic)))

    async def _presence_stats(self, session: Session, id: int, topic: str) -> None:
        entries = await self._streams.presence_get(topic)
        users = {msgspec.json.decode(info, type=ClientInfo).user for info in entries.values()}
        session.reply(id, PresenceStatsResult(len(entries), len(users)))


def _bounded(entries: Sequence[tuple[int, bytes]]) -> list[Publication]:
    """As many as fit into one reply; a page ends early."""
    publications: list[Publication] = []
    size = 0
    for offset, body in entries:
        size += len(body)
        if size > REPLY_BYTES and publications:
            break
        heard = heard_of(offset, body)
        publications.append(
            Publication(Raw(heard.data), heard.info, offset, dict(heard.tags or {}))
        )
    return publications

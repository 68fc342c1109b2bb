"""centrifuge-python in the test's own loop."""

import json
from collections.abc import Mapping
from typing import Any

import centrifuge
from centrifuge import CentrifugeError, Client, ReplyError, StreamPosition, UnauthorizedError

from tests.conformance.sdk import Events, Json, SdkError


class Python:
    """One client."""

    def __init__(self, *, protobuf: bool) -> None:
        self.events = Events()
        self._protobuf = protobuf
        self._client: Client | None = None
        self._tokens: list[str] = []

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    async def open(
        self, url: str, token: str, *, with_get_token: bool = False, **options: object
    ) -> None:
        self._client = Client(
            url,
            _ClientEvents(self.events, self.read),
            token=token,
            get_token=self._next_token if with_get_token else None,
            use_protobuf=self._protobuf,
            min_reconnect_delay=0.02,
            max_reconnect_delay=0.1,
            proxy=None,
            **options,
        )

    async def offer(self, *tokens: str) -> None:
        self._tokens += tokens

    async def connect(self) -> None:
        await self.client.connect()

    async def disconnect(self) -> None:
        await self.client.disconnect()

    async def cut(self) -> None:
        connection = self.client._conn
        assert connection is not None
        connection.transport.abort()

    async def subscribe(
        self,
        topic: str,
        *,
        token: str = "",
        with_get_token: bool = False,
        positioned: bool = False,
        recoverable: bool = False,
        join_leave: bool = False,
    ) -> None:
        subscription = self.client.get_subscription(topic) or self.client.new_subscription(
            topic,
            _SubscriptionEvents(self.events, self.read, topic),
            token=token,
            get_token=self._next_topic_token if with_get_token else None,
            positioned=positioned,
            recoverable=recoverable,
            join_leave=join_leave,
            min_resubscribe_delay=0.02,
            max_resubscribe_delay=0.1,
        )
        await subscription.subscribe()

    async def unsubscribe(self, topic: str) -> None:
        subscription = self.client.get_subscription(topic)
        assert subscription is not None
        await subscription.unsubscribe()

    async def publish(self, topic: str, data: object) -> None:
        with _refusals():
            await self.client.publish(topic, self.write(data))

    async def rpc(self, method: str, data: object) -> Any:
        with _refusals():
            return self.read((await self.client.rpc(method, self.write(data))).data)

    async def history(
        self,
        topic: str,
        limit: int,
        since: Mapping[str, Any] | None = None,
        *,
        reverse: bool = False,
    ) -> Json:
        position = StreamPosition(since["offset"], since["epoch"]) if since else None
        with _refusals():
            page = await self.client.history(topic, limit, position, reverse)
        publications = [
            {"data": self.read(p.data), "offset": p.offset, "tags": p.tags, "info": p.info}
            for p in page.publications
        ]
        return {"epoch": page.epoch, "offset": page.offset, "publications": publications}

    async def presence(self, topic: str) -> Json:
        with _refusals():
            result = await self.client.presence(topic)
        return {client: _person(info, self.read) for client, info in result.clients.items()}

    async def presence_stats(self, topic: str) -> Json:
        with _refusals():
            stats = await self.client.presence_stats(topic)
        return {"num_clients": stats.num_clients, "num_users": stats.num_users}

    async def close(self) -> None:
        if self._client is not None:
            await self._client.disconnect()

    def write(self, data: object) -> Any:
        return json.dumps(data).encode() if self._protobuf else data

    def read(self, data: Any) -> Any:
        if self._protobuf and isinstance(data, bytes):
            return json.loads(data) if data else None
        return data

    async def _next_token(self) -> str:
        self.events.add({"event": "token_asked"})
        if not self._tokens:
            raise UnauthorizedError
        return self._tokens.pop(0)

    async def _next_topic_token(self, topic: str) -> str:
        return await self._next_token()


class _refusals:  # noqa: N801 - reads as a phrase after `with`
    """Turn the SDK's errors into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ReplyError):
            raise SdkError(error.code, error.message) from error
        if isinstance(error, CentrifugeError):
            raise SdkError(-1, str(error)) from error


def _person(info: Any, read: Any) -> Json | None:
    if info is None:
        return None
    return {
        "user": info.user,
        "client": info.client,
        "conn_info": read(info.conn_info),
        "chan_info": read(info.chan_info),
    }


def _standing(ctx: Any, read: Any) -> Json:
    position = ctx.stream_position
    return {
        "recoverable": ctx.recoverable,
        "positioned": ctx.positioned,
        "was_recovering": ctx.was_recovering,
        "recovered": ctx.recovered,
        "offset": position.offset if position else None,
        "epoch": position.epoch if position else None,
        "data": read(ctx.data),
    }


def _news(publication: Any, read: Any) -> Json:
    return {
        "data": read(publication.data),
        "offset": publication.offset,
        "tags": publication.tags,
        "info": _person(publication.info, read),
    }


class _ClientEvents(centrifuge.ClientEventHandler):
    def __init__(self, events: Events, read: Any) -> None:
        self._events = events
        self._read = read

    async def on_connecting(self, ctx: Any) -> None:
        self._events.add({"event": "connecting", "code": ctx.code, "reason": ctx.reason})

    async def on_connected(self, ctx: Any) -> None:
        data = self._read(ctx.data)
        self._events.add(
            {"event": "connected", "client": ctx.client, "version": ctx.version, "data": data}
        )

    async def on_disconnected(self, ctx: Any) -> None:
        self._events.add({"event": "disconnected", "code": ctx.code, "reason": ctx.reason})

    async def on_error(self, ctx: Any) -> None:
        self._events.add({"event": "error", "code": ctx.code, "message": str(ctx.error)})

    async def on_subscribed(self, ctx: Any) -> None:
        standing = _standing(ctx, self._read)
        self._events.add({"event": "server_subscribed", "topic": ctx.channel, **standing})

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._events.add({"event": "server_unsubscribed", "topic": ctx.channel})

    async def on_publication(self, ctx: Any) -> None:
        news = _news(ctx.pub, self._read)
        self._events.add({"event": "server_publication", "topic": ctx.channel, **news})


class _SubscriptionEvents(centrifuge.SubscriptionEventHandler):
    def __init__(self, events: Events, read: Any, topic: str) -> None:
        self._events = events
        self._read = read
        self._topic = topic

    def _add(self, event: str, fields: Json) -> None:
        self._events.add({"event": event, "topic": self._topic, **fields})

    async def on_subscribing(self, ctx: Any) -> None:
        self._add("subscribing", {"code": ctx.code, "reason": ctx.reason})

    async def on_subscribed(self, ctx: Any) -> None:
        self._add("subscribed", _standing(ctx, self._read))

    async def on_unsubscribed(self, ctx: Any) -> None:
        self._add("unsubscribed", {"code": ctx.code, "reason": ctx.reason})

    async def on_publication(self, ctx: Any) -> None:
        self._add("publication", _news(ctx.pub, self._read))

    async def on_join(self, ctx: Any) -> None:
        self._add("join", {"info": _person(ctx.info, self._read)})

    async def on_leave(self, ctx: Any) -> None:
        self._add("leave", {"info": _person(ctx.info, self._read)})

    async def on_error(self, ctx: Any) -> None:
        self._add("subscription_error", {"code": ctx.code, "message": str(ctx.error)})

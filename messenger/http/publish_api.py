"""POST /api/publish, /api/history, /api/presence: for backends, with a key; off without one.

The shapes are Centrifugo's. Product topics are refused: their numbers belong to the product.
"""

import base64
import binascii
import hmac
from typing import Any

import msgspec
from msgspec import Raw, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from messenger.bus.link import BusDown
from messenger.feature import Refused
from messenger.gateway.topics import TOPIC_CHARS, Topics
from messenger.http.security import BodyRefusedError, read_body
from messenger.namespaces import Namespaces
from messenger.settings import NamespaceOptions
from messenger.wire.codes import ErrorCode
from messenger.wire.messages import NOTHING, StreamPosition, compact_json

JSON = "application/json"


class Publish(Struct, frozen=True):
    """One of `data` (JSON) and `b64data` (the same in base64) is required."""

    channel: str
    data: Raw = NOTHING
    b64data: str = ""
    skip_history: bool = False
    tags: dict[str, str] = {}
    idempotency_key: str = ""


class History(Struct, frozen=True):
    """As the command: limit 0 = position only, -1 = up to the server's limit."""

    channel: str
    limit: int = 0
    since: StreamPosition | None = None
    reverse: bool = False


class Presence(Struct, frozen=True):
    """The clients on a topic."""

    channel: str


class PublishApi:
    """The HTTP door to generic topics."""

    def __init__(self, topics: Topics, namespaces: Namespaces, key: str, *, insecure: bool) -> None:
        self._topics = topics
        self._namespaces = namespaces
        self._key = key
        self._insecure = insecure

    @property
    def routes(self) -> list[BaseRoute]:
        """None without a key: then the paths do not exist."""
        if not (self._key or self._insecure):
            return []
        return [
            Route("/api/publish", self.publish, methods=["POST"]),
            Route("/api/history", self.history, methods=["POST"]),
            Route("/api/presence", self.presence, methods=["POST"]),
        ]

    async def publish(self, request: Request) -> Response:
        return await self._serve(request, Publish, self._publish)

    async def history(self, request: Request) -> Response:
        return await self._serve(request, History, self._history)

    async def presence(self, request: Request) -> Response:
        return await self._serve(request, Presence, self._presence)

    async def _serve(self, request: Request, kind: type[Struct], answer: Any) -> Response:
        if not self._insecure and not self._has_key(request):
            return Response(status_code=401)
        try:
            body = await read_body(request)
            result = await answer(_decode(body, kind))
        except BodyRefusedError as refused:
            return Response(status_code=refused.status)
        except msgspec.DecodeError:
            return Response(status_code=400)
        except Refused as refused:
            return _error(refused.code, refused.message)
        except BusDown:
            return _error(ErrorCode.INTERNAL, ErrorCode.INTERNAL.message)  # as Centrifugo says it
        return Response(msgspec.json.encode({"result": result}), media_type=JSON)

    def _has_key(self, request: Request) -> bool:
        given = request.headers.get("x-api-key", "")
        authorization = request.headers.get("authorization", "")
        if authorization.startswith("apikey "):
            given = authorization.removeprefix("apikey ")
        given = given or request.query_params.get("api_key", "")
        return hmac.compare_digest(given.encode(), self._key.encode())

    def _options(self, topic: str) -> NamespaceOptions:
        if len(topic) > TOPIC_CHARS:
            raise Refused(ErrorCode.BAD_REQUEST, {"field": "channel", "why": "too long"})
        options = self._namespaces.of(topic)
        if options is None:
            raise Refused(ErrorCode.UNKNOWN_TOPIC)
        if options.is_product:
            raise Refused(ErrorCode.PERMISSION_DENIED)
        return options

    async def _publish(self, asked: Publish) -> dict[str, object]:
        options = self._options(asked.channel)
        epoch, offset = await self._topics.publish_to(
            asked.channel,
            options,
            _data(asked),
            tags=asked.tags,
            skip_history=asked.skip_history,
            idempotency=asked.idempotency_key or None,
        )
        return {"offset": offset, "epoch": epoch} if offset else {}

    async def _history(self, asked: History) -> Any:
        if not self._options(asked.channel).has_history:
            raise Refused(ErrorCode.NOT_AVAILABLE)
        return await self._topics.history_of(
            asked.channel, asked.limit, asked.since, reverse=asked.reverse
        )

    async def _presence(self, asked: Presence) -> dict[str, object]:
        if not self._options(asked.channel).presence:
            raise Refused(ErrorCode.NOT_AVAILABLE)
        return {"presence": await self._topics.presence_of(asked.channel)}


def _error(code: ErrorCode, message: str) -> Response:
    error = {"code": int(code), "message": message}
    return Response(msgspec.json.encode({"error": error}), media_type=JSON)


def _decode(body: bytes, kind: type[Struct]) -> Struct:
    try:
        asked: Struct = msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise Refused(ErrorCode.BAD_REQUEST, {"why": str(error)}) from None
    return asked


def _data(asked: Publish) -> bytes:
    data = bytes(asked.data)
    if asked.b64data:
        try:
            data = base64.b64decode(asked.b64data, validate=True)
        except binascii.Error:
            raise Refused(ErrorCode.BAD_REQUEST, {"field": "b64data"}) from None
    compact = compact_json(data) if data else None
    if compact is None:
        raise Refused(ErrorCode.BAD_REQUEST, {"field": "data", "why": "required, JSON"})
    return compact

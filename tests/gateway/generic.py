"""A node with generic topics, and the few words with which its tests speak."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from messenger.client.http import post
from messenger.sections import ApiSection, NamespaceOptions, TopicsSection
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from tests.support.line import Line
from tests.support.platform import Platform, running

KEY = "k" * 32
SUB_KEY = "s" * 32
API_KEY = "a" * 32
OPEN = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_client": True,
    "allow_presence_for_client": True,
    "allow_history_for_client": True,
}
ROOM = NamespaceOptions(
    history_size=400,
    history_ttl_s=60,
    presence=True,
    join_leave=True,
    force_push_join_leave=True,
    force_recovery=True,
    compaction=True,
    allow_user_limited_channels=True,
    **OPEN,
)
NS = {
    "room": ROOM,
    "live": NamespaceOptions(source="live", **OPEN),
    "shut": NamespaceOptions(),
    "short": msgspec.structs.replace(ROOM, join_leave=False, presence=False, history_size=5),
    "quiet": msgspec.structs.replace(ROOM, join_leave=False, presence=False),
}
names = itertools.count(1)


@asynccontextmanager
async def generic_node(settings: Settings, **changes: object) -> AsyncIterator[Platform]:
    client = msgspec.structs.replace(
        settings.client,
        token=msgspec.structs.replace(settings.client.token, hs256_secret=(KEY,)),
        sub_token=msgspec.structs.replace(settings.client.token, hs256_secret=(SUB_KEY,)),
        personal=(),
    )
    topics = TopicsSection(ns={**settings.topics.ns, **NS})
    async with running(
        settings,
        client=client,
        topics=topics,
        api=ApiSection(key=API_KEY),
        api_key=API_KEY,
        **changes,
    ) as platform:
        yield platform


def token(user: str = "u1", ttl_s: float | None = 3600, **more: Any) -> str:
    return ConnectionTokens([KEY]).sign(user, ttl_s, **more)


def a_topic(namespace: str = "quiet") -> str:
    return f"{namespace}:{next(names)}"


async def publish(line: Line, topic: str, *data: Any) -> None:
    for one in data:
        assert "error" not in await line.says(publish={"channel": topic, "data": one})


async def api(node: Platform, path: str, body: Any, key: str = API_KEY) -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    status, answer = await post(f"{node.url}/api/{path}", raw, {"X-API-Key": key})
    return status, json.loads(answer) if answer else None

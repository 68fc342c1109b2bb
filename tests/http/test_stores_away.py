"""HTTP while Redis is away: a refusal that says when to come back, never a bare 500."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import msgspec
import pytest

from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from tests.bus.redis_server import RedisServer
from tests.gateway.generic import API_KEY, KEY, generic_node
from tests.support.platform import Platform


@pytest.fixture(scope="module")
async def lonely(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Platform]:
    """A node whose Redis has died."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), cluster_enabled="no")
    await server.start()
    own = msgspec.structs.replace(settings, redis_url=server.url)
    try:
        async with generic_node(own) as platform:
            await server.kill()
            yield platform
    finally:
        await server.kill()


async def test_given_no_redis_when_a_device_calls_then_it_is_told_when_to_come_back(
    lonely: Platform,
) -> None:
    token = ConnectionTokens([KEY]).sign("5", 60, device=6)
    async with httpx.AsyncClient() as web:
        answer = await web.post(
            f"{lonely.url}/rpc/accounts.me", headers={"Authorization": f"Bearer {token}"}
        )

    assert answer.status_code == 200
    error = answer.json()["error"]
    assert (error["code"], error["temporary"]) == (1000, True)
    assert "retry_after_ms" in error["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("publish", {"channel": "quiet:1", "data": 1}),
        ("history", {"channel": "quiet:1", "limit": 5}),
        ("presence", {"channel": "room:1"}),
    ],
)
async def test_given_no_redis_when_a_backend_calls_then_error_100(
    lonely: Platform, path: str, body: Mapping[str, Any]
) -> None:
    async with httpx.AsyncClient() as web:
        answer = await web.post(
            f"{lonely.url}/api/{path}", json=body, headers={"X-API-Key": API_KEY}
        )

    assert (answer.status_code, answer.json()["error"]["code"]) == (200, 100)

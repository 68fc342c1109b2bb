"""POST /rpc/<method>, health and metrics: status codes, headers, and what the public port hides."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from tests.support.platform import Platform, running


@pytest.fixture(scope="module")
async def web() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def call(
    web: httpx.AsyncClient, platform: Platform, method: str, body: Any = None, **options: Any
) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    return await web.post(f"{platform.url}/rpc/{method}", content=content, **options)


async def test_given_a_token_when_an_rpc_is_posted_then_the_result(
    web: httpx.AsyncClient, platform: Platform
) -> None:
    mina = await platform.signs_up("مینا")

    answer = await call(web, platform, "accounts.me", headers=bearer(mina.token))

    assert answer.status_code == 200
    assert answer.json()["result"]["name"] == "مینا"


async def test_given_an_rpc_that_answers_after_the_commit_when_posted_then_its_result_comes(
    web: httpx.AsyncClient, platform: Platform
) -> None:
    mina = await platform.signs_up("mina")
    me = {"account": mina.account}
    chat = (await platform.post("chats.open_direct", me, mina.token))["chat"]["id"]
    send = {"chat": chat, "random_id": "5", "text": "to myself"}

    answer = await call(web, platform, "messages.send", send, headers=bearer(mina.token))

    assert answer.json()["result"]["seq"] == 1


@pytest.mark.parametrize(
    ("method", "headers", "status", "code"),
    [
        ("accounts.me", {}, 401, 101),
        ("accounts.me", bearer("rubbish"), 401, 101),
        ("accounts.me", {"Authorization": "Basic abc"}, 401, 101),
        ("no.such", {}, 404, 104),
        ("calls.invite", {}, 200, 1007),
        ("accounts.request_code", {}, 200, 107),
        ("system.hello", {}, 200, None),
    ],
)
async def test_given_a_call_when_it_may_not_be_then_status_and_code_say_why(
    web: httpx.AsyncClient,
    platform: Platform,
    method: str,
    headers: dict[str, str],
    status: int,
    code: int | None,
) -> None:
    answer = await call(web, platform, method, headers=headers)

    assert answer.status_code == status
    assert answer.json().get("error", {}).get("code") == code


async def test_given_an_expired_token_when_posted_then_401_with_109(
    web: httpx.AsyncClient, platform: Platform
) -> None:
    tokens = ConnectionTokens(platform.settings.client.token.keys)
    old = tokens.sign("5", -10, device=6)

    answer = await call(web, platform, "accounts.me", headers=bearer(old))

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, 109)


async def test_given_a_foreign_token_without_device_when_posted_then_401(
    web: httpx.AsyncClient, platform: Platform
) -> None:
    tokens = ConnectionTokens(platform.settings.client.token.keys)

    answer = await call(web, platform, "accounts.me", headers=bearer(tokens.sign("5", 60)))

    assert answer.status_code == 401


async def test_given_a_signed_out_device_when_posted_then_401(
    web: httpx.AsyncClient, platform: Platform
) -> None:
    mina = await platform.signs_up("leaving")
    await platform.post("accounts.sign_out", {}, mina.token)

    async with running(platform.settings) as another:  # this node remembers nothing of the device
        answer = await call(web, another, "accounts.me", headers=bearer(mina.token))

    assert answer.status_code == 401


async def test_given_a_body_beyond_its_bound_when_posted_then_413(
    web: httpx.AsyncClient, platform: Platform
) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b"x" * 8_192

    said = await call(web, platform, "system.hello", b"x" * 70_000)
    streamed = await web.post(f"{platform.url}/rpc/system.hello", content=chunks())

    assert (said.status_code, streamed.status_code) == (413, 413)


async def test_given_any_answer_when_it_leaves_then_it_carries_the_security_headers(
    web: httpx.AsyncClient, platform: Platform
) -> None:
    answer = await call(web, platform, "system.hello")

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


async def test_given_the_two_ports_when_asked_for_health_then_only_one_tells_details(
    web: httpx.AsyncClient, platform: Platform
) -> None:
    private = f"http://127.0.0.1:{platform.settings.ops_port}"

    assert (await web.get(f"{platform.url}/health/live")).status_code == 200
    assert (await web.get(f"{platform.url}/health/ready")).content == b""
    assert (await web.get(f"{platform.url}/metrics")).status_code == 404
    ready = await web.get(f"{private}/health/ready")
    metrics = await web.get(f"{private}/metrics")

    assert ready.json()["redis_bus"]["state"] == "up"
    assert "peyk_sessions" in metrics.text
    assert 'peyk_rpc_seconds_count{method="system.hello"}' in metrics.text


async def test_given_a_draining_node_when_asked_then_it_is_not_ready_and_takes_nobody(
    web: httpx.AsyncClient, settings: Settings
) -> None:
    async with running(settings) as leaving:
        leaving.node.gateway.go_away(0.0)

        ready = await web.get(f"{leaving.url}/health/ready")
        upgrade = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
            "Sec-WebSocket-Version": "13",
        }
        refused = await web.get(f"{leaving.url}/connection/websocket", headers=upgrade)

    assert (ready.status_code, refused.status_code) == (503, 503)
    assert 1 <= int(refused.headers["retry-after"]) <= 5


async def test_given_a_browser_of_another_origin_when_upgrading_then_403(
    web: httpx.AsyncClient, platform: Platform
) -> None:
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Version": "13",
        "Origin": "https://elsewhere.example",
    }

    refused = await web.get(f"{platform.url}/connection/websocket", headers=upgrade)

    assert refused.status_code == 403


async def test_given_a_full_node_when_somebody_comes_then_503_and_then_there_is_room_again(
    settings: Settings,
) -> None:
    async with running(settings, max_sessions=1) as small:
        first = await connect(small.ws_url)
        with pytest.raises(InvalidStatus) as refused:
            await connect(small.ws_url)
        assert refused.value.response.status_code == 503
        await first.close()
        async with asyncio.timeout(5):
            while small.node.gateway.sessions:  # noqa: ASYNC110 - a count, not an event
                await asyncio.sleep(0.01)
        await (await connect(small.ws_url)).close()

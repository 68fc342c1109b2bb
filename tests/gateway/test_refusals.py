"""What the protocol refuses, and with which code (A1 to A6, A9, A12)."""

import json
from pathlib import Path
from typing import Any

import pytest

from messenger.sections import ClientSection, NamespaceOptions, TopicsSection
from messenger.settings import Settings
from messenger.tokens import SubscriptionTokens
from tests.bus.redis_server import RedisServer
from tests.gateway.generic import SUB_KEY, a_topic, generic_node, publish, token
from tests.support.line import joined, opened
from tests.support.platform import Platform, running


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"subscribe": {"channel": "nowhere:1"}}, 102),
        ({"subscribe": {"channel": "plain"}}, 102),
        ({"publish": {"channel": "nowhere:1", "data": 1}}, 102),
        ({"subscribe": {"channel": "shut:1"}}, 103),
        ({"publish": {"channel": "shut:1", "data": 1}}, 103),
        ({"subscribe": {"channel": "$quiet:1"}}, 103),
        ({"subscribe": {"channel": "quiet:1", "token": "rubbish"}}, 103),
        ({"subscribe": {"channel": "room:1#u2,u3"}}, 103),
        ({"subscribe": {"channel": "user:1"}}, 103),
        ({"subscribe": {"channel": "chat:1"}}, 103),
        ({"publish": {"channel": "chat:1", "data": 1}}, 103),
        ({"subscribe": {"channel": ""}}, 107),
        ({"subscribe": {"channel": "quiet:" + "x" * 255}}, 107),
        ({"publish": {"channel": "quiet:1"}}, 107),
        ({"history": {"channel": "quiet:1", "limit": -2}}, 107),
        ({"subscribe": {"channel": "quiet:1", "type": 1}}, 108),
        ({"history": {"channel": "live:1"}}, 108),
        ({"presence": {"channel": "quiet:1"}}, 108),
        ({"ping": {}}, 108),
        ({"rpc": {"method": "no.such"}}, 104),
        ({"rpc": {"method": "accounts.me"}}, 101),
        ({"rpc": {"method": "calls.invite"}}, 1007),
    ],
)
async def test_given_a_command_that_may_not_be_when_sent_then_its_code_and_the_session_lives(
    node: Platform, command: dict[str, Any], code: int
) -> None:
    async with joined(node.ws_url, token("u1")) as line:
        reply = await line.says(**command)
        assert reply["error"]["code"] == code
        assert reply["error"]["message"]
        assert "rpc" in await line.says(rpc={"method": "system.hello"})


async def test_given_a_subscription_when_repeated_or_too_many_then_105_and_106(
    node: Platform,
) -> None:
    async with joined(node.ws_url, token()) as line:
        topics = [a_topic() for _ in range(100)]
        await line.says_all([{"subscribe": {"channel": topic}} for topic in topics])
        again = await line.says(subscribe={"channel": topics[0]})
        more = await line.says(subscribe={"channel": a_topic()})
        assert (again["error"]["code"], more["error"]["code"]) == (105, 106)


async def test_given_a_user_limited_topic_when_listed_then_it_opens(node: Platform) -> None:
    async with joined(node.ws_url, token("u2")) as line:
        assert "subscribe" in await line.says(subscribe={"channel": "room:9#u2,u3"})


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (json.dumps({"id": 1, "rpc": {"method": "system.hello"}}), 3501),
        ("", 3501),
        ("rubbish", 3501),
        ("{}\n\n{}", 3501),
        ('{"id":-1}', 3501),
        (b"\x00", 3501),
        ("{}\n" * 129, 3501),
        (json.dumps({"id": 1, "connect": {}}), 3501),
        (json.dumps({"id": 1, "connect": {"token": "rubbish"}}), 3500),
        (json.dumps({"id": 1, "connect": {"token": token()[:-4] + "AAAA"}}), 3500),
    ],
)
async def test_given_a_violation_before_connect_when_sent_then_the_close_code(
    node: Platform, frame: str | bytes, code: int
) -> None:
    async with opened(node.ws_url) as line:
        await line.socket.send(frame)
        closed, reason = await line.close_code()
        assert closed == code
        assert reason


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (json.dumps({"id": 2, "connect": {"token": token()}}), 3501),
        (json.dumps({"send": {"data": 1}}), 3508),
        ("{" * 60_000, 3501),
        (json.dumps({"id": 2, "refresh": {"token": token("somebody-else")}}), 3500),
    ],
)
async def test_given_a_violation_in_a_session_when_sent_then_the_close_code(
    node: Platform, frame: str, code: int
) -> None:
    async with joined(node.ws_url, token()) as line:
        await line.socket.send(frame)
        assert (await line.close_code())[0] == code


async def test_given_an_expired_token_when_connecting_then_109_and_a_new_try_is_free(
    node: Platform,
) -> None:
    async with opened(node.ws_url) as line:
        reply = await line.says(connect={"token": token(ttl_s=-5)})
        assert reply["error"]["code"] == 109
        assert "connect" in await line.says(connect={"token": token()})


async def test_given_a_refresh_when_the_user_is_the_same_then_the_life_is_longer(
    node: Platform,
) -> None:
    async with joined(node.ws_url, token(ttl_s=30)) as line:
        reply = await line.says(refresh={"token": token(ttl_s=300)})
        assert reply["refresh"]["expires"] is True
        assert 290 <= reply["refresh"]["ttl"] <= 300
        expired = await line.says(refresh={"token": token(ttl_s=-5)})
        assert expired["error"]["code"] == 109


async def test_given_a_subscription_token_when_it_fits_then_a_private_topic_opens(
    node: Platform,
) -> None:
    topic = "$quiet:secret"
    tokens = SubscriptionTokens([SUB_KEY])
    async with joined(node.ws_url, token("u1")) as line:
        good = tokens.sign("u1", topic, 60, info={"role": "x"})
        reply = await line.says(subscribe={"channel": topic, "token": good})
        assert reply["subscribe"]["expires"] is True
        await publish(line, topic, 1)
        [push] = await line.hears()
        assert push["pub"]["info"]["chan_info"] == {"role": "x"}
        renewed = await line.says(
            sub_refresh={"channel": topic, "token": tokens.sign("u1", topic, 90)}
        )
        assert renewed["sub_refresh"]["ttl"] > 80
        late = tokens.sign("u1", "$quiet:other", -5)
        assert (await line.says(subscribe={"channel": "$quiet:other", "token": late}))["error"][
            "code"
        ] == 109
        foreign = tokens.sign("u2", "$quiet:third", 60)
        await line.socket.send(
            json.dumps({"id": 99, "subscribe": {"channel": "$quiet:third", "token": foreign}})
        )
        assert (await line.close_code())[0] == 3500


async def test_given_short_timers_when_a_client_is_silent_then_pings_3012_and_3502(
    settings: Settings,
) -> None:
    client = ClientSection(insecure=True)
    async with running(settings, client=client, ping=1.0, pong=1.0, stale=1.0) as node:
        async with opened(node.ws_url) as mute:
            assert await mute.close_code() == (3502, "stale")
        async with joined(node.ws_url) as line:
            await line.hears_ping()
            await line.socket.send("{}")
            await line.hears_ping()
            assert await line.close_code() == (3012, "no pong")


async def test_given_the_insecure_profile_when_connecting_then_no_token_is_needed(
    settings: Settings,
) -> None:
    topics = TopicsSection(ns={**settings.topics.ns, "shut": NamespaceOptions()})
    async with (
        running(settings, client=ClientSection(insecure=True), topics=topics) as node,
        joined(node.ws_url) as line,
    ):
        assert "subscribe" in await line.says(subscribe={"channel": "shut:1"})
        await publish(line, "shut:1", {"x": 1})
        [push] = await line.hears()
        assert "offset" not in push["pub"]
        assert (await line.says(subscribe={"channel": "user:1"}))["error"]["code"] == 103


async def test_given_no_refresh_in_time_when_tokens_expire_then_2501_and_3005(
    settings: Settings,
) -> None:
    async with (
        generic_node(settings, expired_grace=1.0) as node,
        joined(node.ws_url, token(ttl_s=4)) as line,
    ):
        sub_token = SubscriptionTokens([SUB_KEY]).sign("u1", "$quiet:x", 2)
        subscribed = await line.says(subscribe={"channel": "$quiet:x", "token": sub_token})
        assert subscribed["subscribe"]["expires"] is True

        [push] = await line.hears()
        assert push["unsubscribe"] == {"code": 2501, "reason": "subscription expired"}
        assert await line.close_code() == (3005, "connection expired")


async def test_given_more_commands_than_allowed_when_they_come_then_3013(
    settings: Settings,
) -> None:
    async with (
        generic_node(settings, command_rate=2.0) as node,
        joined(node.ws_url, token()) as line,
    ):
        await line.says_all([{"rpc": {"method": "system.echo"}}] * 9)
        await line.socket.send(json.dumps({"id": 99, "rpc": {"method": "system.echo"}}))
        assert (await line.close_code())[0] == 3013


async def test_given_a_redis_that_hangs_when_a_topic_is_asked_for_then_it_is_to_be_tried_again(
    settings: Settings, tmp_path: Path
) -> None:
    redis = RedisServer(tmp_path / "redis", cluster_enabled="no")
    await redis.start()
    try:
        async with (
            generic_node(settings, redis_url=redis.url) as node,
            joined(node.ws_url, token("u1")) as line,
        ):
            redis.freeze()
            topic = {"channel": "quiet:1"}
            for command in ({"history": topic}, {"publish": {**topic, "data": 1}}):
                error = (await line.says(**command))["error"]
                assert (error["code"], error["temporary"]) == (111, True)
            redis.thaw()
            assert "rpc" in await line.says(rpc={"method": "system.hello"})
    finally:
        redis.thaw()
        await redis.kill()

"""Generic topics over a live node, by bare frames (protocol A2 to A12)."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from messenger.client.http import post
from messenger.sections import ApiSection, ClientSection, NamespaceOptions, TopicsSection
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens, SubscriptionTokens
from tests.support.line import Line, joined, opened
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


@pytest.fixture(scope="module")
async def node(settings: Settings) -> AsyncIterator[Platform]:
    client = msgspec.structs.replace(
        settings.client,
        token=msgspec.structs.replace(settings.client.token, hs256_secret=(KEY,)),
        sub_token=msgspec.structs.replace(settings.client.token, hs256_secret=(SUB_KEY,)),
        personal=(),
    )
    topics = TopicsSection(ns={**settings.topics.ns, **NS})
    async with running(
        settings, client=client, topics=topics, api=ApiSection(key=API_KEY), api_key=API_KEY
    ) as platform:
        yield platform


def token(user: str = "u1", ttl_s: float | None = 60, **more: Any) -> str:
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


async def test_given_two_sessions_when_one_publishes_then_both_hear_it_with_its_author(
    node: Platform,
) -> None:
    topic = a_topic()
    async with (
        joined(node.ws_url, token("mina", info={"n": 1})) as mina,
        joined(node.ws_url, token("reza")) as reza,
    ):
        for line in (mina, reza):
            reply = await line.says(subscribe={"channel": topic})
            assert reply["subscribe"]["recoverable"] is True
            assert reply["subscribe"].get("offset", 0) == 0
        await publish(mina, topic, {"text": "سلام"})

        for line in (mina, reza):
            [push] = await line.hears()
            assert push["channel"] == topic
            assert push["pub"]["data"] == {"text": "سلام"}
            assert push["pub"]["offset"] == 1
            assert push["pub"]["info"]["user"] == "mina"
            assert push["pub"]["info"]["conn_info"] == {"n": 1}


async def test_given_one_frame_with_everything_when_sent_then_it_is_done_in_order(
    node: Platform,
) -> None:
    topic = a_topic()
    async with opened(node.ws_url) as line:
        replies = await line.says_all(
            [
                {"connect": {"token": token()}},
                {"subscribe": {"channel": topic}},
                {"publish": {"channel": topic, "data": 1}},
                {"publish": {"channel": topic, "data": 2}},
                {"history": {"channel": topic, "limit": -1}},
                {"unsubscribe": {"channel": topic}},
            ]
        )
        history = replies[4]["history"]
        assert [one["data"] for one in history["publications"]] == [1, 2]
        assert history["offset"] == 2
        assert replies[5]["unsubscribe"] == {}


@pytest.mark.parametrize(("missed", "recovered"), [(0, True), (1, True), (300, True), (301, False)])
async def test_given_a_position_when_recovering_then_all_missed_come_or_it_says_no(
    node: Platform, missed: int, recovered: bool
) -> None:
    topic = a_topic()
    async with joined(node.ws_url, token()) as writer:
        await publish(writer, topic, 0)
        async with joined(node.ws_url, token()) as line:
            epoch = (await line.says(subscribe={"channel": topic}))["subscribe"]["epoch"]
        replies = await writer.says_all(
            [{"publish": {"channel": topic, "data": n}} for n in range(min(missed, 100))]
        )
        for start in range(100, missed, 100):
            count = min(100, missed - start)
            replies += await writer.says_all(
                [{"publish": {"channel": topic, "data": n}} for n in range(count)]
            )
        assert not [reply for reply in replies if "error" in reply]
        async with joined(node.ws_url, token()) as line:
            ask = {"channel": topic, "recover": True, "epoch": epoch, "offset": 1}
            result = (await line.says(subscribe=ask))["subscribe"]

    assert result["was_recovering"] is True
    assert result.get("recovered", False) is recovered
    offsets = [one["offset"] for one in result.get("publications", [])]
    assert offsets == (list(range(2, missed + 2)) if recovered else [])
    assert result["offset"] == (1 if recovered else missed + 1)


@pytest.mark.parametrize(
    ("epoch", "offset"), [("other", 1), (None, 9), ("_", 0)], ids=["epoch", "future", "invalidated"]
)
async def test_given_a_position_that_is_not_ours_when_recovering_then_not_recovered(
    node: Platform, epoch: str | None, offset: int
) -> None:
    topic = a_topic()
    async with joined(node.ws_url, token()) as line:
        await publish(line, topic, 1)
        known = (await line.says(history={"channel": topic}))["history"]["epoch"]
        ask = {"channel": topic, "recover": True, "epoch": epoch or known, "offset": offset}

        refused = await line.says(subscribe={**ask, "flag": 2})
        result = (await line.says(subscribe=ask))["subscribe"]

    assert refused["error"]["code"] == 112
    assert result.get("recovered", False) is False
    assert result["was_recovering"] is True
    assert result["offset"] == 1


async def test_given_a_trimmed_history_when_recovering_from_before_then_not_recovered(
    node: Platform,
) -> None:
    topic = a_topic("short")
    async with joined(node.ws_url, token()) as line:
        await publish(line, topic, *range(20))
        epoch = (await line.says(history={"channel": topic}))["history"]["epoch"]
        ask = {"channel": topic, "recover": True, "epoch": epoch, "offset": 2}
        assert not (await line.says(subscribe=ask))["subscribe"].get("recovered", False)


async def test_given_a_history_when_paged_then_both_directions_and_bounds_hold(
    node: Platform,
) -> None:
    topic = a_topic()
    async with joined(node.ws_url, token()) as line:
        await publish(line, topic, "a", "b", "c")

        async def page(**ask: Any) -> list[Any]:
            reply = await line.says(history={"channel": topic, **ask})
            return [one["data"] for one in reply["history"].get("publications", [])]

        assert await page() == []
        assert await page(limit=2) == ["a", "b"]
        assert await page(limit=2, since={"offset": 1}) == ["b", "c"]
        assert await page(limit=2, reverse=True) == ["c", "b"]
        assert await page(limit=9, since={"offset": 3}, reverse=True) == ["b", "a"]
        gone = await line.says(history={"channel": topic, "since": {"offset": 1, "epoch": "x"}})
        assert gone["error"]["code"] == 112


async def test_given_join_and_leave_when_sessions_come_and_go_then_others_are_told(
    node: Platform,
) -> None:
    topic = a_topic("room")
    async with joined(node.ws_url, token("mina")) as mina:
        await mina.says(subscribe={"channel": topic})
        assert (await mina.hears())[0]["join"]["info"]["user"] == "mina"
        async with joined(node.ws_url, token("reza")) as reza:
            await reza.says(subscribe={"channel": topic})
            assert (await mina.hears())[0]["join"]["info"]["user"] == "reza"
            present = (await mina.says(presence={"channel": topic}))["presence"]["presence"]
            assert sorted(info["user"] for info in present.values()) == ["mina", "reza"]
            stats = (await mina.says(presence_stats={"channel": topic}))["presence_stats"]
            assert stats == {"num_clients": 2, "num_users": 2}
        assert (await mina.hears())[0]["leave"]["info"]["user"] == "reza"
        stats = (await mina.says(presence_stats={"channel": topic}))["presence_stats"]
        assert stats == {"num_clients": 1, "num_users": 1}


async def test_given_compaction_when_subscribed_then_pushes_carry_the_number(
    node: Platform,
) -> None:
    topic = a_topic()
    async with joined(node.ws_url, token()) as line, joined(node.ws_url, token()) as plain:
        number = (await line.says(subscribe={"channel": topic, "flag": 1}))["subscribe"]["id"]
        await plain.says(subscribe={"channel": topic})
        await publish(plain, topic, 1)
        [push] = await line.hears()
        assert push["id"] == number
        assert "channel" not in push
        assert (await plain.hears())[0]["channel"] == topic


async def test_given_an_unsubscribe_when_done_then_nothing_more_comes(node: Platform) -> None:
    topic = a_topic()
    async with joined(node.ws_url, token()) as line, joined(node.ws_url, token()) as other:
        await line.says(subscribe={"channel": topic})
        await line.says(unsubscribe={"channel": topic})
        await publish(other, topic, 1)
        await line.says(rpc={"method": "system.echo", "data": {}})
        assert line.pushes == []
        assert "subscribe" in await line.says(subscribe={"channel": topic})


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


async def test_given_topics_in_the_token_when_connecting_then_they_are_server_side(
    node: Platform,
) -> None:
    topic = a_topic()
    async with opened(node.ws_url) as line:
        reply = await line.says(connect={"token": token(topics=[topic])})
        assert reply["connect"]["subs"][topic]["recoverable"] is True
        assert (await line.says(subscribe={"channel": topic}))["error"]["code"] == 105
        await publish(line, topic, "hi")
        assert (await line.hears())[0]["pub"]["data"] == "hi"
        epoch = reply["connect"]["subs"][topic]["epoch"]
    async with opened(node.ws_url) as line:
        asked = {topic: {"recover": True, "epoch": epoch}}
        reply = await line.says(connect={"token": token(topics=[topic]), "subs": asked})
        result = reply["connect"]["subs"][topic]
        assert (result["recovered"], result.get("offset", 0)) == (True, 0)
        assert [one["data"] for one in result["publications"]] == ["hi"]


async def test_given_many_writers_when_a_session_subscribes_amid_them_then_no_hole_no_repeat(
    node: Platform,
) -> None:
    topic = a_topic()
    async with joined(node.ws_url, token()) as writer, joined(node.ws_url, token()) as other:
        stop = asyncio.Event()

        async def write(line: Line) -> None:
            while not stop.is_set():
                await publish(line, topic, 1)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(write(writer))
            tasks.create_task(write(other))
            for _ in range(10):
                async with joined(node.ws_url, token()) as line:
                    result = (await line.says(subscribe={"channel": topic}))["subscribe"]
                    start = result.get("offset", 0)
                    pushes = await line.hears(20)
                    offsets = [push["pub"]["offset"] for push in pushes]
                    assert offsets == list(range(start + 1, start + 21))
            stop.set()


async def test_given_the_publish_api_when_called_then_the_shapes_of_the_protocol(
    node: Platform,
) -> None:
    topic = a_topic()
    async with joined(node.ws_url, token()) as line:
        await line.says(subscribe={"channel": topic})
        body = {"channel": topic, "data": {"a": 1}, "tags": {"k": "v"}, "idempotency_key": "i1"}
        first = await api(node, "publish", body)
        again = await api(node, "publish", body)
        assert first == again
        assert first[0] == 200
        assert first[1]["result"]["offset"] == 1
        [push] = await line.hears()
        assert push["pub"]["tags"] == {"k": "v"}
        status, history = await api(node, "history", {"channel": topic, "limit": -1})
        assert [one["data"] for one in history["result"]["publications"]] == [{"a": 1}]
        b64 = await api(node, "publish", {"channel": topic, "b64data": "eyJiIjoyfQ=="})
        assert b64[1]["result"]["offset"] == 2
        skipped = await api(node, "publish", {"channel": topic, "data": 1, "skip_history": True})
        assert skipped[1] == {"result": {}}


@pytest.mark.parametrize(
    ("path", "body", "key", "status", "code"),
    [
        ("publish", {"channel": "quiet:1", "data": 1}, "wrong", 401, None),
        ("publish", b"not json", API_KEY, 400, None),
        ("publish", {"data": 1}, API_KEY, 200, 107),
        ("publish", {"channel": "quiet:1"}, API_KEY, 200, 107),
        ("publish", {"channel": "quiet:1", "b64data": "%%"}, API_KEY, 200, 107),
        ("publish", {"channel": "nowhere:1", "data": 1}, API_KEY, 200, 102),
        ("publish", {"channel": "user:1", "data": 1}, API_KEY, 200, 103),
        ("history", {"channel": "live:1"}, API_KEY, 200, 108),
        ("presence", {"channel": "quiet:1"}, API_KEY, 200, 108),
        ("publish", b'{"data":"' + b"x" * 70_000 + b'"}', API_KEY, 413, None),
    ],
)
async def test_given_a_bad_call_of_the_api_when_made_then_the_answer_says_what(
    node: Platform, path: str, body: Any, key: str, status: int, code: int | None
) -> None:
    answer = await api(node, path, body, key)
    assert answer[0] == status
    if code is not None:
        assert answer[1]["error"]["code"] == code


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

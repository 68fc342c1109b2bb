"""Generic topics over a live node, by bare frames: order, recovery, history (A7 to A10)."""

import asyncio
from typing import Any

import pytest

from tests.gateway.generic import a_topic, publish, token
from tests.support.line import Line, joined, opened
from tests.support.platform import Platform


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
    node: Platform,
    missed: int,
    recovered: bool,  # noqa: FBT001 - a case of the table
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

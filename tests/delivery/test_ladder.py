"""A node on the top of its ladder: what it refuses or drops, and that sends still pass."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from messenger.client.errors import RpcError
from messenger.delivery.shedding import TOP, UP_S
from messenger.feature import Shed
from messenger.sections import NamespaceOptions, TopicsSection
from messenger.settings import Settings
from messenger.wire.codes import ErrorCode
from tests.support.line import Line, joined
from tests.support.platform import Platform, SignedIn, a_phone, running

ROOM = NamespaceOptions(
    history_size=10,
    history_ttl_s=60,
    allow_subscribe_for_client=True,
    allow_publish_for_subscriber=True,
    allow_history_for_subscriber=True,
    allow_presence_for_subscriber=True,
    presence=True,
    join_leave=True,
)


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Platform]:
    topics = TopicsSection(ns={"room": ROOM, **settings.topics.ns})
    async with running(settings, topics=topics) as platform:
        yield platform


@pytest.fixture
async def mina(node: Platform) -> SignedIn:
    return await node.signs_up("Mina")


@pytest.fixture
async def reza(node: Platform) -> SignedIn:
    return await node.signs_up("Reza")


@pytest.fixture
async def chat(node: Platform, mina: SignedIn, reza: SignedIn) -> str:
    opened = await node.post("chats.open_direct", {"account": reza.account}, mina.token)
    return str(opened["chat"]["id"])


def counted(node: Platform, what: Shed) -> int:
    return node.node.metrics.shed.labels(what.name.lower()).value


async def kinds_until(line: Line, last: str) -> list[str]:
    """The kinds of the updates up to the first one of `last`."""
    kinds: list[str] = []
    while last not in kinds:
        [push] = await line.hears(1)
        kinds.append(push["pub"]["data"]["t"])
    return kinds


async def sends(node: Platform, who: SignedIn, chat: str, random_id: str) -> int:
    message = {"chat": chat, "random_id": random_id, "text": "salaam"}
    return int((await node.post("messages.send", message, who.token))["seq"])


async def test_given_the_top_of_the_ladder_when_people_talk_then_only_sends_and_sync_pass(
    node: Platform, mina: SignedIn, reza: SignedIn, chat: str
) -> None:
    asked: list[tuple[str, dict[str, Any], str | None]] = [
        ("accounts.presence", {"ids": [reza.account]}, mina.token),
        ("accounts.watch", {"ids": [reza.account]}, mina.token),
        ("messages.history", {"chat": chat}, mina.token),
        ("messages.search", {"chat": chat, "q": "salaam"}, mina.token),
        ("messages.readers", {"chat": chat, "seq": 1}, mina.token),
        ("accounts.request_code", {"phone": a_phone()}, None),
    ]
    node.node.ladder.hold(TOP)

    for method, data, token in asked:
        with pytest.raises(RpcError) as refused:
            await node.post(method, data, token)
        assert (refused.value.code, refused.value.temporary) == (ErrorCode.OVERLOADED, True)
        assert 5_000 <= refused.value.details["retry_after_ms"] <= 15_000

    async with joined(node.ws_url, reza.token) as line:
        assert await sends(node, mina, chat, "7") == 1
        assert await kinds_until(line, "message.new")
    difference = {"aev": 0, "chats": [[chat, 1, 0]]}
    assert (await node.post("sync.difference", difference, reza.token))["chats"][0]["to"] == 1
    assert [counted(node, what) for what in (Shed.HISTORY, Shed.SIGN_INS)] == [3, 1]


async def test_given_a_shed_rung_when_somebody_types_or_reads_then_nobody_is_told_and_it_counts(
    node: Platform, mina: SignedIn, reza: SignedIn, chat: str
) -> None:
    await sends(node, mina, chat, "7")
    typing = {"chat": chat, "kind": "text"}
    read = {"cursors": [{"chat": chat, "seq": 1}]}
    async with joined(node.ws_url, mina.token) as line:
        node.node.ladder.hold(Shed.RECEIPTS)
        assert await node.post("messages.typing", typing, reza.token) == {}
        moved = await node.post("messages.read", read, reza.token)
        node.node.ladder.hold(None)
        await sends(node, reza, chat, "8")
        heard = await kinds_until(line, "message.new")

    assert moved["aev"] > 0  # the reader's own cursor is the truth of unread: never shed
    assert not {"typing", "receipt"} & set(heard)
    assert counted(node, Shed.TYPING) == 1
    assert counted(node, Shed.RECEIPTS) == 1
    assert counted(node, Shed.HISTORY) == 0


async def test_given_a_shed_rung_when_a_read_moves_nothing_then_nothing_counts_as_dropped(
    node: Platform, mina: SignedIn, reza: SignedIn, chat: str
) -> None:
    await sends(node, mina, chat, "7")
    read = {"cursors": [{"chat": chat, "seq": 1}]}
    await node.post("messages.read", read, reza.token)
    node.node.ladder.hold(Shed.RECEIPTS)
    await node.post("messages.read", read, reza.token)

    assert counted(node, Shed.RECEIPTS) == 0


async def test_given_a_shed_rung_when_a_topic_is_asked_then_111_and_publishing_goes_on(
    node: Platform, mina: SignedIn, reza: SignedIn
) -> None:
    async with joined(node.ws_url, mina.token) as line, joined(node.ws_url, reza.token) as other:
        await line.says(subscribe={"channel": "room:shed", "join_leave": True})
        await line.hears(1)  # its own join
        node.node.ladder.hold(Shed.HISTORY)
        await other.says(subscribe={"channel": "room:shed"})

        for command in ("history", "presence", "presence_stats"):
            asked = {"channel": "room:shed"} | ({"limit": 1} if command == "history" else {})
            reply = await line.says(**{command: asked})
            error = {"code": 111, "message": "too many requests", "temporary": True}
            assert reply["error"] == error
        position = await line.says(history={"channel": "room:shed"})
        assert "history" in position
        await other.says(publish={"channel": "room:shed", "data": {"n": 1}})
        [push] = await line.hears(1)
    assert push["pub"]["data"] == {"n": 1}  # and no join of the other before it
    assert counted(node, Shed.PRESENCE) >= 3


async def test_given_pressure_when_sampled_then_the_ladder_climbs_and_says_so_in_metric_and_log(
    node: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    ladder = node.node.ladder
    now = 1_000_000.0  # past anything the node's own samples say
    with caplog.at_level(logging.WARNING, "messenger.delivery.ladder"):
        for _ in range(60):  # one turn of the loop: no sample of its own comes between
            now += UP_S / 10
            ladder.observe(1.0, now)
    assert ladder.step == 5
    assert not ladder.sheds(Shed.SIGN_INS)
    assert node.node.metrics.registry.get_sample_value("peyk_ladder_step") == 5
    told = [record for record in caplog.records if record.message == "shedding changed"]
    assert [record.__dict__["step"] for record in told] == [1, 2, 3, 4, 5]
    assert told[1].__dict__["sheds"] == ["presence", "typing"]

"""Short ids in place of topic names, for SDKs that ask for them and understand them.

centrifuge-js 5.8.0 over Protobuf asks, but compares the 64-bit objects it decodes ids to by
identity and would drop every push; the server goes on calling topics by name for it.
"""

import secrets

import pytest

from messenger.client.link import compacted
from messenger.client.websocket import Client
from messenger.tokens import ConnectionTokens
from messenger.wire.messages import SubscribeRequest
from tests.conformance.publisher import Publisher
from tests.conformance.sdk import Sdk
from tests.support.platform import Platform


@pytest.fixture(params=["js-json", "js-protobuf", "python-json", "python-protobuf"])
def sdk_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def topic() -> str:
    return f"packed:{secrets.token_hex(6)}"


async def test_given_a_topic_with_an_id_when_things_happen_there_then_the_sdk_finds_its_name(
    mina: Sdk, reza: Sdk, publisher: Publisher, topic: str
) -> None:
    await mina.subscribe(topic)
    await mina.events.sees("join", topic=topic)

    await reza.subscribe(topic)
    await publisher.publish(topic, "short")
    await reza.events.sees("publication", topic=topic)
    await reza.unsubscribe(topic)

    assert (await mina.events.sees("join", topic=topic))["info"]["user"] == "reza"
    assert (await mina.events.sees("publication", topic=topic))["data"] == "short"
    assert (await mina.events.sees("leave", topic=topic))["info"]["user"] == "reza"


async def test_given_a_topic_with_an_id_when_the_socket_is_cut_then_recovery_goes_by_name(
    mina: Sdk, publisher: Publisher, topic: str
) -> None:
    await mina.subscribe(topic)
    await mina.events.sees("subscribed", topic=topic)

    await mina.cut()
    await publisher.publish(topic, "missed")
    await mina.events.sees("subscribed", topic=topic)
    await publisher.publish(topic, "live")

    heard = [await mina.events.sees("publication", topic=topic) for _ in range(2)]
    assert [event["data"] for event in heard] == ["missed", "live"]


@pytest.mark.parametrize("binary", [False, True])
async def test_given_a_client_that_asks_for_ids_when_it_subscribes_then_pushes_carry_them(
    hub: Platform, tokens: ConnectionTokens, publisher: Publisher, topic: str, *, binary: bool
) -> None:
    client = await Client.connect(hub.ws_url, tokens.sign("mina", 3600), binary=binary)
    try:
        plain = await client.subscribe(f"{topic}-plain")
        packed = await client.subscribe(topic, request=compacted(SubscribeRequest(topic)))

        assert plain.id == 0
        assert packed.id > 0
    finally:
        await client.close()

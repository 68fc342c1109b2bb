"""Lost connections and lost streams: what the released SDKs get back."""

import secrets

import redis.asyncio

from messenger.bus.keys import meta_key, topic_key
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from tests.conformance.publisher import Publisher
from tests.conformance.sdk import Sdk
from tests.support.platform import Platform


async def test_given_a_cut_socket_when_the_sdk_is_back_then_it_gets_what_it_missed_in_order(
    mina: Sdk, publisher: Publisher, topic: str
) -> None:
    await mina.subscribe(topic)
    await mina.events.sees("subscribed", topic=topic)
    await publisher.publish(topic, "before")
    await mina.events.sees("publication", topic=topic)

    await mina.cut()
    for number in range(20):
        await publisher.publish(topic, number)

    await mina.events.sees("connected")
    back = await mina.events.sees("subscribed", topic=topic)
    assert (back["was_recovering"], back["recovered"]) == (True, True)
    heard = [await mina.events.sees("publication", topic=topic) for _ in range(20)]
    assert [(event["data"], event["offset"]) for event in heard] == [
        (number, number + 2) for number in range(20)
    ]
    assert mina.events.saw_nothing_of("publication", topic=topic)


async def test_given_more_missed_than_kept_when_the_sdk_is_back_then_it_is_told(
    mina: Sdk, publisher: Publisher
) -> None:
    topic = f"short:{secrets.token_hex(6)}"
    await mina.subscribe(topic)
    await mina.events.sees("subscribed", topic=topic)
    await publisher.publish(topic, "seen")
    await mina.events.sees("publication", topic=topic)
    await mina.disconnect()
    await mina.events.sees("disconnected")
    for number in range(5):
        await publisher.publish(topic, number)

    await mina.connect()

    back = await mina.events.sees("subscribed", topic=topic)
    assert (back["was_recovering"], back["recovered"]) == (True, False)
    await publisher.publish(topic, "live again")
    assert (await mina.events.sees("publication", topic=topic))["data"] == "live again"


async def test_given_a_stream_that_began_anew_when_the_sdk_is_back_then_it_is_told(
    mina: Sdk, publisher: Publisher, settings: Settings, topic: str
) -> None:
    await mina.subscribe(topic)
    first = await mina.events.sees("subscribed", topic=topic)
    await publisher.publish(topic, "old life")
    await mina.events.sees("publication", topic=topic)
    await mina.disconnect()
    await mina.events.sees("disconnected")
    await lose(settings, topic)
    await publisher.publish(topic, "new life")

    await mina.connect()

    back = await mina.events.sees("subscribed", topic=topic)
    assert (back["was_recovering"], back["recovered"]) == (True, False)
    assert back["epoch"] != first["epoch"]


async def test_given_a_personal_topic_when_the_socket_is_cut_then_it_recovers_by_itself(
    sdk: Sdk, hub: Platform, tokens: ConnectionTokens, publisher: Publisher
) -> None:
    user = f"u{secrets.token_hex(4)}"
    topic = f"mine:{user}"
    await sdk.open(hub.ws_url, tokens.sign(user, 3600))
    await sdk.connect()
    await sdk.events.sees("server_subscribed", topic=topic)
    await publisher.publish(topic, 1)
    await sdk.events.sees("server_publication", topic=topic)

    await sdk.cut()
    for number in (2, 3, 4):
        await publisher.publish(topic, number)

    back = await sdk.events.sees("server_subscribed", topic=topic)
    assert (back["was_recovering"], back["recovered"]) == (True, True)
    heard = [await sdk.events.sees("server_publication", topic=topic) for _ in range(3)]
    assert [event["data"] for event in heard] == [2, 3, 4]


async def test_given_recovery_on_demand_when_asked_for_then_it_works_like_the_forced_one(
    mina: Sdk, publisher: Publisher
) -> None:
    topic = f"asked:{secrets.token_hex(6)}"
    await mina.subscribe(topic, recoverable=True, positioned=True)
    subscribed = await mina.events.sees("subscribed", topic=topic)
    assert (subscribed["recoverable"], subscribed["positioned"]) == (True, True)

    await mina.cut()
    await publisher.publish(topic, "missed")

    assert (await mina.events.sees("subscribed", topic=topic))["recovered"]
    assert (await mina.events.sees("publication", topic=topic))["data"] == "missed"


async def lose(settings: Settings, topic: str) -> None:
    """What a restarted Redis has forgotten."""
    assert settings.redis_url is not None
    async with redis.asyncio.from_url(settings.redis_url) as store:
        assert await store.delete(topic_key(topic), meta_key(topic_key(topic)))

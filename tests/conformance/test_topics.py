"""Subscribe, publish, history, presence, join and leave through the released SDKs."""

import secrets
import time

import pytest

from messenger.tokens import SubscriptionTokens
from tests.conformance.publisher import Publisher
from tests.conformance.sdk import Sdk, SdkError


async def test_given_two_subscribers_when_one_publishes_then_both_receive_it_with_its_author(
    mina: Sdk, reza: Sdk, topic: str
) -> None:
    for sdk in (mina, reza):
        await sdk.subscribe(topic)
        await sdk.events.sees("subscribed", topic=topic)

    await mina.publish(topic, {"text": "سلام\n"})

    for sdk in (mina, reza):
        heard = await sdk.events.sees("publication", topic=topic)
        assert (heard["data"], heard["offset"]) == ({"text": "سلام\n"}, 1)
        assert heard["info"]["user"] == "mina"


async def test_given_a_subscriber_when_a_server_publishes_then_data_and_tags_arrive(
    mina: Sdk, publisher: Publisher, topic: str
) -> None:
    await mina.subscribe(topic)
    subscribed = await mina.events.sees("subscribed", topic=topic)

    position = await publisher.publish(topic, [1, {"a": None}], tags={"lang": "fa"})

    heard = await mina.events.sees("publication", topic=topic)
    assert (heard["data"], heard["tags"]) == ([1, {"a": None}], {"lang": "fa"})
    assert position == {"offset": heard["offset"], "epoch": subscribed["epoch"]}


async def test_given_a_topic_without_history_when_somebody_publishes_then_there_is_no_offset(
    mina: Sdk,
) -> None:
    topic = f"live:{secrets.token_hex(6)}"
    await mina.subscribe(topic)
    subscribed = await mina.events.sees("subscribed", topic=topic)

    await mina.publish(topic, "hello")

    heard = await mina.events.sees("publication", topic=topic)
    assert heard["data"] == "hello"
    assert not heard.get("offset")
    assert not subscribed["recoverable"]


async def test_given_publications_when_history_is_read_then_pages_and_order_are_as_asked(
    mina: Sdk, publisher: Publisher, topic: str
) -> None:
    await mina.subscribe(topic)
    subscribed = await mina.events.sees("subscribed", topic=topic)
    for number in range(1, 6):
        await publisher.publish(topic, number)
    epoch = subscribed["epoch"]

    everything = await mina.history(topic, -1)
    position = await mina.history(topic, 0)
    after_two = await mina.history(topic, 2, {"offset": 2, "epoch": epoch})
    newest = await mina.history(topic, 2, reverse=True)

    assert [p["data"] for p in everything["publications"]] == [1, 2, 3, 4, 5]
    assert (position["publications"], position["offset"], position["epoch"]) == ([], 5, epoch)
    assert [p["offset"] for p in after_two["publications"]] == [3, 4]
    assert [p["offset"] for p in newest["publications"]] == [5, 4]


async def test_given_a_position_of_another_epoch_when_history_is_read_then_it_is_unrecoverable(
    mina: Sdk, publisher: Publisher, topic: str
) -> None:
    await mina.subscribe(topic)
    await mina.events.sees("subscribed", topic=topic)
    await publisher.publish(topic, 1)

    with pytest.raises(SdkError) as refused:
        await mina.history(topic, 10, {"offset": 0, "epoch": "another"})

    assert refused.value.code == 112


async def test_given_two_subscribers_when_one_asks_who_is_there_then_both_are_listed(
    mina: Sdk, reza: Sdk, topic: str
) -> None:
    for sdk in (mina, reza):
        await sdk.subscribe(topic)
        await sdk.events.sees("subscribed", topic=topic)

    present = await mina.presence(topic)
    stats = await mina.presence_stats(topic)

    assert sorted(info["user"] for info in present.values()) == ["mina", "reza"]
    assert all(info["client"] == client for client, info in present.items())
    assert stats == {"num_clients": 2, "num_users": 2}


async def test_given_a_subscriber_when_others_come_and_go_then_it_is_told(
    mina: Sdk, reza: Sdk, topic: str
) -> None:
    await mina.subscribe(topic)
    await mina.events.sees("join", topic=topic)

    await reza.subscribe(topic)
    joined = await mina.events.sees("join", topic=topic)
    await reza.unsubscribe(topic)
    left = await mina.events.sees("leave", topic=topic)

    assert joined["info"]["user"] == left["info"]["user"] == "reza"


async def test_given_a_namespace_that_pushes_joins_on_demand_when_not_asked_then_none_come(
    mina: Sdk, reza: Sdk
) -> None:
    topic = f"asked:{secrets.token_hex(6)}"
    await mina.subscribe(topic, join_leave=True)
    await mina.events.sees("join", topic=topic)

    await reza.subscribe(topic)

    assert (await mina.events.sees("join", topic=topic))["info"]["user"] == "reza"
    await reza.publish(topic, "last")
    await reza.events.sees("publication", topic=topic)
    assert reza.events.saw_nothing_of("join", topic=topic)


async def test_given_an_unsubscribed_sdk_when_others_publish_then_it_hears_nothing_more(
    mina: Sdk, publisher: Publisher, topic: str
) -> None:
    await mina.subscribe(topic)
    await mina.events.sees("subscribed", topic=topic)
    await mina.unsubscribe(topic)
    await mina.events.sees("unsubscribed", topic=topic)

    await publisher.publish(topic, "unheard")

    assert await mina.rpc("system.echo", {"data": 1}) == {"data": 1}
    assert mina.events.saw_nothing_of("publication", topic=topic)


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        ("closed:1", 103),
        ("nowhere:1", 102),
        ("no-namespace", 102),
        ("room:pair#ali,reza", 103),
        ("$room:secret", 103),
        ("user:mina", 103),
        ("chat:1", 103),
    ],
)
async def test_given_a_topic_one_may_not_hear_when_subscribed_then_the_sdk_gives_up(
    mina: Sdk, topic: str, code: int
) -> None:
    await mina.subscribe(topic)

    refused = await mina.events.sees("unsubscribed", topic=topic)
    assert refused["code"] == code


async def test_given_a_topic_for_named_users_when_one_of_them_subscribes_then_it_is_let_in(
    mina: Sdk,
) -> None:
    topic = f"room:{secrets.token_hex(4)}#ali,mina"

    await mina.subscribe(topic)

    assert (await mina.events.sees("subscribed", topic=topic))["recoverable"]


async def test_given_a_subscription_token_when_an_sdk_subscribes_then_a_closed_topic_opens(
    mina: Sdk, publisher: Publisher, topic_tokens: SubscriptionTokens
) -> None:
    topic = f"$room:{secrets.token_hex(4)}"

    await mina.subscribe(topic, token=topic_tokens.sign("mina", topic, 3600))

    await mina.events.sees("subscribed", topic=topic)
    await publisher.publish(topic, "for few")
    assert (await mina.events.sees("publication", topic=topic))["data"] == "for few"


async def test_given_an_expired_subscription_token_when_an_sdk_subscribes_then_it_gets_another(
    mina: Sdk, topic_tokens: SubscriptionTokens
) -> None:
    topic = f"$room:{secrets.token_hex(4)}"
    await mina.offer(topic_tokens.sign("mina", topic, 3600))

    await mina.subscribe(topic, token=topic_tokens.sign("mina", topic, -60), with_get_token=True)

    await mina.events.sees("subscribed", topic=topic)


async def test_given_a_subscription_that_ends_soon_when_refreshed_then_it_goes_on(
    mina: Sdk, topic_tokens: SubscriptionTokens
) -> None:
    topic = f"$room:{secrets.token_hex(4)}"
    await mina.offer(topic_tokens.sign("mina", topic, 3600))

    ending = topic_tokens.sign("mina", topic, 3600, expire_at=time.time() + 1)
    await mina.subscribe(topic, token=ending, with_get_token=True)
    await mina.events.sees("token_asked")

    await mina.publish(topic, "still here")
    await mina.events.sees("publication", topic=topic)
    for ending in ("unsubscribed", "subscription_error"):
        assert mina.events.saw_nothing_of(ending, topic=topic)


async def test_given_a_token_for_another_topic_when_an_sdk_subscribes_then_it_is_cut_off(
    mina: Sdk, topic_tokens: SubscriptionTokens
) -> None:
    await mina.subscribe("$room:one", token=topic_tokens.sign("mina", "$room:two", 3600))

    assert (await mina.events.sees("disconnected"))["code"] == 3500


async def test_given_a_foreign_signature_when_an_sdk_subscribes_then_only_the_topic_is_lost(
    mina: Sdk,
) -> None:
    foreign = SubscriptionTokens(["somebody-elses-secret-of-32-chars!"])

    await mina.subscribe("$room:one", token=foreign.sign("mina", "$room:one", 3600))

    assert (await mina.events.sees("unsubscribed", topic="$room:one"))["code"] == 103
    assert await mina.rpc("system.echo", {"data": 1}) == {"data": 1}


async def test_given_rights_of_subscribers_only_when_a_stranger_acts_then_it_is_refused(
    mina: Sdk, topic: str
) -> None:
    for act in (
        lambda: mina.publish(topic, 1),
        lambda: mina.presence(topic),
        lambda: mina.history(topic, 1),
    ):
        with pytest.raises(SdkError) as refused:
            await act()
        assert refused.value.code == 103


async def test_given_a_feature_that_is_off_when_an_sdk_uses_it_then_it_is_not_available(
    mina: Sdk,
) -> None:
    topic = f"live:{secrets.token_hex(6)}"
    await mina.subscribe(topic)
    await mina.events.sees("subscribed", topic=topic)

    for act in (lambda: mina.presence(topic), lambda: mina.history(topic, 1)):
        with pytest.raises(SdkError) as refused:
            await act()
        assert refused.value.code == 108

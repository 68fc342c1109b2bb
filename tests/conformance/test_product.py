"""Devices of the product behind the released SDKs: sign-in, final closes, refresh over HTTP."""

from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from messenger.bus.keys import topic_key
from messenger.settings import Settings
from tests.conformance.sdk import Sdk
from tests.support.platform import Platform, SignedIn

NewSdk = Callable[[], Awaitable[Sdk]]


@pytest.fixture
async def mina(platform: Platform) -> SignedIn:
    return await platform.signs_up("Mina")


@pytest.fixture
async def phone(sdk: Sdk, platform: Platform, mina: SignedIn) -> Sdk:
    """Mina's first device, connected."""
    await sdk.open(platform.ws_url, mina.token)
    await sdk.connect()
    await sdk.events.sees("connected")
    return sdk


async def test_given_a_product_token_when_an_sdk_connects_then_it_learns_who_it_is(
    sdk: Sdk, platform: Platform, mina: SignedIn
) -> None:
    await sdk.open(platform.ws_url, mina.token)

    await sdk.connect()

    data = (await sdk.events.sees("connected"))["data"]
    assert (data["account"], data["device"]) == (mina.account, mina.device)
    topics = [await sdk.events.sees("server_subscribed") for _ in range(2)]
    assert {t["topic"]: t["recoverable"] for t in topics} == {
        f"user:{mina.account}": True,
        f"eph:{mina.account}": False,
    }
    assert (await sdk.rpc("accounts.me", {}))["name"] == "Mina"


async def test_given_a_device_when_another_one_revokes_it_then_it_is_cut_off_for_good(
    phone: Sdk, platform: Platform, mina: SignedIn
) -> None:
    other = await platform.signs_up("Mina", mina.phone)

    await platform.post("accounts.revoke_session", {"device_id": mina.device}, other.token)

    closed = await phone.events.sees("disconnected")
    assert (closed["code"], closed["reason"]) == (4501, "device revoked")


async def test_given_a_revoked_device_when_it_comes_back_then_it_is_turned_away(
    sdk: Sdk, platform: Platform, mina: SignedIn
) -> None:
    other = await platform.signs_up("Mina", mina.phone)
    await platform.post("accounts.revoke_session", {"device_id": mina.device}, other.token)
    await sdk.open(platform.ws_url, mina.token)

    await sdk.connect()

    assert (await sdk.events.sees("disconnected"))["code"] == 4501


async def test_given_a_device_when_it_connects_twice_then_the_older_connection_gives_way(
    phone: Sdk, new_sdk: NewSdk, platform: Platform, mina: SignedIn
) -> None:
    phone.events.forget()
    second = await new_sdk()
    await second.open(platform.ws_url, mina.token)

    await second.connect()

    assert (await phone.events.sees("connecting"))["code"] == 4001
    await second.events.sees("connected")
    await phone.disconnect()  # else the two would replace each other for ever
    await second.disconnect()


async def test_given_a_personal_topic_when_the_client_subscribes_to_it_then_it_is_known_already(
    phone: Sdk, mina: SignedIn
) -> None:
    topic = f"user:{mina.account}"

    await phone.subscribe(topic)

    assert (await phone.events.sees("unsubscribed", topic=topic))["code"] == 105


async def test_given_somebody_elses_topics_when_an_sdk_subscribes_then_it_is_refused(
    phone: Sdk,
) -> None:
    for topic in ("user:71", "eph:71", "chat:71"):
        await phone.subscribe(topic)

        assert (await phone.events.sees("unsubscribed", topic=topic))["code"] == 103


async def test_given_an_invalidated_state_when_told_then_the_sdk_starts_anew_with_a_new_token(
    sdk: Sdk, platform: Platform, mina: SignedIn, settings: Settings
) -> None:
    await sdk.open(platform.ws_url, mina.token, with_get_token=True)
    await sdk.offer(mina.token)
    await sdk.connect()
    await sdk.events.sees("server_subscribed", topic=f"user:{mina.account}")

    await order(settings, mina.account, "x close 0 3014")

    assert (await sdk.events.sees("connecting", code=3014))["reason"] == "state invalidated"
    await sdk.events.sees("token_asked")
    again = await sdk.events.sees("server_subscribed", topic=f"user:{mina.account}")
    assert (again["was_recovering"], again["recovered"]) == (True, False)


async def test_given_a_ban_when_told_then_the_sdk_stays_away(
    phone: Sdk, mina: SignedIn, settings: Settings
) -> None:
    await order(settings, mina.account, "x close 0 4500")

    closed = await phone.events.sees("disconnected")
    assert (closed["code"], closed["reason"]) == (4500, "account banned")


async def order(settings: Settings, account: str, text: str) -> None:
    """What another node says to all nodes with sessions of this account."""
    assert settings.redis_url is not None
    async with redis.asyncio.from_url(settings.redis_url) as bus:
        assert await bus.execute_command("SPUBLISH", topic_key(f"eph:{account}"), text)

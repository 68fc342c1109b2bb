"""Connect, tokens, refresh, closes: what the released SDKs make of them."""

import secrets
import time

import pytest

from messenger.tokens import ConnectionTokens
from tests.conformance.sdk import Sdk, SdkError
from tests.support.platform import Platform


def a_user() -> str:
    return f"u{secrets.token_hex(4)}"


def ending_soon(tokens: ConnectionTokens, user: str) -> str:
    """Good for connecting; the connection it opens must be refreshed after a second."""
    return tokens.sign(user, 3600, expire_at=time.time() + 1)


async def test_given_a_token_when_an_sdk_connects_then_it_has_a_session_and_its_personal_topic(
    sdk: Sdk, hub: Platform, tokens: ConnectionTokens
) -> None:
    user = a_user()
    await sdk.open(hub.ws_url, tokens.sign(user, 3600))

    await sdk.connect()

    connected = await sdk.events.sees("connected")
    assert connected["client"]
    personal = await sdk.events.sees("server_subscribed", topic=f"mine:{user}")
    assert (personal["recoverable"], personal["positioned"]) == (True, True)


async def test_given_no_token_when_an_sdk_connects_then_it_stays_away(
    sdk: Sdk, hub: Platform
) -> None:
    await sdk.open(hub.ws_url, "")

    await sdk.connect()

    assert (await sdk.events.sees("disconnected"))["code"] == 3501


async def test_given_a_foreign_signature_when_an_sdk_connects_then_it_stays_away(
    sdk: Sdk, hub: Platform
) -> None:
    foreign = ConnectionTokens(["somebody-elses-secret-of-32-chars!"])
    await sdk.open(hub.ws_url, foreign.sign(a_user(), 3600))

    await sdk.connect()

    disconnected = await sdk.events.sees("disconnected")
    assert (disconnected["code"], disconnected["reason"]) == (3500, "invalid token")


async def test_given_an_expired_token_when_an_sdk_connects_then_it_fetches_another(
    sdk: Sdk, hub: Platform, tokens: ConnectionTokens
) -> None:
    user = a_user()
    await sdk.open(hub.ws_url, tokens.sign(user, -60), with_get_token=True)
    await sdk.offer(tokens.sign(user, 3600))

    await sdk.connect()

    assert (await sdk.events.sees("connected"))["client"]


async def test_given_a_token_that_ends_soon_when_an_sdk_refreshes_then_the_session_goes_on(
    sdk: Sdk, hub: Platform, tokens: ConnectionTokens
) -> None:
    user = a_user()
    await sdk.open(hub.ws_url, ending_soon(tokens, user), with_get_token=True)
    await sdk.offer(tokens.sign(user, 3600))
    await sdk.connect()
    await sdk.events.sees("connected")
    await sdk.events.sees("connecting")

    await sdk.events.sees("token_asked")

    assert await sdk.rpc("system.echo", {"data": 1}) == {"data": 1}
    for ending in ("connecting", "disconnected", "error"):
        assert sdk.events.saw_nothing_of(ending)


async def test_given_a_refresh_with_another_user_when_an_sdk_sends_it_then_it_is_final(
    sdk: Sdk, hub: Platform, tokens: ConnectionTokens
) -> None:
    await sdk.open(hub.ws_url, ending_soon(tokens, a_user()), with_get_token=True)
    await sdk.offer(tokens.sign(a_user(), 3600))

    await sdk.connect()

    assert (await sdk.events.sees("disconnected"))["code"] == 3500


async def test_given_a_session_when_an_sdk_calls_unknown_methods_then_the_error_is_its_own(
    sdk: Sdk, hub: Platform, tokens: ConnectionTokens
) -> None:
    await sdk.open(hub.ws_url, tokens.sign(a_user(), 3600))
    await sdk.connect()
    await sdk.events.sees("connected")

    with pytest.raises(SdkError) as unknown:
        await sdk.rpc("no.such", {})
    with pytest.raises(SdkError) as product:
        await sdk.rpc("chats.list", {})

    assert (unknown.value.code, product.value.code) == (104, 101)
    assert await sdk.rpc("system.echo", {"data": [1, "س"]}) == {"data": [1, "س"]}

"""The client on real sockets: a node for what is usual, a scripted peer for the rest."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from messenger.client.errors import Json, RpcError
from messenger.client.waiting import Disconnected
from messenger.client.websocket import Client
from messenger.wire.codes import CloseCode
from tests.support.platform import Platform, SignedIn

both = pytest.mark.parametrize("binary", [False, True], ids=["json", "protobuf"])


@pytest.fixture(scope="module")
async def mina(platform: Platform) -> SignedIn:
    return await platform.signs_up("Mina")


@pytest.fixture(scope="module")
async def reza(platform: Platform) -> SignedIn:
    return await platform.signs_up("Reza")


@pytest.fixture
async def chat(platform: Platform, mina: SignedIn, reza: SignedIn) -> str:
    opened = await platform.post("chats.open_direct", {"account": reza.account}, mina.token)
    return str(opened["chat"]["id"])


@pytest.fixture(params=[False, True], ids=["json", "protobuf"])
async def phone(
    request: pytest.FixtureRequest, platform: Platform, mina: SignedIn
) -> AsyncIterator[Client]:
    """Mina's phone, caught up."""
    client = await Client.connect(platform.ws_url, mina.token, binary=request.param)
    await client.wait_until(lambda: client.ready)
    yield client
    await client.close()


@pytest.fixture
async def tablet(platform: Platform, reza: SignedIn) -> AsyncIterator[Client]:
    """Reza's tablet, caught up."""
    client = await Client.connect(platform.ws_url, reza.token)
    await client.wait_until(lambda: client.ready)
    yield client
    await client.close()


# With a node


async def test_given_a_node_when_connected_then_rpcs_answer_or_refuse(phone: Client) -> None:
    assert phone.connected
    assert (await phone.rpc("system.echo", {"data": [1]})) == {"data": [1]}
    assert "version" in await phone.rpc("system.hello")
    with pytest.raises(RpcError) as refused:
        await phone.rpc("no.such")
    assert refused.value.code == 104


async def test_given_two_devices_when_one_sends_then_both_models_have_the_message(
    phone: Client, tablet: Client, chat: str
) -> None:
    await phone.wait_until(lambda: chat in phone.state.chats)
    updates: list[Json] = []
    tablet.on_update = updates.append

    sending = await phone.send(chat, "salaam")
    random_id = "51" if phone.binary else "50"
    request = {"chat": chat, "random_id": random_id, "text": "khubi?"}
    sent = await phone.rpc("messages.send", request)

    await tablet.wait_until(lambda: tablet.state.chats[chat].last_seq == sent["seq"])
    await phone.wait_until(lambda: phone.state.chats[chat].last_seq == sent["seq"])
    assert sending.result is not None
    assert [u["m"]["text"] for u in updates if u["t"] == "message.new"] == ["salaam", "khubi?"]
    assert phone.state.chats[chat].texts[-2:] == ["salaam", "khubi?"]


async def test_given_a_cut_device_when_it_resumes_then_it_has_what_it_missed(
    phone: Client, tablet: Client, chat: str
) -> None:
    await phone.wait_until(lambda: chat in phone.state.chats)
    tablet.cut()
    ended = await tablet.wait_closed()
    sending = await phone.send(chat, "while you were away")
    await phone.wait_until(lambda: sending.result is not None)

    await tablet.resume()

    await tablet.wait_until(lambda: tablet.state.chats[chat].texts[-1] == "while you were away")
    assert ended.code is None
    assert not ended.final


async def test_given_nonsense_when_sent_then_the_node_closes_for_good(
    platform: Platform, mina: SignedIn
) -> None:
    client = await Client.connect(platform.ws_url, mina.token)

    await client.send_raw(b"nonsense")
    ended = await client.wait_closed()

    assert (ended.code, ended.reason, ended.final) == (3501, "bad request", True)
    with pytest.raises(Disconnected):
        await client.rpc("system.hello")
    await client.close()


async def test_given_a_bad_token_when_connecting_then_it_is_refused(platform: Platform) -> None:
    with pytest.raises(Disconnected) as refused:
        await Client.connect(platform.ws_url, "not a token")

    assert refused.value.code == CloseCode.INVALID_TOKEN


async def test_given_a_topic_one_may_not_hear_when_subscribed_then_it_is_refused(
    phone: Client,
) -> None:
    with pytest.raises(RpcError) as refused:
        await phone.subscribe("user:71")

    assert refused.value.code == 103
    assert phone.link.wanted == {}


async def test_given_no_server_when_connecting_then_it_says_so() -> None:
    with pytest.raises(Disconnected):
        await Client.connect("ws://127.0.0.1:9", "T", reconnect=False)


async def test_given_a_connection_that_has_just_died_when_sending_then_it_waits_in_the_outbox(
    platform: Platform, mina: SignedIn, chat: str
) -> None:
    client = await Client.connect(platform.ws_url, mina.token)
    await client.wait_until(lambda: client.ready)
    client.cut()
    await asyncio.sleep(0)

    sending = await client.send(chat, "into the void")
    await client.resume()
    await client.wait_until(lambda: sending.result is not None)

    assert client.state.chats[chat].texts[-1] == "into the void"
    await client.close()

"""From one phone's socket, through PostgreSQL, to the other phone's socket."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from messenger.client.errors import RpcError
from messenger.client.websocket import Client
from tests.support.platform import Platform, connected


@pytest.fixture
async def mina(platform: Platform) -> AsyncIterator[Client]:
    client = await connected(platform, await platform.signs_up("مینا"))
    yield client
    await client.close()


@pytest.fixture
async def reza(platform: Platform) -> AsyncIterator[Client]:
    client = await connected(platform, await platform.signs_up("Reza"), binary=True)
    yield client
    await client.close()


def account(client: Client) -> str:
    assert client.core is not None
    return client.core.state.account


async def direct(one: Client, other: Client) -> str:
    result = await one.rpc("chats.open_direct", {"account": account(other)})
    return str(result["chat"]["id"])


async def test_given_two_people_when_one_sends_then_the_other_receives_it_at_once(
    mina: Client, reza: Client
) -> None:
    chat = await direct(mina, reza)

    await mina.send(chat, "سلام رضا")
    await reza.wait_until(lambda: chat in reza.state.chats)
    await reza.wait_until(lambda: reza.state.chats[chat].texts == ["سلام رضا"])
    await mina.wait_until(lambda: mina.ready)

    assert reza.state.chats[chat].unread == 1
    assert mina.state.chats[chat].texts == ["سلام رضا"]
    await reza.rpc("messages.read", {"cursors": [{"chat": chat, "seq": 1}]})
    assert reza.state.chats[chat].unread == 0


async def test_given_a_group_when_all_write_then_all_see_the_same_order(
    platform: Platform, mina: Client, reza: Client
) -> None:
    result = await mina.rpc(
        "chats.create",
        {"kind": "group", "title": "خانواده", "members": [account(reza)], "random_id": "77"},
    )
    chat = str(result["chat"]["id"])
    await reza.wait_until(lambda: chat in reza.state.chats)

    for n in range(10):
        await mina.send(chat, f"m{n}")
        await reza.send(chat, f"r{n}")
    for one in (mina, reza):
        await one.wait_until(lambda one=one: len(one.state.chats[chat].texts) == 20)

    assert mina.state.chats[chat].texts == reza.state.chats[chat].texts
    assert [text for text in mina.state.chats[chat].texts if text[0] == "m"] == [
        f"m{n}" for n in range(10)
    ]


async def test_given_a_cut_socket_when_it_resumes_then_it_has_what_it_missed(
    mina: Client, reza: Client
) -> None:
    chat = await direct(mina, reza)
    await mina.send(chat, "before")
    await reza.wait_until(lambda: chat in reza.state.chats)

    reza.cut()
    for n in range(5):
        await mina.send(chat, f"while away {n}")
    await mina.wait_until(lambda: mina.ready)
    await reza.resume()
    await reza.wait_until(lambda: len(reza.state.chats[chat].texts) == 6)

    assert reza.state.chats[chat].texts == mina.state.chats[chat].texts


async def test_given_a_stranger_when_writing_to_a_chat_then_no_chat(
    mina: Client, reza: Client, platform: Platform
) -> None:
    chat = await direct(mina, reza)
    stranger = await connected(platform, await platform.signs_up("x"))
    with pytest.raises(RpcError) as refused:
        await stranger.rpc("messages.send", {"chat": chat, "random_id": "5", "text": "hi"})
    assert refused.value.code == 1202
    await stranger.close()


async def test_given_a_revoked_device_when_it_is_connected_then_4501_within_a_second(
    platform: Platform,
) -> None:
    first = await platform.signs_up("two devices")
    client = await connected(platform, first)
    second = await platform.signs_up("two devices", phone=first.phone)
    other = await connected(platform, second)

    await other.rpc("accounts.revoke_session", {"device_id": first.device})
    ended = await client.wait_closed(1.0)

    assert ended.code == 4501
    with pytest.raises(RpcError) as refused:
        await platform.post("accounts.token", {"refresh": first.refresh})
    assert refused.value.code == 1107
    await client.close()
    await other.close()


async def test_given_the_same_device_twice_when_it_connects_then_the_newer_wins(
    platform: Platform,
) -> None:
    signed_in = await platform.signs_up("twice")
    older = await connected(platform, signed_in, reconnect=False)
    newer = await connected(platform, signed_in)

    ended = await older.wait_closed(2.0)

    assert ended.code == 4001
    await asyncio.sleep(0)
    assert newer.connected
    await newer.close()
    await older.close()

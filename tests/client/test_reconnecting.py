"""The client and a scripted peer: closes, refusals and silences that a healthy node never makes."""

import asyncio

import pytest

from messenger.client import link as events
from messenger.client.errors import Json, RpcError
from messenger.client.waiting import Disconnected
from messenger.client.websocket import Client
from messenger.wire.codec import JSON
from messenger.wire.messages import (
    ConnectRequest,
    PublishRequest,
    RefreshRequest,
    RefreshResult,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribeResult,
)
from tests.client.peer import Peer, playing


async def test_given_a_shutdown_when_told_then_the_client_comes_back_and_recovers() -> None:
    seen: list[ConnectRequest] = []

    async def first(peer: Peer) -> None:
        await peer.welcomes()
        await peer.says(JSON.publication("user:71", b'{"t":"call.ended"}', 5))
        await peer.socket.close(3001, "shutdown")

    async def second(peer: Peer) -> None:
        seen.append(await peer.welcomes(recovered=True))
        await peer.serves()

    async with playing(first, second) as url:
        client = await Client.connect(url, "T", name="n", data={"badges": 3})
        await client.wait_until(lambda: bool(seen) and client.connected)
        await client.wait_until(lambda: client.ready)
        assert client.closed_with is not None
        assert client.closed_with.code == 3001
        asked = seen[0].subs["user:71"]
        assert (asked.recover, asked.offset, asked.epoch) == (True, 5, "k")
        assert (seen[0].name, bytes(seen[0].data)) == ("n", b'{"badges":3}')
        await client.close()


async def test_given_a_request_in_flight_when_the_connection_ends_then_it_says_so() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcomes(product=False)
        await peer.hears()
        await peer.socket.close(4500, "account banned")

    async with playing(script) as url:
        client = await Client.connect(url, "T")
        with pytest.raises(Disconnected) as ended:
            await client.rpc("system.hello")
        assert (ended.value.code, ended.value.reason) == (4500, "account banned")
        await client.close()


async def test_given_a_foreign_session_when_the_model_is_asked_for_then_there_is_none() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcomes(product=False)
        await peer.says(JSON.publication("user:71", b'{"t":"x"}'))
        await peer.serves()

    async with playing(script) as url:
        client = await Client.connect(url, "T")
        assert (client.core, client.ready) == (None, False)
        with pytest.raises(Disconnected):
            _ = client.state
        result = await client.subscribe("room:1")
        assert not result.recoverable
        assert await client.rpc("a.b", {"n": 1}) == {"n": 1}
        await client.close()


async def test_given_a_busy_server_when_connect_is_refused_then_the_client_tries_again() -> None:
    async def busy(peer: Peer) -> None:
        command = await peer.hears()
        await peer.says(JSON.error(command.id, 100, "internal server error", True))  # noqa: FBT003 - positional by contract
        await peer.hears()

    async def well(peer: Peer) -> None:
        await peer.welcomes()
        await peer.serves()

    async with playing(busy, well) as url:
        client = await Client.connect(url, "T")
        assert client.connected
        await client.close()


@pytest.mark.parametrize("code", [103, 109])
async def test_given_a_final_refusal_when_connecting_then_it_is_raised(code: int) -> None:
    async def script(peer: Peer) -> None:
        command = await peer.hears()
        await peer.says(JSON.error(command.id, code, "no"))
        await peer.hears()

    async with playing(script) as url:
        with pytest.raises(RpcError) as refused:
            await Client.connect(url, "T")
        assert refused.value.code == code


async def test_given_an_expired_token_when_there_is_a_new_one_then_it_is_used() -> None:
    used: list[str] = []

    async def expired(peer: Peer) -> None:
        command = await peer.hears()
        await peer.says(JSON.error(command.id, 109, "token expired"))
        await peer.hears()

    async def good(peer: Peer) -> None:
        used.append((await peer.welcomes()).token)
        await peer.serves()

    async with playing(expired, good) as url:
        client = await Client.connect(url, "old", get_token=new_token)
        assert used == ["new"]
        await client.close()


async def test_given_a_session_that_ends_soon_when_its_time_comes_then_it_is_refreshed() -> None:
    tokens: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.welcomes(ttl=1)
        command = await peer.hears()
        assert isinstance(command.request, RefreshRequest)
        tokens.append(command.request.token)
        await peer.replies(command, RefreshResult(client="c1", expires=True, ttl=3600))
        await peer.says(JSON.publication("eph:71", b'{"t":"typing"}'))
        await peer.serves()

    async with playing(script) as url:
        client = await Client.connect(url, "T", get_token=new_token)
        await client.wait_until(lambda: any(isinstance(e, events.Published) for e in client.recent))
        assert (tokens, client.token) == (["new"], "new")
        await client.close()


async def test_given_no_source_of_tokens_when_the_session_ends_soon_then_it_just_goes_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcomes(ttl=1, product=False)
        await peer.serves()

    async with playing(script) as url:
        client = await Client.connect(url, "T")
        await client.wait_until(lambda: client._deadlines.refresh_at is None)
        assert await client.rpc("a.b", {"n": 1}) == {"n": 1}
        await client.close()


async def test_given_an_invalidated_state_when_told_then_nothing_old_is_continued() -> None:
    seen: list[ConnectRequest] = []

    async def first(peer: Peer) -> None:
        await peer.welcomes()
        await peer.socket.close(3014, "state invalidated")

    async def second(peer: Peer) -> None:
        seen.append(await peer.welcomes())
        await peer.serves()

    async with playing(first, second) as url:
        client = await Client.connect(url, "old", get_token=new_token)
        await client.wait_until(lambda: bool(seen))
        assert (seen[0].token, seen[0].subs["user:71"].epoch) == ("new", "_")
        await client.close()


async def test_given_a_silent_server_when_its_ping_is_late_then_the_client_reconnects() -> None:
    async def silent(peer: Peer) -> None:
        await peer.welcomes(ping=1, product=False)
        await peer.says(JSON.PING)
        await peer.serves()

    async def well(peer: Peer) -> None:
        await peer.welcomes(ping=0)
        await peer.serves()

    async with playing(silent, well) as url:
        client = await Client.connect(url, "T", patience_s=-0.9)
        await client.wait_until(lambda: client.core is not None)
        assert client.closed_with is not None
        assert client.closed_with.reason == "no ping"
        await client.close()


async def test_given_a_server_that_hangs_when_its_ping_is_late_then_no_farewell_is_waited_for() -> (
    None
):
    over = asyncio.Event()

    async def hangs(peer: Peer) -> None:
        await peer.welcomes(ping=1, product=False)
        await peer.says(JSON.PING)
        peer.socket.transport.pause_reading()  # not even a close frame is answered
        await over.wait()
        peer.socket.transport.resume_reading()

    async def well(peer: Peer) -> None:
        await peer.welcomes(ping=0)
        await peer.serves()

    async with playing(hangs, well) as url:
        client = await Client.connect(url, "T", patience_s=-0.9)
        await client.wait_until(lambda: client.core is not None, timeout_s=5)
        over.set()
        await client.close()


async def test_given_a_big_chat_when_its_topic_is_opened_and_closed_then_the_core_knows() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcomes()
        joined = b'{"t":"chat.joined","aev":1,"chat":"9","info":{"big":true,"last":{"ev":0}}}'
        await peer.says(JSON.publication("user:71", joined, 5))
        info = b'{"chats":[{"id":"9","epoch":1,"big":true,"last":{"seq":0,"ev":0}}]}'
        await peer.says(JSON.rpc((await peer.hears()).id, info))
        heads = b'{"aev":1,"heads":[["9",1,0,0,0,true]]}'  # from now on they are told
        await peer.says(JSON.rpc((await peer.hears()).id, heads))
        page = b'{"messages":[],"gaps":[],"last_seq":0}'
        await peer.says(JSON.rpc((await peer.hears()).id, page))
        asked = await peer.hears()
        assert isinstance(asked.request, SubscribeRequest)
        await peer.says(JSON.reply(asked.id, SubscribeResult()))
        part = b'{"chat":"9","epoch":1,"from":0,"to":0,"events":[]}'
        await peer.says(JSON.rpc((await peer.hears()).id, b'{"aev":1,"chats":[%b]}' % part))
        left = await peer.hears()
        await peer.says(JSON.reply(left.id, UnsubscribeResult()))
        await peer.serves()

    async with playing(script) as url:
        client = await Client.connect(url, "T")
        await client.wait_until(lambda: "9" in client.state.chats and client.ready)
        await client.subscribe("chat:9")
        await client.wait_until(lambda: client.ready)
        await client.unsubscribe("chat:9")
        assert client.state.chats["9"].big
        await client.close()


async def test_given_a_slow_answer_when_its_time_is_over_then_the_caller_goes_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcomes(product=False)
        late = await peer.hears()
        await peer.hears()
        await peer.says(JSON.rpc(late.id, b"{}"))
        await peer.serves()

    async with playing(script) as url:
        client = await Client.connect(url, "T")
        with pytest.raises(TimeoutError):
            await client.rpc("slow", timeout_s=0.01)
        second = asyncio.create_task(client.rpc("a.b"))
        await client.wait_until(lambda: any(isinstance(e, events.Answered) for e in client.recent))
        second.cancel()
        await client.close()


async def test_given_a_catch_up_that_is_refused_when_answered_then_the_core_has_it() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcomes(heads=False)
        await peer.says(JSON.error((await peer.hears()).id, 104, "method not found"))
        await peer.serves()

    async with playing(script) as url:
        client = await Client.connect(url, "T")
        await client.wait_until(lambda: client.core is not None and bool(client.core.problems))
        await client.close()


async def test_given_a_bug_in_the_application_when_it_waits_then_the_bug_surfaces() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcomes()
        await peer.says(JSON.publication("eph:71", b'{"t":"typing"}'))
        await peer.serves()

    def fails(update: Json) -> None:
        raise ValueError("in the handler")

    async with playing(script) as url:
        client = await Client.connect(url, "T", on_update=fails)
        with pytest.raises(ValueError, match="in the handler"):
            await client.wait_until(lambda: False)
        with pytest.raises(ValueError, match="in the handler"):
            await client.close()


async def test_given_a_client_that_does_not_come_back_when_cut_then_it_stays_away() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcomes(product=False)
        await peer.serves()

    async with playing(script) as url:
        client = await Client.connect(url, "T", reconnect=False)
        client.cut()
        await client.wait_closed()
        with pytest.raises(Disconnected):
            await client.request(PublishRequest("a"))
        with pytest.raises(Disconnected):
            await client.resume()
        await client.close()


async def new_token() -> str:
    return "new"

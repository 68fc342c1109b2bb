"""What a hostile peer may try below the protocol: floods, doubled headers, cut sockets."""

import asyncio

import pytest

from messenger.namespaces import Namespaces, Standing, SubscribeBy
from messenger.settings import Settings
from messenger.wire.codes import CloseCode, ErrorCode
from tests.gateway.conftest import Served
from tests.gateway.test_connection import KEY, Raw, client_frame
from tests.support.line import opened
from tests.support.platform import Platform, connected, running

PINGS = client_frame(b"", first=0x89)
CONTS = client_frame(b"", first=0x00)


@pytest.mark.parametrize(
    "flood",
    [PINGS * 40_000, client_frame(b"", first=0x01) + CONTS * 40_000],
    ids=["pings", "fragments"],
)
async def test_given_a_flood_of_cheap_frames_when_it_comes_then_the_peer_goes_and_the_loop_turns(
    echo: Served, flood: bytes
) -> None:
    raw = await (await Raw.open(echo)).upgraded()
    handler = echo.door.handlers[-1]
    loop = asyncio.get_running_loop()
    worst = 0.0

    async def measure() -> None:
        nonlocal worst
        while not handler.closed.is_set():
            began = loop.time()
            await asyncio.sleep(0)
            worst = max(worst, loop.time() - began)

    measuring = asyncio.ensure_future(measure())
    raw.writer.write(flood)
    await asyncio.wait_for(handler.closed.wait(), 10)
    await measuring

    assert worst < 2.0  # 40,000 frames by the general parser took far longer
    raw.writer.transport.abort()


@pytest.mark.parametrize("name", ["Origin", "Host"])
async def test_given_a_header_twice_when_upgrading_then_the_connection_is_forgotten(
    node: Platform, name: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.settings.port)
    writer.write(
        f"GET /connection/websocket HTTP/1.1\r\nHost: x\r\nOrigin: http://x\r\n{name}: y\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {KEY}\r\n\r\n".encode()
    )
    async with asyncio.timeout(5):
        answer = await reader.read()

    assert b" 400 " in answer.split(b"\r\n")[0]
    writer.close()


async def test_given_replies_that_were_read_when_it_stalls_then_no_credit_is_left(
    echo: Served,
) -> None:
    raw = await (await Raw.open(echo)).upgraded()
    connection = echo.door.handlers[-1].connection

    for _ in range(10):
        connection.write_reply(b"\x81\x01x" * 20_000)
        async with asyncio.timeout(5):
            await raw.reader.readexactly(60_000)

    assert connection._excused <= 60_000
    connection.close(CloseCode.CLOSED)
    raw.close()


async def test_given_sockets_cut_in_mid_connect_when_all_is_quiet_then_nothing_stays(
    platform: Platform,
) -> None:
    people = [await platform.signs_up(f"cut {n}") for n in range(5)]
    hub = platform.node.gateway._hub
    before = hub.listened()

    async def cut(token: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", platform.settings.port)
        writer.write(
            "GET /connection/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        writer.write(client_frame(b'{"id":1,"connect":{"token":"%b"}}' % token.encode()))
        await asyncio.sleep(0)
        writer.transport.abort()

    for _ in range(10):
        await asyncio.gather(*(cut(one.token) for one in people))
    async with asyncio.timeout(10):
        while hub.listened() != before or platform.node.gateway.sessions:  # noqa: ASYNC110 - counts
            await asyncio.sleep(0.02)


async def test_given_sends_on_the_way_when_the_node_drains_then_they_are_answered_first(
    settings: Settings,
) -> None:
    async with running(settings) as leaving:
        client = await connected(leaving, await leaving.signs_up("mina"), reconnect=False)
        assert client.core is not None
        me = {"account": client.core.state.account}
        chat = str((await client.rpc("chats.open_direct", me))["chat"]["id"])
        sends = [
            asyncio.ensure_future(
                client.rpc("messages.send", {"chat": chat, "random_id": str(n), "text": "x"})
            )
            for n in range(1, 11)
        ]
        await asyncio.sleep(0)
        await client.wait_until(lambda: any(send.done() for send in sends))
    answers = await asyncio.gather(*sends, return_exceptions=True)
    ended = client.closed_with
    await client.close()

    assert [answer["seq"] for answer in answers if isinstance(answer, dict)] == list(range(1, 11))
    assert ended is not None
    assert ended.code == CloseCode.SHUTDOWN


@pytest.mark.parametrize("topic", ["$chat:7", "$user:5", "$eph:5"])
def test_given_a_product_topic_with_a_dollar_when_asked_for_then_it_is_refused(
    settings: Settings, topic: str
) -> None:
    namespaces = Namespaces(settings.topics)
    options = namespaces.of(topic)
    assert options is not None
    by = SubscribeBy(Standing.CLIENT, account="5")

    verdict = namespaces.may_subscribe(topic, options, user="5", by=by, insecure=True)

    assert verdict is ErrorCode.PERMISSION_DENIED


async def test_given_a_frame_full_of_bad_rpcs_when_they_wait_for_connect_then_each_is_refused(
    platform: Platform,
) -> None:
    mina = await platform.signs_up("Mina")
    bad = [{"rpc": {"method": "messages.send", "data": {}}}] * 127
    async with opened(platform.ws_url) as line:
        first, *refused = await line.says_all([{"connect": {"token": mina.token}}, *bad])

        assert "connect" in first
        assert {reply["error"]["code"] for reply in refused} == {ErrorCode.BAD_REQUEST}

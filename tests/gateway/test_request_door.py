"""The HTTP side of a connection: heads that are too long, requests that never end, crowds."""

import asyncio

import pytest

from messenger.gateway import request_door
from tests.gateway.conftest import Served
from tests.gateway.test_connection import Raw

GET = b"GET /body HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
CHUNKED = b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"x" * 33_000
HEADER = b"a" * 20 + b": " + b"b" * 60 + b"\r\n"


async def spoken(served: Served) -> Raw:
    return Raw(*await asyncio.open_connection("127.0.0.1", served.port))


async def answered(raw: Raw) -> str:
    """The status line's code, with the body read."""
    head = await raw.head()
    length = next(line for line in head.lower().split("\r\n") if line.startswith("content-length"))
    await raw.reader.readexactly(int(length.rpartition(":")[2]))
    return head.split(" ")[1]


async def ended(raw: Raw) -> bytes:
    async with asyncio.timeout(5):
        return await raw.reader.read()


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"GET /" + b"u" * 8_192 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "414"),
        (GET + b"A: " + LONG + b"\r\n\r\n", "431"),
        (GET + HEADER * 395 + b"\r\n", "431"),
        (CHUNKED + b"0\r\n" + HEADER * 410 + b"\r\n", "431"),
        (GET + b"A: " + b"x" * 31_000 + b"\r\n\r\n", "200"),
        (b"GET /body?" + b"u" * 8_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "200"),
    ],
    ids=["url", "header", "headers", "trailers", "long header", "long url"],
)
async def test_given_a_head_when_it_is_too_long_then_the_status_says_what(
    echo: Served, said: bytes, status: str
) -> None:
    raw = await spoken(echo)
    raw.writer.write(said)

    assert await answered(raw) == status
    raw.close()


@pytest.mark.parametrize("begun", [GET + b"A: ", CHUNKED + b"0\r\nA: ", CHUNKED + b"1;"])
async def test_given_a_header_without_end_when_it_comes_in_pieces_then_it_is_cut_off(
    echo: Served, begun: bytes
) -> None:
    raw = await spoken(echo)
    raw.writer.write(begun)

    async def say_for_ever() -> None:
        while True:
            raw.writer.write(b"x" * 4_096)
            await raw.writer.drain()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(say_for_ever(), 5)
    raw.close()


async def test_given_a_long_body_when_it_comes_in_pieces_then_it_is_no_head(echo: Served) -> None:
    raw = await spoken(echo)
    raw.writer.write(GET.replace(b"GET", b"POST") + b"Content-Length: 90000\r\n\r\n")
    for _ in range(30):
        raw.writer.write(b"x" * 3_000)
        await raw.writer.drain()

    assert await answered(raw) == "200"
    raw.close()


@pytest.mark.parametrize(
    "said",
    [b"", b"GET /b", GET + b"A: b\r\n", POST + b"x"],
    ids=["nothing", "line", "header", "body"],
)
@pytest.mark.parametrize("earlier", [0, 2])
async def test_given_a_request_when_it_never_ends_then_the_connection_does(
    echo: Served, monkeypatch: pytest.MonkeyPatch, said: bytes, earlier: int
) -> None:
    for limit in ("REQUEST_TIMEOUT_S", "BODY_TIMEOUT_S"):
        monkeypatch.setattr(request_door, limit, 0.2)
    raw = await spoken(echo)
    for _ in range(earlier):
        raw.writer.write(GET + b"\r\n")
        assert await answered(raw) == "200"
    raw.writer.write(said or b"\r\n" * earlier)

    assert await ended(raw) == b""
    raw.close()


async def test_given_a_peer_when_it_reads_no_answers_then_the_connection_ends(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_door, "SEND_TIMEOUT_S", 0.2)
    raw = await spoken(echo)
    raw.writer.write(GET.replace(b"body", b"large") + b"\r\n")
    await raw.head()

    async with asyncio.timeout(5):
        while echo.server.server_state.connections:  # noqa: ASYNC110 - a count, not an event
            await asyncio.sleep(0.01)
    raw.close()


async def test_given_a_crowd_when_one_more_comes_then_the_longest_quiet_one_goes_with_503(
    echo: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_door, "HTTP_MOST", 3)
    slow = await spoken(echo)
    busy = await spoken(echo)
    busy.writer.write(GET + b"\r\n")
    assert await answered(busy) == "200"
    upgraded = await (await Raw.open(echo)).upgraded()  # counts no more
    third, fourth = await spoken(echo), await spoken(echo)
    fourth.writer.write(GET + b"\r\n")

    assert await answered(fourth) == "200"
    assert await answered(slow) == "503"
    for raw in (slow, busy, upgraded, third, fourth):
        raw.close()

"""The small HTTP client against a real node, and against answers a node does not give."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from messenger.client.errors import RpcError
from messenger.client.http import HttpError, call, post
from tests.support.platform import Platform


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says `answer` to anything, and keeps what it was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}", asked


async def test_given_a_node_when_called_then_results_and_refusals_come_apart(
    platform: Platform,
) -> None:
    mina = await platform.signs_up("Mina")

    me = await call(platform.url, "accounts.me", {}, mina.token)

    assert me["id"] == mina.account
    for method, token, code in (
        ("accounts.me", "not a token", 101),
        ("accounts.me", None, 101),
        ("messages.get", mina.token, 107),
    ):
        with pytest.raises(RpcError) as refused:
            await call(platform.url, method, {}, token)
        assert refused.value.code == code


async def test_given_a_path_that_does_not_exist_when_called_then_the_status_is_told(
    platform: Platform,
) -> None:
    with pytest.raises(HttpError) as refused:
        await call(f"{platform.url}/nowhere", "a", {})

    assert refused.value.status == 404


async def test_given_a_request_when_sent_then_it_is_one_plain_post() -> None:
    answer = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"result":{}}'
    async with answering(answer) as (url, asked):
        assert await call(url, "a.b", {"n": 1}, "T") == {}

        await post(f"{url}/x?y=1", b"", {})
        await post(url, b"", {})

    first, second, third = (request.decode() for request in asked)
    assert first.startswith("POST /rpc/a.b HTTP/1.1\r\n")
    assert "Authorization: Bearer T\r\n" in first
    assert "Content-Length: 7\r\n" in first
    assert second.startswith("POST /x?y=1 ")
    assert third.startswith("POST / ")


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"ok"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
            b"abcde",
        ),
    ],
)
async def test_given_a_body_of_any_framing_when_read_then_it_is_whole(
    answer: bytes, body: bytes
) -> None:
    async with answering(answer) as (url, _):
        assert await post(url, b"", {}) == (200, body)


@pytest.mark.parametrize("body", [b"<html>", b"{}"])
async def test_given_an_answer_of_something_else_when_called_then_it_is_no_result(
    body: bytes, make_answer: Callable[[bytes], bytes]
) -> None:
    async with answering(make_answer(body)) as (url, _):
        with pytest.raises(HttpError):
            await call(url, "a", {})


@pytest.fixture
def make_answer() -> Callable[[bytes], bytes]:
    return lambda body: b"HTTP/1.1 502 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

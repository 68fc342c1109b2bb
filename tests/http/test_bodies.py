"""Bodies that never come: the answer does."""

import asyncio

import pytest

from messenger.http import security
from messenger.settings import Settings
from tests.gateway.generic import API_KEY, generic_node


@pytest.mark.parametrize("path", ["/rpc/system.hello", "/api/publish"])
async def test_given_a_body_when_it_does_not_end_in_time_then_408(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(security, "BODY_TIMEOUT_S", 0.1)
    async with generic_node(settings) as node:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.settings.port)
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {API_KEY}\r\n"
            "Content-Length: 100\r\n\r\n{".encode()
        )
        async with asyncio.timeout(5):
            status = await reader.readline()
        writer.close()

    assert status.startswith(b"HTTP/1.1 408")


async def test_given_a_body_when_its_sender_goes_away_then_nothing_is_logged_as_a_bug(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with generic_node(settings) as node:
        _, writer = await asyncio.open_connection("127.0.0.1", node.settings.port)
        writer.write(b"POST /rpc/system.hello HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []

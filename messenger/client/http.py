"""`POST /rpc/<method>` over a plain connection: the three calls that make tokens, mostly.

Its own few lines over asyncio, so that a client needs no HTTP library.
"""

import asyncio
from urllib.parse import urlsplit

import msgspec

from messenger.client.errors import Json, RpcError

TIMEOUT_S = 10.0
HEAD_BYTES = 65_536


class HttpError(Exception):
    """An answer that is not one of the product protocol (404, 413, 503 ..)."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body[:200])
        self.status = status


async def call(base: str, method: str, data: Json, token: str | None = None) -> Json:
    """The result of `method`, or RpcError; `base` is such as `http://127.0.0.1:8000`."""
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    status, body = await post(f"{base}/rpc/{method}", msgspec.json.encode(data), headers)
    try:
        answer = msgspec.json.decode(body, type=Json)
    except msgspec.DecodeError:
        raise HttpError(status, body) from None
    error = answer.get("error")
    if error is not None:
        temporary = error.get("temporary", False)
        raise RpcError(error["code"], error["message"], temporary=temporary)
    if "result" not in answer:
        raise HttpError(status, body)
    result: Json = answer["result"]
    return result


async def post(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and body of one POST on a connection of its own."""
    parts = urlsplit(url)
    host, tls = parts.hostname or "", parts.scheme == "https"
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    head = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
    head += [f"Content-Length: {len(body)}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    async with asyncio.timeout(TIMEOUT_S):
        port = parts.port or (443 if tls else 80)
        reader, writer = await asyncio.open_connection(
            host, port, ssl=tls or None, limit=HEAD_BYTES
        )
        try:
            writer.write("\r\n".join([*head, "", ""]).encode() + body)
            await writer.drain()
            return await _answer(reader)
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ", 2)[1])
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines[1:])
    }
    if fields.get("transfer-encoding") == "chunked":
        return status, await _chunks(reader)
    if (length := fields.get("content-length")) is not None:
        return status, await reader.readexactly(int(length))
    return status, await reader.read(-1)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    return body

"""Headers of every HTTP answer, and the bounds of every body."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Receive, Scope, Send

BODY_BYTES = 65_536
BODY_TIMEOUT_S = 10.0  # 64 KiB by the slowest mobile network that is of use
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
)


class BodyRefusedError(Exception):
    """The body is too large, or did not come."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class SecurityHeaders:
    """ASGI middleware: adds what is not there yet."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(send))


def _with_headers(
    send: Send,
) -> Callable[[MutableMapping[str, Any]], Awaitable[None]]:
    async def wrapped(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            present = {name for name, _ in message["headers"]}
            message["headers"] = [
                *message["headers"],
                *(pair for pair in HEADERS if pair[0] not in present),
            ]
        await send(message)

    return wrapped


async def read_body(request: Request) -> bytes:
    """The body, read no further than its bound and waited for no longer; or BodyRefusedError."""
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > BODY_BYTES:
        raise BodyRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > BODY_BYTES:
                    raise BodyRefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    except TimeoutError:
        raise BodyRefusedError(HTTPStatus.REQUEST_TIMEOUT) from None
    except ClientDisconnect:
        raise BodyRefusedError(HTTPStatus.BAD_REQUEST) from None  # nobody hears it
    return bytes(body)

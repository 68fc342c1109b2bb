"""The HTTP side of the node's socket: uvicorn's protocol, with the bounds it lacks."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_TIMEOUT_S = 10.0  # uvicorn has none for a connection that never completes its request


class RequestDoor(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with a time limit for the first request."""

    _first: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._first = self.loop.call_later(REQUEST_TIMEOUT_S, self.transport.close)

    def on_headers_complete(self) -> None:
        if self._first is not None:
            self._first.cancel()
            self._first = None
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._first is not None:
            self._first.cancel()
        super().connection_lost(exc)

    def let_go(self) -> None:
        """The connection belongs to a WebSocket from now on; `connection_lost` never comes."""
        if self._first is not None:
            self._first.cancel()
            self._first = None

"""One set of verbs over both released SDKs, so that each scenario is written once."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

Json = dict[str, Any]
TIMEOUT_S = 10.0


class SdkError(Exception):
    """The SDK reports that a call was refused."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Events:
    """What an SDK told its application, in order; each is looked at once."""

    def __init__(self) -> None:
        self._kept: list[Json] = []
        self._news = asyncio.Event()

    def add(self, event: Json) -> None:
        self._kept.append(event)
        self._news.set()

    async def sees(self, kind: str, timeout_s: float = TIMEOUT_S, **fields: object) -> Json:
        """The oldest event of that kind and those fields; others stay."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    for event in self._kept:
                        if event["event"] == kind and _has(event, fields):
                            self._kept.remove(event)
                            return event
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"no {kind} {fields} among {self._kept}") from None

    def saw_nothing_of(self, kind: str, **fields: object) -> bool:
        return not any(e["event"] == kind and _has(e, fields) for e in self._kept)

    def forget(self) -> None:
        self._kept.clear()


class Sdk(Protocol):
    """One client of a released SDK."""

    events: Events

    async def open(
        self, url: str, token: str, *, with_get_token: bool = False, **options: object
    ) -> None: ...
    async def offer(self, *tokens: str) -> None:
        """Tokens that the application's getToken will return, in order."""

    async def connect(self) -> None: ...
    async def disconnect(self) -> None: ...
    async def cut(self) -> None:
        """Drop the TCP connection."""

    async def subscribe(
        self,
        topic: str,
        *,
        token: str = "",
        with_get_token: bool = False,
        positioned: bool = False,
        recoverable: bool = False,
        join_leave: bool = False,
    ) -> None: ...
    async def unsubscribe(self, topic: str) -> None: ...
    async def publish(self, topic: str, data: object) -> None: ...
    async def rpc(self, method: str, data: object) -> Any: ...
    async def history(
        self,
        topic: str,
        limit: int,
        since: Mapping[str, object] | None = None,
        *,
        reverse: bool = False,
    ) -> Json: ...
    async def presence(self, topic: str) -> Json: ...
    async def presence_stats(self, topic: str) -> Json: ...
    async def close(self) -> None: ...


def _has(event: Json, fields: Mapping[str, object]) -> bool:
    return all(event.get(name) == value for name, value in fields.items())

"""Who waits for what on one connection: answers by id, subscriptions by topic, any change."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from messenger.client.errors import RpcError
from messenger.wire.messages import Result, SubscribeResult

TIMEOUT_S = 10.0
_T = TypeVar("_T")


class Disconnected(ConnectionError):  # noqa: N818 - a state of the world, named as SDKs do
    """The connection ended; whether a request was executed is not known."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    @property
    def final(self) -> bool:
        """A close code after which SDKs do not come back."""
        code = self.code
        return code is not None and (3500 <= code <= 3999 or 4500 <= code <= 4999)


class Waiting:
    """Futures of one client; all of them end with the connection."""

    def __init__(self) -> None:
        self._answers: dict[int, asyncio.Future[Result]] = {}
        self._subscriptions: dict[str, asyncio.Future[SubscribeResult]] = {}
        self._change: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def expect(self, id: int) -> asyncio.Future[Result]:
        self._answers[id] = answer = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_retrieved)
        return answer

    def expect_topic(self, topic: str) -> asyncio.Future[SubscribeResult]:
        self._subscriptions[topic] = answer = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_retrieved)
        return answer

    def forget(self, id: int) -> None:
        """Nobody waits for this answer any more, also where it was never asked for."""
        self._answers.pop(id, None)

    def settle(self, id: int, answer: Result | RpcError) -> None:
        """An answer nobody waits for any more is dropped."""
        _settle(self._answers.pop(id, None), answer)

    def settle_topic(self, topic: str, answer: SubscribeResult | RpcError) -> None:
        _settle(self._subscriptions.pop(topic, None), answer)

    def end(self, ended: Disconnected) -> None:
        error = Disconnected(ended.code, ended.reason)
        for answer in self._answers.values():
            _fail(answer, error)
        for subscription in self._subscriptions.values():
            _fail(subscription, error)
        self._answers.clear()
        self._subscriptions.clear()

    def changed(self) -> None:
        change, self._change = self._change, asyncio.get_running_loop().create_future()
        change.set_result(None)

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Return once `condition` holds; it is evaluated now and after each change."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.shield(self._change)


def _retrieved(answer: asyncio.Future[_T]) -> None:
    """One who is still sending the request learns of the end by that."""
    if not answer.cancelled():
        answer.exception()


def _settle(future: asyncio.Future[_T] | None, answer: _T | RpcError) -> None:
    if future is None or future.done():
        return
    if isinstance(answer, RpcError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def _fail(future: asyncio.Future[_T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)

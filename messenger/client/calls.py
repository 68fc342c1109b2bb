"""Rpcs that the core wants made: in order, a few at a time, again after a refusal that passes."""

from collections import deque
from collections.abc import Callable

from msgspec import Struct

from messenger.client.errors import Json, RpcError

IN_FLIGHT = 8


class Call(Struct, eq=False):
    """One request and what becomes of its answer."""

    method: str
    data: Json
    then: Callable[[Json], None]
    failed: Callable[[RpcError], None]
    not_before: float = 0.0


class Calls:
    """The queue between the core and whatever carries its rpcs."""

    def __init__(self) -> None:
        self._waiting: deque[Call] = deque()
        self._flying: list[Call] = []

    def ask(
        self,
        method: str,
        data: Json,
        then: Callable[[Json], None],
        failed: Callable[[RpcError], None],
    ) -> None:
        self._waiting.append(Call(method, data, then, failed))

    def ready(self, now: float) -> list[Call]:
        """The calls to send now; they count as sent."""
        going: list[Call] = []
        for call in tuple(self._waiting):
            if len(self._flying) >= IN_FLIGHT:
                break
            if call.not_before <= now:
                self._waiting.remove(call)
                self._flying.append(call)
                going.append(call)
        return going

    def due(self) -> float | None:
        """When a refused call may be repeated; None if nothing waits for time."""
        later = [call.not_before for call in self._waiting if call.not_before]
        return min(later, default=None)

    def answered(self, call: Call, result: Json) -> None:
        if self._landed(call):
            call.then(result)

    def refused(self, call: Call, error: RpcError, now: float) -> None:
        if not self._landed(call):
            return
        wait = error.retry_after_s
        if wait is None:
            call.failed(error)
        else:
            call.not_before = now + wait
            self._waiting.appendleft(call)

    def clear(self) -> None:
        """The connection is gone: answers that still come are of no interest."""
        self._waiting.clear()
        self._flying.clear()

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._flying

    def _landed(self, call: Call) -> bool:
        if call not in self._flying:
            return False
        self._flying.remove(call)
        return True

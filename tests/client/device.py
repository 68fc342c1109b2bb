"""A core, a plain server and a network that does what the test says."""

from collections import Counter
from typing import Any

from messenger.client.calls import Call
from messenger.client.core import Core
from messenger.client.errors import Json, RpcError
from tests.client.plain_server import ME, OTHER, PlainChat, PlainServer


class Device:
    """Calls wait in `calls` until the test answers them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.server = PlainServer()
        self.seen: list[Json] = []
        self.minted = 0
        self.core = Core(
            ME, random_id=self._mint, spread=lambda seconds: seconds / 2, on_update=self.seen.append
        )
        self.asked: Counter[str] = Counter()
        self.refusals: dict[str, RpcError] = {}

    def _mint(self) -> int:
        self.minted += 1
        return self.minted

    @classmethod
    def ready(cls) -> "Device":
        """A device that has caught up; chat 100 has one message, 900 is big."""
        device = cls()
        device.server.join("100")
        device.server.join("900", big=True)
        device.server.post(device.server.chats["100"], OTHER, "first")
        device.core.on_connected(recovered=False, now=device.now)
        device.answer_all()
        assert device.core.ready
        device.asked.clear()
        return device

    @property
    def chat(self) -> PlainChat:
        return self.server.chats["100"]

    @property
    def big(self) -> PlainChat:
        return self.server.chats["900"]

    def hears(self, update: Json | None) -> None:
        assert update is not None
        self.core.on_publication(update, self.now)

    def pending(self) -> list[Call]:
        return self.core.calls.ready(self.now)

    def answer(self, call: Call) -> None:
        self.asked[call.method] += 1
        if (refusal := self.refusals.pop(call.method, None)) is not None:
            self.core.on_answer(call, refusal, self.now)
        else:
            self.core.on_answer(call, self.server.answer(call.method, call.data), self.now)

    def answer_all(self) -> None:
        while pending := self.pending():
            for call in pending:
                self.answer(call)

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now)

    def reconnect(self, *, recovered: bool) -> None:
        self.core.on_disconnected()
        self.core.on_connected(recovered=recovered, now=self.now)

    def texts(self, chat: str = "100") -> list[Any]:
        return self.core.state.chats[chat].texts

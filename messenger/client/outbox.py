"""Sends that have no answer yet; they keep their random_id over every reconnect."""

import unicodedata
from collections import deque
from collections.abc import Callable

from msgspec import Struct

from messenger.client.calls import Calls
from messenger.client.errors import Json, RpcError


class Sending(Struct, eq=False):
    """One intention to send; the same object from the first try to the answer."""

    chat: str
    request: Json
    result: Json | None = None
    error: RpcError | None = None
    settled: Callable[["Sending"], None] | None = None

    @property
    def random_id(self) -> str:
        return str(self.request["random_id"])


class Outbox:
    """All of it is repeated after a catch-up, with the same random_ids.

    Of a chat one at a time: a send that is told to wait would be overtaken by those behind it.
    """

    def __init__(self, account: str, calls: Calls, acked: Callable[[Json], None]) -> None:
        self._account = account
        self._calls = calls
        self._acked = acked
        self.pending: dict[str, Sending] = {}
        self._lines: dict[str, deque[Sending]] = {}
        """Of each chat: the first is on its way."""

    def add(self, sending: Sending) -> None:
        self.pending[sending.random_id] = sending
        self._lines.setdefault(sending.chat, deque()).append(sending)

    def send(self, sending: Sending) -> None:
        """Now, or when those before it in its chat are answered."""
        if self._lines[sending.chat][0] is sending:
            self._ask(sending)

    def repeat(self) -> None:
        for line in self._lines.values():
            self._ask(line[0])

    def _ask(self, sending: Sending) -> None:
        def answered(result: Json) -> None:
            self._settle(sending, result=result)

        def failed(error: RpcError) -> None:
            self._settle(sending, error=error)

        self._calls.ask("messages.send", sending.request, answered, failed)

    def _settle(
        self, sending: Sending, *, result: Json | None = None, error: RpcError | None = None
    ) -> None:
        self.pending.pop(sending.random_id, None)
        self._advance(sending)
        sending.result, sending.error = result, error
        if result is not None and "seq" in result:
            self._acked(own_message(self._account, sending.request, result))
        if sending.settled is not None:
            sending.settled(sending)

    def _advance(self, sending: Sending) -> None:
        """The next of its chat may go; one repeated after a `resync` is answered twice."""
        line = self._lines.get(sending.chat)
        if line is None or line[0] is not sending:
            return
        line.popleft()
        if line:
            self._ask(line[0])
        else:
            del self._lines[sending.chat]


def own_message(account: str, request: Json, result: Json) -> Json:
    """The `message.new` that an ack stands for: it is applied under the gap rule."""
    message = {
        "seq": result["seq"],
        "ev": result["ev"],
        "from": account,
        "at": result["at"],
        "k": "media" if request.get("media") else "text",
    }
    if request.get("text"):
        message["text"] = unicodedata.normalize("NFC", request["text"])
    for name in ("ents", "media", "reply", "silent"):
        if request.get(name):
            message[name] = request[name]
    return {"t": "message.new", "chat": request["chat"], "ev": result["ev"], "m": message}

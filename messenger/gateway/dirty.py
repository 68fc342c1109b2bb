"""Heads of big chats for members who are not looking: at most one per chat and five seconds.

A session is told of the big chats it asked about with `sync.heads`; one that has the chat open on
screen hears of it there and gets no head besides.

On the bus, `dirty:<chat>` carries the update itself, or "x account": the account is out.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from messenger.bus.bus import Bus
from messenger.ids import ChatId

if TYPE_CHECKING:
    from messenger.gateway.session import Session

EVERY_S = 5.0
TICK_S = 0.5


class _Place(Struct, frozen=True, gc=False):
    """What of a head says how new it is: nodes tell theirs in any order."""

    epoch: int
    ev: int


_place = msgspec.json.Decoder(_Place).decode


class DirtyHeads:
    """chat -> sessions of this node that want its head."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._sessions: dict[ChatId, dict[Session, None]] = {}
        self._chats: dict[Session, set[ChatId]] = {}
        self._sent_at: dict[ChatId, float] = {}
        self._waiting: dict[ChatId, bytes] = {}

    async def watch(self, session: "Session", chats: Iterable[ChatId]) -> None:
        """Returns once the node listens, so that a head read after it misses nothing."""
        mine = self._chats.setdefault(session, set())
        new = [chat for chat in chats if chat not in mine]
        for chat in new:
            mine.add(chat)
            listeners = self._sessions.setdefault(chat, {})
            if not listeners:
                self._bus.listen(f"dirty:{chat}")
            listeners[session] = None
        for chat in new:
            await self._bus.listening(f"dirty:{chat}")

    def forget(self, session: "Session") -> None:
        for chat in self._chats.pop(session, ()):
            self._unwatch(session, chat)

    def heard(self, topic: str, update: bytes) -> None:
        """The bus brought a head; a newer one replaces one that waits."""
        chat = ChatId(int(topic.partition(":")[2]))
        if update.startswith(b"x "):
            self._expel(chat, int(update[2:]))
        elif time.monotonic() - self._sent_at.get(chat, 0.0) >= EVERY_S:
            self._send(chat, update)
        elif chat not in self._waiting or _is_newer(update, self._waiting[chat]):
            self._waiting[chat] = update

    async def run(self) -> None:
        """Send what waits when its time has come, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            due = [c for c in self._waiting if now - self._sent_at.get(c, 0.0) >= EVERY_S]
            for chat in due:
                self._send(chat, self._waiting.pop(chat))

    def _expel(self, chat: ChatId, account: int) -> None:
        for session in list(self._sessions.get(chat, ())):
            if session.caller is not None and session.caller.account == account:
                self._chats[session].discard(chat)
                self._unwatch(session, chat)

    def _unwatch(self, session: "Session", chat: ChatId) -> None:
        listeners = self._sessions[chat]
        del listeners[session]
        if not listeners:
            del self._sessions[chat]
            self._sent_at.pop(chat, None)
            self._waiting.pop(chat, None)
            self._bus.unlisten(f"dirty:{chat}")

    def _send(self, chat: ChatId, update: bytes) -> None:
        self._sent_at[chat] = time.monotonic()
        topic = f"chat:{chat}"
        for session in self._sessions.get(chat, {}):
            if session.connection.lagging or topic in session.subscriptions:
                continue  # it may miss a head; or it sees the chat itself
            if session.caller is not None:
                session.send(session.codec.publication(f"eph:{session.caller.account}", update))


def _is_newer(head: bytes, other: bytes) -> bool:
    one, two = _place(head), _place(other)
    return (one.epoch, one.ev) > (two.epoch, two.ev)

"""Heads of big chats for members who are not looking: at most one per chat and five seconds.

A session is told of the big chats it asked about with `sync.heads`; one that has the chat open on
screen hears of it there and gets no head besides.

On the bus, `dirty:<chat>` carries the update itself, or "x account": the account is out. Before
the update may stand how large the audience is: "p " spreads it over `SLOTS` ticks, by a hash of
the account, where many sessions of this node want it, so that they do not all fetch at once; "u "
is a verified channel, told sooner and oftener.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from messenger.bus.bus import Bus
from messenger.delivery.audience import Audience
from messenger.ids import ChatId

if TYPE_CHECKING:
    from messenger.gateway.session import Session

EVERY_S = 5.0
URGENT_EVERY_S = 1.0
TICK_S = 0.5
SLOTS = {Audience.USUAL: 1, Audience.PACED: 20, Audience.URGENT: 4}  # ticks: 10 s, 2 s
AT_ONCE = 1_000  # sessions of a node that may fetch together: half a second of one core


class _Place(Struct, frozen=True, gc=False):
    """What of a head says how new it is: nodes tell theirs in any order."""

    epoch: int
    ev: int


_place = msgspec.json.Decoder(_Place).decode


class _Told(Struct, frozen=True, gc=False):
    """A head as the bus brought it."""

    update: bytes
    audience: Audience

    @property
    def every_s(self) -> float:
        return URGENT_EVERY_S if self.audience is Audience.URGENT else EVERY_S


class DirtyHeads:
    """chat -> sessions of this node that want its head."""

    def __init__(self, bus: Bus, *, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._bus = bus
        self._sessions: dict[ChatId, dict[Session, None]] = {}
        self._chats: dict[Session, set[ChatId]] = {}
        self._sent_at: dict[ChatId, float] = {}
        self._waiting: dict[ChatId, _Told] = {}
        self._slots: dict[ChatId, tuple[_Told, int]] = {}
        """Heads on their way to many, and the next slot."""
        self.on_told: Callable[[ChatId, bytes, int], None] = lambda _chat, _update, _sessions: None

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
            return
        told = _told(update)
        rested = time.monotonic() - self._sent_at.get(chat, 0.0) >= told.every_s
        if rested and chat not in self._slots:
            self._send(chat, told)
        elif chat not in self._waiting or _is_newer(told.update, self._waiting[chat].update):
            self._waiting[chat] = told

    async def run(self) -> None:
        """Send what waits when its time has come, until cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    def tick(self) -> None:
        """The next slots, and the heads that have waited long enough."""
        for chat, (told, slot) in list(self._slots.items()):
            self._send_slot(chat, told, slot)
        now = time.monotonic()
        due = [
            chat
            for chat, told in self._waiting.items()
            if now - self._sent_at.get(chat, 0.0) >= told.every_s and chat not in self._slots
        ]
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
            self._slots.pop(chat, None)
            self._bus.unlisten(f"dirty:{chat}")

    def _send(self, chat: ChatId, told: _Told) -> None:
        self._sent_at[chat] = time.monotonic()
        if len(self._sessions.get(chat, {})) > self._at_once and SLOTS[told.audience] > 1:
            self._send_slot(chat, told, 0)
            return
        given = sum(self._give(session, chat, told) for session in self._sessions.get(chat, {}))
        self.on_told(chat, told.update, given)

    def _send_slot(self, chat: ChatId, told: _Told, slot: int) -> None:
        """Those whose account falls into this slot; the same ones every time."""
        slots = SLOTS[told.audience]
        given = 0
        for session in self._sessions.get(chat, {}):
            if session.caller is not None and slot_of(session.caller.account, slots) == slot:
                given += self._give(session, chat, told)
        self.on_told(chat, told.update, given)
        if slot + 1 < slots:
            self._slots[chat] = told, slot + 1
        else:
            self._slots.pop(chat, None)

    def _give(self, session: "Session", chat: ChatId, told: _Told) -> bool:
        if session.connection.lagging or f"chat:{chat}" in session.subscriptions:
            return False  # it may miss a head; or it sees the chat itself
        if session.caller is None:
            return False
        session.send(session.codec.publication(f"eph:{session.caller.account}", told.update))
        return True


def slot_of(account: int, slots: int) -> int:
    """Spread evenly whatever the ids look like: their low bits are a counter, mostly 0."""
    return (account * 0x9E3779B97F4A7C15 >> 32) % slots


def _told(payload: bytes) -> _Told:
    for audience in (Audience.URGENT, Audience.PACED):
        if payload.startswith(audience.value):
            return _Told(payload[len(audience.value) :], audience)
    return _Told(payload, Audience.USUAL)


def _is_newer(head: bytes, other: bytes) -> bool:
    one, two = _place(head), _place(other)
    return (one.epoch, one.ev) > (two.epoch, two.ev)

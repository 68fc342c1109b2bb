"""What this node knows of channels: who signs, who is verified, how large the audience is.

Hot paths ask without waiting and get what was known last; whoever decides something reads at most
`FRESH_S` old facts.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from msgspec import Struct

from messenger.badges import Subject, shown
from messenger.chats.rights import Kind
from messenger.chats.store.chats import ChatRow, ChatRows
from messenger.db.engine import StoreDown
from messenger.delivery.audience import Audience
from messenger.ids import ChatId

FRESH_S = 5.0
KNOWN = 50_000  # channels, ~1 KB each; the one not asked for longest leaves first
WANTED = 10_000  # waiting to be read; beyond it they are asked for again with their next post
PACED_FROM = 10_000  # subscribers: all of them fetching in one second would be a flood

log = logging.getLogger(__name__)


class _Known(Struct, frozen=True, gc=False):
    row: ChatRow | None
    verified: bool
    read_at: float


class ChannelFacts:
    """chat -> its row, as read lately."""

    def __init__(
        self,
        chats: ChatRows,
        now_ms: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chats = chats
        self._now_ms = now_ms
        self._monotonic = monotonic
        self._known: OrderedDict[ChatId, _Known] = OrderedDict()
        self._wanted: asyncio.Queue[ChatId] = asyncio.Queue(WANTED)
        self._asked: set[ChatId] = set()

    async def channel(self, chat: ChatId) -> ChatRow | None:
        """None where it is no channel, or gone."""
        known = self._known.get(chat)
        if known is None or self._is_old(known):
            known = await self._read(chat)
        return known.row

    async def is_verified(self, chat: ChatId) -> bool:
        """Does it carry a badge that may be drawn."""
        await self.channel(chat)
        return self._known[chat].verified

    def peek(self, chat: ChatId) -> ChatRow | None:
        """What was known last; None also for what was never asked."""
        known = self._known.get(chat)
        return known.row if known is not None else None

    def audience(self, chat: ChatId) -> Audience:
        """How its heads are told. Never awaits: unknown ones are usual, and known next time."""
        known = self._known.get(chat)
        if known is None or self._is_old(known):
            self._want(chat)
        if known is None or known.row is None:
            return Audience.USUAL
        if known.verified:
            return Audience.URGENT
        return Audience.PACED if known.row.member_count >= PACED_FROM else Audience.USUAL

    def forget(self, chat: ChatId) -> None:
        """It has just been changed here."""
        self._known.pop(chat, None)

    async def run(self) -> None:
        """Read what is wanted until cancelled."""
        while True:
            chat = await self._wanted.get()
            self._asked.discard(chat)
            try:
                await self._read(chat)
            except StoreDown:
                log.warning("facts of a channel wait for its next post")
            except Exception:  # the root of a task
                log.exception("facts of a channel not read")

    def _want(self, chat: ChatId) -> None:
        if chat not in self._asked and not self._wanted.full():
            self._asked.add(chat)
            self._wanted.put_nowait(chat)

    async def _read(self, chat: ChatId) -> _Known:
        row = (await self._chats.chats([chat])).get(chat)
        if row is not None and row.kind is not Kind.CHANNEL:
            row = None
        verified = row is not None and is_verified(row, self._now_ms())
        known = self._known[chat] = _Known(row, verified, self._monotonic())
        self._known.move_to_end(chat)
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)
        return known

    def _is_old(self, known: _Known) -> bool:
        return self._monotonic() - known.read_at > FRESH_S


def is_verified(row: ChatRow, now_ms: int) -> bool:
    subject = Subject(row.username, row.title or "", row.owner or 0)
    return shown(row.badge, row.badge_epoch, subject, now_ms) is not None

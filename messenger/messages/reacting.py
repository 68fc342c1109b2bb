"""Reactions: one per account and message, counted exactly, told at most once a second.

The first change within a second makes its event in the transaction that counts it; later ones only
mark the counts as not yet told, and `run` makes their one event when the second is over.
"""

import asyncio
import heapq
import logging
import time
import unicodedata
from collections.abc import Callable

import msgspec

from messenger.db.engine import StoreDown
from messenger.delivery.fanout import Delivery
from messenger.feature import Caller, Refused
from messenger.ids import ChatId
from messenger.messages.objects import chat_of
from messenger.messages.posts import Posts
from messenger.messages.protocol import Empty, MessageReactions, React
from messenger.messages.store import MessageStore, Reacted
from messenger.wire.codes import ErrorCode

EVERY_MS = 1_000
KINDS = 20  # different emoji on one message; its counts travel in every update
EMOJI_CHARACTERS = 16  # families and flags are sequences
RETRY_S = 1.0
LATE = 10_000  # found by readers; beyond it the next reader finds them again

log = logging.getLogger(__name__)


class Reacting:
    """The rpc `messages.react`, and the task that tells late counts."""

    def __init__(
        self,
        store: MessageStore,
        delivery: Delivery,
        monotonic: Callable[[], float] = time.monotonic,
        posts: Posts | None = None,
    ) -> None:
        self._posts = posts
        self._store = store
        self._delivery = delivery
        self._monotonic = monotonic
        self._late: dict[tuple[ChatId, int], float] = {}  # one entry a message and second
        self._due: list[tuple[float, ChatId, int]] = []
        self._wake = asyncio.Event()

    async def react(self, request: React, caller: Caller) -> Empty:
        if request.emoji is not None and not is_emoji(request.emoji):
            raise Refused(ErrorCode.REACTION_NOT_ALLOWED)
        chat = chat_of(request.chat)
        if request.emoji is not None and not await self._allows(chat, request.emoji):
            await self._store.member(chat, caller.account)  # to others there is no such chat
            raise Refused(ErrorCode.REACTION_NOT_ALLOWED)
        reacted = await self._store.react(
            chat, request.seq, caller.account, request.emoji, KINDS, EVERY_MS
        )
        if reacted is not None:
            self._tell(chat, request.seq, reacted)
        return Empty()

    async def _allows(self, chat: ChatId, emoji: str) -> bool:
        return self._posts is None or await self._posts.allows(chat, emoji)

    async def run(self) -> None:
        """Tell late counts when their second is over, until cancelled.

        A process that dies within the second leaves the mark; the next change of that message
        tells it, or the next reader (`late`).
        """
        while True:
            while not self._due:
                self._wake.clear()
                await self._wake.wait()
            wait_s = self._due[0][0] - self._monotonic()
            if wait_s > 0:
                await self._sleep(wait_s)  # then look again: an earlier one may have come
                continue
            _, chat, seq = heapq.heappop(self._due)
            self._late.pop((chat, seq), None)
            await self._flush(chat, seq)

    async def _sleep(self, wait_s: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    def late(self, chat: ChatId, seq: int) -> None:
        """Counts were found that nobody was told of: their turn comes, here or elsewhere."""
        if len(self._late) < LATE:
            self._later(chat, seq, EVERY_MS / 1000)

    async def _flush(self, chat: ChatId, seq: int) -> None:
        try:
            reacted = await self._store.flush_reactions(chat, seq, EVERY_MS)
        except StoreDown:
            log.warning("reactions wait", extra={"retry_s": RETRY_S})
            self._later(chat, seq, RETRY_S)
            return
        except Exception:  # the root of a task: the next reader finds these counts again
            log.exception("reactions not told")
            return
        if reacted is not None:
            self._tell(chat, seq, reacted)

    def _tell(self, chat: ChatId, seq: int, reacted: Reacted) -> None:
        if reacted.event is None:
            self._later(chat, seq, reacted.wait_ms / 1000)
            return
        update = MessageReactions(str(chat), reacted.event.ev, seq, reacted.counts)
        self._delivery.chat_event(reacted.event, msgspec.json.encode(update))

    def _later(self, chat: ChatId, seq: int, wait_s: float) -> None:
        if (chat, seq) in self._late:
            return
        at = self._monotonic() + wait_s
        self._late[chat, seq] = at
        heapq.heappush(self._due, (at, chat, seq))
        self._wake.set()


def is_emoji(text: str) -> bool:
    """A short sequence of symbols: no letters, no spaces, at least one thing to see.

    Unicode's own list changes every year; what a client cannot draw it shows as a box.
    """
    if not 0 < len(text) <= EMOJI_CHARACTERS:
        return False
    categories = {unicodedata.category(character) for character in text}
    keycap = "\u20e3" in text  # a digit and its frame
    allowed = {"So", "Sk", "Sm", "Po", "Mn", "Me", "Cf", "Nd" if keycap else "So"}
    return categories <= allowed and bool(categories & {"So", "Me"} or text[0] in "‼⁉")

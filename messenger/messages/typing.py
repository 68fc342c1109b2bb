"""Somebody is typing: told to the others of a small chat, never stored, dropped in big ones.

Membership is remembered for a few seconds, so that the usual call asks nobody. A member who was
just removed may be shown as typing for that long; they can write nothing.
"""

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from messenger.delivery.fanout import Delivery
from messenger.feature import Caller, Later, Shed, Sheds, sheds_nothing
from messenger.ids import AccountId, ChatId
from messenger.log.events import ChatFlag
from messenger.messages.aside import Aside
from messenger.messages.objects import chat_of
from messenger.messages.protocol import Empty, Typing, TypingNow
from messenger.messages.store import MessageStore, Standing

REMEMBERED_S = 10.0
REMEMBERED = 20_000  # (chat, account) pairs; the oldest leave first


class TypingRelay:
    """The rpc `messages.typing`."""

    def __init__(
        self,
        store: MessageStore,
        delivery: Delivery,
        aside: Aside,
        monotonic: Callable[[], float] = time.monotonic,
        sheds: Sheds = sheds_nothing,
    ) -> None:
        self._store = store
        self._delivery = delivery
        self._aside = aside
        self._monotonic = monotonic
        self._sheds = sheds
        self._known: OrderedDict[tuple[ChatId, AccountId], tuple[float, Standing]] = OrderedDict()

    def typing(self, request: Typing, caller: Caller) -> Empty | Later:
        chat = chat_of(request.chat)
        if self._sheds(Shed.TYPING):
            return Empty()  # nobody waits for it, and the next one comes in seconds
        known = self._known.get((chat, caller.account))
        if known is None or known[0] < self._monotonic():
            return self._aside.ask(lambda: self._look(chat, request.kind, caller))
        self._tell(chat, request.kind, caller, known[1])
        return Empty()

    async def _look(self, chat: ChatId, kind: str, caller: Caller) -> Empty:
        standing = await self._store.member(chat, caller.account)
        self._known[chat, caller.account] = self._monotonic() + REMEMBERED_S, standing
        self._known.move_to_end((chat, caller.account))
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        self._tell(chat, kind, caller, standing)
        return Empty()

    def _tell(self, chat: ChatId, kind: str, caller: Caller, standing: Standing) -> None:
        if standing.flags & ChatFlag.BIG or not standing.may_post:
            return
        update = msgspec.json.encode(TypingNow(str(chat), str(caller.account), kind))
        self._delivery.ephemeral_chat(chat, standing.member_ver, update, caller.account)

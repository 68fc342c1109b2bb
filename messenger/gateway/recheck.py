"""Orders (close a device, leave a chat) travel over the bus once; what a lost link took is redone.

When a link is back, every session is compared with what the stores say, in slices: a node with
15,000 sessions takes a few seconds and delays nobody.
"""

import asyncio
import time
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

from messenger.bus.bus import Bus
from messenger.bus.keys import revoked_key
from messenger.gateway.positions import ChatDoor, chat_of
from messenger.wire.codes import CloseCode, UnsubscribeCode

if TYPE_CHECKING:
    from messenger.gateway.session import Session

SLICE = 200
PAUSE_S = 0.05


class Recheck:
    """Closes sessions of revoked devices, ends subscriptions of those who are no longer members."""

    def __init__(self, bus: Bus, chats: ChatDoor) -> None:
        self._bus = bus
        self._chats = chats

    async def run(self, sessions: Sequence["Session"]) -> None:
        """Once over `sessions`."""
        left = iter(sessions)
        while some := list(islice(left, SLICE)):
            await self._check_devices(some)
            for session in some:
                await self._check_chats(session)
            await asyncio.sleep(PAUSE_S)

    async def _check_devices(self, sessions: Sequence["Session"]) -> None:
        signed_in = [(one, one.caller) for one in sessions if one.caller is not None]
        replies = await self._bus.ask_all(
            [("HGET", revoked_key(caller.account), caller.device) for _, caller in signed_in]
        )
        now = time.time()
        for (session, _), until in zip(signed_in, replies, strict=True):
            if until is not None and int(until) > now:
                session.close(CloseCode.DEVICE_REVOKED)

    async def _check_chats(self, session: "Session") -> None:
        caller = session.caller
        if caller is None:
            return
        for subscription in list(session.subscriptions.values()):
            room = subscription.room
            if room.source != "chat" or subscription.buffer is not None:
                continue  # one that is still being opened asks for itself
            if not await self._chats.may_open(chat_of(room.topic), caller.account):
                session.end_subscription(subscription, UnsubscribeCode.SERVER)

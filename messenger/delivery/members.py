"""The member lists of small chats, as this node last saw them.

A list is trusted only as long as its version: every commit returns the chat's `member_ver`, so a
list that is older than the commit is loaded again before anything goes out. What waits for a load
goes out in the order it came.
"""

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence

from messenger.ids import AccountId, ChatId

LISTS = 50_000  # chats; ~1 KB each with 20 members, so ~50 MB; the oldest used leave first
WAITING = 10_000  # deliveries; beyond it they are dropped and heal by the gap rule
LOADERS = 4  # of the pool's connections
RETRY_S = 1.0

log = logging.getLogger(__name__)

Load = Callable[[ChatId], Awaitable[tuple[int, Sequence[AccountId]]]]
Deliver = Callable[[Sequence[AccountId]], None]


class MemberLists:
    """chat -> (version, accounts)."""

    def __init__(self, load: Load, most_waiting: int = WAITING) -> None:
        self._load = load
        self._most_waiting = most_waiting
        self._lists: OrderedDict[ChatId, tuple[int, Sequence[AccountId]]] = OrderedDict()
        self._waiting: dict[ChatId, deque[tuple[int, Deliver]]] = {}
        self._count = 0
        self._to_load: asyncio.Queue[ChatId] = asyncio.Queue()

    def with_members(self, chat: ChatId, version: int, deliver: Deliver) -> bool:
        """Call `deliver` with the members at `version` or later: now if known, else once loaded.

        False: too many deliveries wait already and this one was dropped.
        """
        known = self.known(chat, version)
        if known is not None:
            _give(deliver, known)
            return True
        waiting = self._waiting.get(chat)
        if self._count >= self._most_waiting:
            return False
        if waiting is None:
            waiting = self._waiting[chat] = deque()
            self._to_load.put_nowait(chat)
        self._count += 1
        waiting.append((version, deliver))
        return True

    def known(self, chat: ChatId, version: int) -> Sequence[AccountId] | None:
        """The members at `version` or later, if they are here and nothing of the chat waits."""
        known = self._lists.get(chat)
        if known is None or known[0] < version or chat in self._waiting:
            return None
        self._lists.move_to_end(chat)
        return known[1]

    @property
    def waiting(self) -> int:
        """Deliveries that wait for a list."""
        return self._count

    def forget(self, chat: ChatId) -> None:
        """Drop the list: its members changed."""
        self._lists.pop(chat, None)

    async def run(self) -> None:
        """Load what is asked for until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(LOADERS):
                tasks.create_task(self._loader(), name=f"members-{number}")

    async def _loader(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            chat = await self._to_load.get()
            try:
                version, accounts = await self._load(chat)
            except Exception:  # noqa: BLE001 - the root of a background task; the load is repeated
                log.warning("member list not loaded", extra={"retry_s": RETRY_S})
                loop.call_later(RETRY_S, self._to_load.put_nowait, chat)
                continue
            self._lists[chat] = version, accounts
            while len(self._lists) > LISTS:
                self._lists.popitem(last=False)
            self._serve(chat, version, accounts)

    def _serve(self, chat: ChatId, version: int, accounts: Sequence[AccountId]) -> None:
        """Deliver what the list is new enough for, in order; what is not waits for another load."""
        waiting = self._waiting[chat]
        while waiting and waiting[0][0] <= version:
            self._count -= 1
            _give(waiting.popleft()[1], accounts)
        if waiting:
            self._to_load.put_nowait(chat)
        else:
            del self._waiting[chat]


def _give(deliver: Deliver, accounts: Sequence[AccountId]) -> None:
    """One delivery that fails must not take the others, or the node, with it."""
    try:
        deliver(accounts)
    except Exception:
        log.exception("delivery failed")

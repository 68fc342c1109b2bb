"""What a post has that other messages have not: a signature, allowed reactions, counted views.

The core's `Posts`: asked by the feature messages, which does everything else about a post.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from channels.facts import ChannelFacts
from channels.protocol import Author, Authors, OfPosts
from channels.standing import Seats
from channels.viewing import Viewing
from messenger.accounts.store.people import PeopleStore, Person
from messenger.badges import Subject, shown
from messenger.chats.wire_ids import chat_of
from messenger.feature import Caller
from messenger.ids import AccountId, ChatId
from messenger.log.events import ChatFlag
from messenger.log.store import ChatStore
from messenger.messages.protocol import Signature

AUTHOR_S = 10.0  # a new name or badge is on the next posts so soon
AUTHORS_KEPT = 10_000  # people who post; the one not asked for longest leaves first


class Posting:
    """Signatures, reactions, views of posts; and who wrote them, for admins."""

    def __init__(
        self,
        facts: ChannelFacts,
        seats: Seats,
        people: PeopleStore,
        chat_log: ChatStore,
        viewing: Viewing,
        now_ms: Callable[[], int],
    ) -> None:
        self._facts = facts
        self._seats = seats
        self._people = people
        self._chat_log = chat_log
        self._viewing = viewing
        self._now_ms = now_ms
        self._authors: OrderedDict[AccountId, tuple[float, Person | None]] = OrderedDict()

    def signs(self, chat: ChatId) -> bool:
        row = self._facts.peek(chat)
        return row is not None and bool(row.flags & ChatFlag.SIGNED)

    async def signature(self, chat: ChatId, account: AccountId, *, asked: bool) -> Signature | None:
        row = await self._facts.channel(chat)
        if row is None:
            return None
        mode = row.settings.get("signed") if row.flags & ChatFlag.SIGNED else None
        author = await self._author(account) if mode or asked else None
        if author is None:
            return None
        subject = Subject(author.username, author.name, author.account)
        return Signature(
            name=author.name,
            account=str(account) if mode == "profile" else None,
            badge=shown(author.badge, author.badge_epoch, subject, self._now_ms()),
        )

    async def allows(self, chat: ChatId, emoji: str) -> bool:
        row = await self._facts.channel(chat)
        allowed = row.settings.get("reactions") if row is not None else None
        return allowed is None or emoji in allowed

    async def views(self, chat: ChatId, seqs: Sequence[int]) -> Mapping[int, int]:
        return await self._viewing.views_of(chat, seqs)

    def forwarded(self, chat: ChatId, seq: int) -> None:
        self._viewing.forwarded(chat, seq)

    async def authors(self, request: OfPosts, caller: Caller) -> Authors:
        """For admins: who wrote these posts, signed or not."""
        chat = chat_of(request.chat)
        await self._seats.admin(chat, caller.account)
        rows = await self._chat_log.messages(chat, set(request.seqs))
        return Authors([Author(row.seq, str(row.sender)) for row in rows])

    async def _author(self, account: AccountId) -> Person | None:
        now = time.monotonic()
        known = self._authors.get(account)
        if known is None or now - known[0] > AUTHOR_S:
            known = now, (await self._people.people([account])).get(account)
            self._authors[account] = known
            self._authors.move_to_end(account)
            while len(self._authors) > AUTHORS_KEPT:
                self._authors.popitem(last=False)
        return known[1]

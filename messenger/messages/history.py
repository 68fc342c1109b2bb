"""Reading back: pages of history both ways, single messages, who has read.

Pages end early at 64 KiB. Deleted messages stay as tombstones, so a page has no holes; what the
reader hid from themselves looks the same.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct, json

from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import ChatFlag
from messenger.messages.objects import (
    channel_of,
    chat_of,
    counts_of,
    message_of,
    wire_accounts,
    within_page,
)
from messenger.messages.posts import Posts
from messenger.messages.protocol import (
    MAX_SEQ,
    PAGE_BYTES,
    AtMessage,
    GetHistory,
    GetMessages,
    History,
    Message,
    Messages,
    Readers,
)
from messenger.messages.store import Found, MessageStore, Standing, floor_of
from messenger.wire.codes import ErrorCode

READERS_MAX = 200


class _Reader(Struct, frozen=True):
    """For whom a page is made, and how many bytes of messages it may have."""

    account: AccountId
    chat: ChatId
    floor: int
    """Messages up to this one do not exist for them."""
    hides: bool
    budget: int = PAGE_BYTES
    channel: ChatId | None = None


class HistoryReader:
    """The rpcs `messages.history`, `messages.get` and `messages.readers`."""

    def __init__(
        self,
        store: MessageStore,
        late: Callable[[ChatId, int], None],
        posts: Posts | None = None,
    ) -> None:
        """`late(chat, seq)`: counts were shown that nobody else was told of."""
        self._posts = posts
        self._store = store
        self._late = late

    async def history(self, request: GetHistory, caller: Caller) -> History:
        """In the order of `seq`. `more`: there is more beyond the page, in the way asked for."""
        asked = [request.before, request.after, request.around]
        if sum(point is not None for point in asked) > 1:
            why = {"field": "before", "why": "one of before, after, around"}
            raise Refused(ErrorCode.INVALID, why)
        chat = chat_of(request.chat)
        standing = await self._store.member(chat, caller.account)
        view = await self._store.view(caller.account, chat)
        gaps = merged(await self._store.gaps(chat, view.floor), view.hidden_unread)
        budget = PAGE_BYTES - len(json.encode(gaps))
        channel = channel_of(chat, standing.chat_kind)
        floor = floor_of(standing, view)
        reader = _Reader(caller.account, chat, floor, view.hides, budget, channel)
        if request.around is not None:
            messages, more = await self._around(reader, request.around, request.limit)
        elif request.after is not None:
            messages, more = await self._after(reader, request.after, request.limit)
        else:
            messages, more = await self._before(reader, request.before, request.limit)
        return History(messages=messages, gaps=gaps, last_seq=standing.last_seq, more=more)

    async def get(self, request: GetMessages, caller: Caller) -> Messages:
        """Those that exist for the caller; `left` names what no longer fitted into the page."""
        chat = chat_of(request.chat)
        standing = await self._store.member(chat, caller.account)
        view = await self._store.view(caller.account, chat)
        channel = channel_of(chat, standing.chat_kind)
        floor = floor_of(standing, view)
        reader = _Reader(caller.account, chat, floor, view.hides, channel=channel)
        messages = await self._objects(reader, await self._store.these(chat, set(request.seqs)))
        if not messages:
            raise Refused(ErrorCode.NO_MESSAGE)
        fit = within_page(messages)
        left = [message.seq for message in messages[fit:]]
        return Messages(messages=messages[:fit], left=left or None)

    async def readers(self, request: AtMessage, caller: Caller) -> Readers:
        """Members of a small chat whose cursor reached the message, its sender left out."""
        chat = chat_of(request.chat)
        standing = await self._store.member(chat, caller.account)
        if standing.flags & ChatFlag.BIG:
            raise Refused(ErrorCode.NOT_FOR_BIG_CHATS)
        sender = await self._sender(chat, request.seq, standing)
        accounts = await self._store.readers(chat, request.seq, sender, READERS_MAX)
        return Readers(wire_accounts(accounts))

    async def _sender(self, chat: ChatId, seq: int, standing: Standing) -> AccountId:
        joined = standing.joined_seq if standing.flags & ChatFlag.NO_HISTORY else 0
        found = []
        if joined < seq <= standing.last_seq:
            found = await self._store.these(chat, [seq])
        if not found:
            raise Refused(ErrorCode.NO_MESSAGE)
        return found[0].row.sender

    async def _before(
        self, reader: _Reader, before: int | None, limit: int
    ) -> tuple[list[Message], bool]:
        """The newest below `before`; cut at the old end."""
        top = before if before is not None else MAX_SEQ
        found = _above(await self._store.before(reader.chat, top, limit + 1), reader.floor)
        messages = await self._objects(reader, found[:limit])
        fit = within_page(messages, reader.budget)
        return messages[:fit][::-1], fit < len(found)

    async def _after(self, reader: _Reader, after: int, limit: int) -> tuple[list[Message], bool]:
        """The oldest above `after`; cut at the new end."""
        found = await self._store.after(reader.chat, max(after, reader.floor), limit + 1)
        messages = await self._objects(reader, found[:limit])
        fit = within_page(messages, reader.budget)
        return messages[:fit], fit < len(found)

    async def _around(self, reader: _Reader, around: int, limit: int) -> tuple[list[Message], bool]:
        """Half of the page up to the message, half after it; `more` speaks of both ways."""
        half = (limit + 1) // 2
        below = await self._store.before(reader.chat, min(around + 1, MAX_SEQ), half + 1)
        below = _above(below, reader.floor)
        after = max(around, reader.floor)
        above = await self._store.after(reader.chat, after, limit - half + 1)
        objects = await self._objects(reader, [*below[:half], *above[: limit - half]])
        split = len(below[:half])
        pairs = _zipped(objects[:split], objects[split:])
        nearest = [message for pair in pairs for message in pair]
        fit = within_page(nearest, reader.budget)
        kept = sorted(nearest[:fit], key=lambda message: message.seq)
        return kept, len(kept) < len(below) + len(above)

    async def _objects(self, reader: _Reader, found: Sequence[Found]) -> list[Message]:
        """In the given order; what the reader may not see is left out."""
        chat = reader.chat
        hidden: frozenset[tuple[ChatId, int]] = frozenset()
        if reader.hides:
            hidden = await self._store.hidden(
                reader.account, [(chat, one.row.seq) for one in found]
            )
        for one in found:
            if one.stat and "late" in one.stat:
                self._late(chat, one.row.seq)
        shown = _above(found, reader.floor)
        views: Mapping[int, int] = {}
        if reader.channel is not None and self._posts is not None:
            views = await self._posts.views(chat, [one.row.seq for one in shown])
        return [
            message_of(
                one.row,
                counts_of(one.stat),
                hidden=(chat, one.row.seq) in hidden,
                channel=reader.channel,
                views=views.get(one.row.seq),
            )
            for one in shown
        ]


def _above(found: Sequence[Found], floor: int) -> list[Found]:
    return [one for one in found if one.row.seq > floor]


def _zipped(old: Sequence[Message], new: Sequence[Message]) -> list[list[Message]]:
    """Outwards from the middle: the nearest on both sides, then the next ones."""
    longest = max(len(old), len(new))
    return [[*old[number : number + 1], *new[number : number + 1]] for number in range(longest)]


def merged(gaps: Sequence[tuple[int, int]], hidden: Sequence[int]) -> list[tuple[int, int]]:
    """Ranges of what the reader does not count as unread, each seq once, in order."""
    ranges = sorted([*gaps, *((seq, seq) for seq in hidden)])
    joined: list[tuple[int, int]] = []
    for low, high in ranges:
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return joined

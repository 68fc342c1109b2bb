"""Reading back: pages of history both ways, single messages, who has read.

Pages end early at 64 KiB. Deleted messages stay as tombstones, so a page has no holes; what the
reader hid from themselves looks the same.
"""

from collections.abc import Sequence

import msgspec

from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import ChatFlag
from messenger.log.store import ChatStore, MessageRow
from messenger.messages.objects import (
    chat_of,
    counts_of,
    message_of,
    wire_accounts,
    within_page,
)
from messenger.messages.protocol import (
    AtMessage,
    GetHistory,
    GetMessages,
    History,
    Message,
    Messages,
    Readers,
)
from messenger.messages.store import MessageStore, Standing, View, floor_of
from messenger.wire.codes import ErrorCode

READERS_MAX = 200


class HistoryReader:
    """The rpcs `messages.history`, `messages.get` and `messages.readers`."""

    def __init__(self, store: MessageStore, chats: ChatStore) -> None:
        self._store = store
        self._chats = chats

    async def history(self, request: GetHistory, caller: Caller) -> History:
        """In the order of `seq`. `more`: there is more beyond the page, in the way asked for."""
        asked = [request.before, request.after, request.around]
        if sum(point is not None for point in asked) > 1:
            why = {"field": "before", "why": "one of before, after, around"}
            raise Refused(ErrorCode.INVALID, why)
        chat = chat_of(request.chat)
        standing = await self._store.member(chat, caller.account)
        view = await self._store.view(caller.account, chat)
        floor = floor_of(standing, view)
        if request.around is not None:
            messages, more = await self._around(chat, request.around, request.limit, floor, view)
        elif request.after is not None:
            messages, more = await self._after(chat, request.after, request.limit, floor, view)
        else:
            messages, more = await self._before(chat, request.before, request.limit, floor, view)
        low = messages[0].seq - 1 if messages else standing.last_seq
        above = min(low, max(view.read_seq, view.cleared_seq))
        return History(
            messages=messages,
            gaps=merged(await self._store.gaps(chat, above), view.hidden, above),
            last_seq=standing.last_seq,
            more=more,
        )

    async def get(self, request: GetMessages, caller: Caller) -> Messages:
        """Those that exist for the caller; `left` names what no longer fitted into the page."""
        chat = chat_of(request.chat)
        standing = await self._store.member(chat, caller.account)
        view = await self._store.view(caller.account, chat)
        floor = floor_of(standing, view)
        rows = await self._chats.messages(chat, set(request.seqs))
        messages = await self._objects(chat, [row for row in rows if row.seq > floor], view)
        if not messages:
            raise Refused(ErrorCode.NO_MESSAGE)
        fit = within_page(messages)
        left = [message.seq for message in messages[fit:]]
        return Messages(messages=messages[:fit], left=left or None)

    async def shown(
        self, account: AccountId, chat: ChatId, seqs: Sequence[int]
    ) -> Sequence[msgspec.Raw]:
        """Message objects for a member, as other features show them; may be none."""
        view = await self._store.view(account, chat)
        floor = floor_of(await self._store.member(chat, account), view)
        rows = await self._chats.messages(chat, set(seqs))
        messages = await self._objects(chat, [row for row in rows if row.seq > floor], view)
        return [msgspec.Raw(msgspec.json.encode(one)) for one in messages[: within_page(messages)]]

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
        rows = await self._chats.messages(chat, [seq]) if seq <= standing.last_seq else []
        if not rows:
            raise Refused(ErrorCode.NO_MESSAGE)
        return rows[0].sender

    async def _before(
        self, chat: ChatId, before: int | None, limit: int, floor: int, view: View
    ) -> tuple[list[Message], bool]:
        """The newest below `before`; cut at the old end."""
        rows = await self._chats.history(chat, before=before, limit=limit + 1)
        rows = [row for row in rows if row.seq > floor]
        messages = await self._objects(chat, rows[-limit:], view)
        fit = within_page(messages[::-1])
        return messages[len(messages) - fit :], fit < len(rows)

    async def _after(
        self, chat: ChatId, after: int, limit: int, floor: int, view: View
    ) -> tuple[list[Message], bool]:
        """The oldest above `after`; cut at the new end."""
        rows = await self._chats.history(chat, after=max(after, floor), limit=limit + 1)
        messages = await self._objects(chat, rows[:limit], view)
        fit = within_page(messages)
        return messages[:fit], fit < len(rows)

    async def _around(
        self, chat: ChatId, around: int, limit: int, floor: int, view: View
    ) -> tuple[list[Message], bool]:
        """Half of the page up to the message, half after it; `more` speaks of both ways."""
        half = (limit + 1) // 2
        below = await self._chats.history(chat, before=around + 1, limit=half + 1)
        below = [row for row in below if row.seq > floor]
        above = await self._chats.history(chat, after=max(around, floor), limit=limit - half + 1)
        old = (await self._objects(chat, below[-half:], view))[::-1]
        new = await self._objects(chat, above[: limit - half], view)
        nearest = [message for pair in _zipped(old, new) for message in pair]
        kept = sorted(nearest[: within_page(nearest)], key=lambda message: message.seq)
        return kept, len(kept) < len(below) + len(above)

    async def _objects(self, chat: ChatId, rows: Sequence[MessageRow], view: View) -> list[Message]:
        stats = await self._store.reactions(chat, [row.seq for row in rows])
        return [
            message_of(row, counts_of(stats.get(row.seq)), hidden=row.seq in view.hidden)
            for row in rows
        ]


def _zipped(old: Sequence[Message], new: Sequence[Message]) -> list[list[Message]]:
    """Outwards from the middle: the nearest on both sides, then the next ones."""
    longest = max(len(old), len(new))
    return [[*old[number : number + 1], *new[number : number + 1]] for number in range(longest)]


def merged(
    gaps: Sequence[tuple[int, int]], hidden: frozenset[int], above: int
) -> list[tuple[int, int]]:
    """Ranges of what the reader does not count as unread, each seq once, in order."""
    ranges = sorted([*gaps, *((seq, seq) for seq in hidden if seq > above)])
    joined: list[tuple[int, int]] = []
    for low, high in ranges:
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = joined[-1][0], max(high, joined[-1][1])
        else:
            joined.append((low, high))
    return joined

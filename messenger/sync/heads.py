"""Heads: where each of the account's chats stands, the first thing a device asks for.

Read from the store, not from Redis: a Redis that lost its last second would name heads that are
too low, and the device would believe it knows everything.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId, parse_id
from messenger.log.account_log import AccountLog
from messenger.log.events import ChatFlag
from messenger.log.store import ChatStore
from messenger.log.store import Head as ChatHead
from messenger.sync.check import digest
from messenger.sync.protocol import PAGE_BYTES, Check, Checked, GetHeads, HeadRow, Heads
from messenger.wire.codes import ErrorCode

CHECKED = 10_000  # chats of one account that `sync.check` looks at

OWN = Statement(
    "select chat_id, read_seq from member where account_id = $1 and chat_id > $2"
    " and flags & 4 = 0 and (not $4 or flags & 1 <> 0) order by chat_id limit $3",
    key="account_id",
)
OWN_OF = Statement(
    "select chat_id, read_seq from member where account_id = $1"
    " and chat_id = any($2::bigint[]) and flags & 4 = 0",
    key="account_id",
)
_PLACE = (
    "select m.joined_seq, c.chat_id, c.epoch, c.last_ev, c.last_seq, c.last_at, c.flags,"
    " c.purged_ev, c.member_ver, c.kind from chat c"
    " join membership m on m.chat_id = c.chat_id and m.account_id = $2 where m.role > 0 and "
)
PLACES = Statement(
    _PLACE + "c.chat_id = any($1::bigint[])",
    key="chat_id",
    one=_PLACE + "c.chat_id = $1",
    spread=(1,),
)

WatchBig = Callable[[Caller, Collection[ChatId]], Awaitable[None]]


class Own(Struct, frozen=True, gc=False):
    """The account's side of a chat."""

    chat: ChatId
    read_seq: int


class Place(Struct, frozen=True, gc=False):
    """The chat's side: where it stands, and since when the account is in it."""

    joined_seq: int
    head: ChatHead


class HeadStore:
    """The account's chats (key account_id) and their heads (key chat_id), never joined."""

    def __init__(self, db: Database, chats: ChatStore) -> None:
        self._db = db
        self._chats = chats

    async def own(
        self, account: AccountId, after: int, limit: int, *, big_only: bool = False
    ) -> list[Own]:
        """The account's chats by id."""
        rows = await self._rows(OWN, account, after, limit, big_only)
        return [Own(*row) for row in rows]

    async def own_of(self, account: AccountId, chats: Collection[ChatId]) -> dict[ChatId, int]:
        """read_seq of those of `chats` that the account is in."""
        return {row[0]: row[1] for row in await self._rows(OWN_OF, account, list(chats))}

    async def places(self, account: AccountId, chats: Collection[ChatId]) -> dict[ChatId, Place]:
        """Of those of `chats` whose members the account is among."""
        rows = await self._rows(PLACES, list(chats), account)
        return {row[1]: Place(row[0], ChatHead(*row[2:])) for row in rows}

    async def heads(self, chats: Collection[ChatId]) -> Mapping[ChatId, ChatHead]:
        """Chats that were deleted have a head until their members are gone."""
        return await self._chats.heads(chats)

    async def _rows(self, statement: Statement, *values: object) -> Sequence[Any]:
        return await self._db.rows(statement, *values)


class HeadReader:
    """The rpcs `sync.heads` and `sync.check`."""

    def __init__(self, store: HeadStore, accounts: AccountLog, watch_big: WatchBig) -> None:
        self._store = store
        self._accounts = accounts
        self._watch_big = watch_big

    async def heads(self, request: GetHeads, caller: Caller) -> Heads:
        """By chat id. The node hears of the big ones before their heads are read."""
        after = parse_id(request.after) if request.after else 0
        if after is None:
            raise Refused(ErrorCode.INVALID, {"field": "after", "why": "beyond 63 bits"})
        aev = (await self._accounts.head(caller.account)).aev
        own = await self._store.own(caller.account, after, request.limit, big_only=request.big_only)
        chats = [one.chat for one in own]
        heads = await self._store.heads(chats)
        big = [chat for chat in chats if chat in heads and heads[chat].flags & ChatFlag.BIG]
        if big:
            await self._watch_big(caller, big)
            heads = {**heads, **await self._store.heads(big)}
        rows = [_row(one, heads[one.chat]) for one in own if one.chat in heads]
        fit = _fit(rows)
        cut = fit < len(rows) or len(own) == request.limit
        last = rows[fit - 1][0] if fit < len(rows) else str(chats[-1]) if chats else None
        return Heads(aev=aev, heads=rows[:fit], next=last if cut else None)

    async def check(self, request: Check, caller: Caller) -> Checked:
        """Does the device know what there is; False also while something is on its way."""
        aev = (await self._accounts.head(caller.account)).aev
        own = await self._store.own(caller.account, 0, CHECKED)
        heads = await self._store.heads([one.chat for one in own])
        known = [(chat, head.epoch, head.ev) for chat, head in heads.items()]
        return Checked(digest(known, aev) == request.digest)


def _row(own: Own, head: ChatHead) -> HeadRow:
    big = bool(head.flags & ChatFlag.BIG)
    return str(own.chat), head.epoch, head.ev, head.seq, own.read_seq, big


def _fit(rows: Sequence[HeadRow]) -> int:
    """How many rows fit into a page: only with long ids are a thousand too many."""
    size = 0
    for number, row in enumerate(rows):
        size += len(msgspec.json.encode(row)) + 1
        if size > PAGE_BYTES:
            return number
    return len(rows)

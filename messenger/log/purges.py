"""Purges: one step on one chat or account, a transaction of bounded rows. All may be repeated.

A step deletes the oldest rows and raises the head of their line: from below it a difference is too
long, from it on the difference is whole.
"""

from collections.abc import Collection, Sequence
from enum import IntFlag
from typing import Any

from msgspec import Struct

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId

CHATS = Statement(
    "select chat_id from chat where chat_id > $1 order by chat_id limit $2",
    key="chat_id",
    cold=True,  # a walk over all of them
)
ACCOUNTS = Statement(
    "select account_id from account_head where account_id > $1 order by account_id limit $2",
    key="account_id",
    cold=True,
)
DUE = Statement(
    "select c, purge_due(c, $2, $3, $4, $5, $6) from unnest($1::bigint[]) c",
    key="chat_id",
    cold=True,
    one="select $1::bigint, purge_due($1::bigint, $2, $3, $4, $5, $6)",
    spread=(1,),
)
FACTS_DUE = Statement(
    "select a from unnest($1::bigint[]) a where facts_due(a, $2, $3)",
    key="account_id",
    cold=True,
    one="select $1::bigint where facts_due($1::bigint, $2, $3)",
    spread=(1,),
)
EVENTS = Statement("select purge_events($1, $2, $3, $4)", key="chat_id")
MESSAGES = Statement("select purge_messages($1, $2, $3)", key="chat_id")
INDEX = Statement("select purge_index($1, $2, $3)", key="chat_id")
REQUESTS = Statement(
    "with gone as (delete from join_request where chat_id = $1 and account_id = any(array("
    "select account_id from join_request where chat_id = $1 and at < $2 order by account_id"
    " limit $3)) returning 1) select count(*) from gone",
    key="chat_id",
)
FACTS = Statement("select purge_facts($1, $2, $3, $4)", key="account_id")
OUTBOX_C = Statement(
    "with old as (select chat_id, n from outbox_c where at < $1 order by at limit $2),"
    " gone as (delete from outbox_c o using old where o.chat_id = old.chat_id and o.n = old.n"
    " returning 1) select count(*) from gone",
    key="chat_id",
    cold=True,
)
OUTBOX_A = Statement(
    "with old as (select account_id, n from outbox_a where at < $1 order by at limit $2),"
    " gone as (delete from outbox_a o using old where o.account_id = old.account_id"
    " and o.n = old.n returning 1) select count(*) from gone",
    key="account_id",
    cold=True,
)


class Due(IntFlag):
    """What a chat has too much of: the bits of `purge_due`."""

    EVENTS = 1
    MESSAGES = 2
    INDEX = 4
    REQUESTS = 8


class Bounds(Struct, frozen=True):
    """What is kept: the newest so many, and nothing from before these times (ms)."""

    events: int
    events_before: int
    facts: int
    facts_before: int
    messages_before: int
    """0: none is old."""
    index_before: int
    requests_before: int


class Purges:
    """The steps; each returns how many rows went, fewer than asked for at the end."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def chats(self, after: int, limit: int) -> list[ChatId]:
        return [row[0] for row in await self._db.rows(CHATS, after, limit)]

    async def accounts(self, after: int, limit: int) -> list[AccountId]:
        return [row[0] for row in await self._db.rows(ACCOUNTS, after, limit)]

    async def due(self, chats: Collection[ChatId], bounds: Bounds) -> dict[ChatId, Due]:
        """Those of `chats` that have too much of something."""
        rows = await self._db.rows(
            DUE,
            list(chats),
            bounds.events,
            bounds.events_before,
            bounds.messages_before,
            bounds.index_before,
            bounds.requests_before,
        )
        return {row[0]: Due(row[1]) for row in rows if row[1]}

    async def facts_due(
        self, accounts: Collection[AccountId], bounds: Bounds
    ) -> Sequence[AccountId]:
        values = (list(accounts), bounds.facts, bounds.facts_before)
        return [row[0] for row in await self._db.rows(FACTS_DUE, *values)]

    async def step(self, chat: ChatId, what: Due, bounds: Bounds, limit: int) -> int:
        """`what` is one of the bits."""
        match what:
            case Due.EVENTS:
                return await self._one(EVENTS, chat, bounds.events, bounds.events_before, limit)
            case Due.MESSAGES:
                return await self._one(MESSAGES, chat, bounds.messages_before, limit)
            case Due.INDEX:
                return await self._one(INDEX, chat, bounds.index_before, limit)
            case _:
                return await self._one(REQUESTS, chat, bounds.requests_before, limit)

    async def facts(self, account: AccountId, bounds: Bounds, limit: int) -> int:
        return await self._one(FACTS, account, bounds.facts, bounds.facts_before, limit)

    async def outbox(self, before: int, limit: int) -> int:
        """Rows that were due then and that nobody took up since: of no version that runs."""
        found = await self._one(OUTBOX_C, before, limit)
        return found + await self._one(OUTBOX_A, before, limit)

    async def _one(self, statement: Statement, *values: Any) -> int:
        return int((await self._db.rows(statement, *values))[0][0])

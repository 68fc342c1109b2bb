"""Offers of ownership and the moderation log of a channel. The key of both is chat_id."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId

PUT_OFFER = Statement(
    "insert into channel_offer as o (chat_id, account_id, by_id, until) values ($1, $2, $3, $4)"
    " on conflict (chat_id) do update set account_id = excluded.account_id,"
    " by_id = excluded.by_id, until = excluded.until returning 1",
    key="chat_id",
)
OFFER = Statement(
    "select account_id, by_id, until from channel_offer where chat_id = $1", key="chat_id"
)
DROP_OFFER = Statement(
    "delete from channel_offer where chat_id = $1 and account_id = $2 returning 1", key="chat_id"
)
WRITE = Statement(
    "insert into channel_log(chat_id, at, actor_id, act, account_id, payload)"
    " values ($1, $2, $3, $4, $5, $6::jsonb) returning n",
    key="chat_id",
)
READ = Statement(
    "select n, at, actor_id, act, account_id, payload from channel_log where chat_id = $1"
    " and n < $2 order by n desc limit $3",
    key="chat_id",
)


class Offer(Struct, frozen=True):
    """The owner wants to give the channel away."""

    account: AccountId
    by: AccountId
    until: int


class Entry(Struct, frozen=True):
    """What somebody did to the channel or to one of its members."""

    n: int
    at: int
    actor: AccountId
    act: str
    account: AccountId | None
    payload: Any


class OfferStore:
    """At most one offer a channel; the log only grows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, chat: ChatId, offer: Offer) -> None:
        """A new offer takes the place of an old one."""
        await self._db.rows(PUT_OFFER, chat, offer.account, offer.by, offer.until)

    async def offer(self, chat: ChatId) -> Offer | None:
        found = await self._db.rows(OFFER, chat)
        return Offer(*found[0]) if found else None

    async def drop(self, chat: ChatId, account: AccountId) -> bool:
        return bool(await self._db.rows(DROP_OFFER, chat, account))

    async def write(
        self,
        now_ms: int,
        chat: ChatId,
        actor: AccountId,
        act: str,
        account: AccountId | None,
        payload: Mapping[str, Any],
    ) -> None:
        text = msgspec.json.encode(payload).decode()
        await self._db.rows(WRITE, chat, now_ms, actor, act, account, text)

    async def read(self, chat: ChatId, before: int, limit: int) -> list[Entry]:
        """The newest first."""
        return [Entry(*row) for row in await self._db.rows(READ, chat, before, limit)]

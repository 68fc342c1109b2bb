"""Invite links, requests to join, reports. The key of links and requests is chat_id."""

from collections.abc import Sequence

from msgspec import Struct

from messenger.chats.store.rows import rows
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId

PUT_LINK = Statement("select put_link($1, $2, $3, $4, $5, $6, $7, $8)", key="chat_id")
_LINK = (
    "select link_hash, creator_id, created_at, expires_at, max_uses, uses, approval"
    " from invite_link where chat_id = $1 and revoked_at is null"
)
LINKS = Statement(_LINK + " order by created_at, link_hash limit $2", key="chat_id")
LINK = Statement(_LINK + " and link_hash = $2", key="chat_id")
REVOKE = Statement(
    "update invite_link set revoked_at = $3 where chat_id = $1 and link_hash = $2"
    " and revoked_at is null returning 1",
    key="chat_id",
)
REQUEST = Statement(
    "insert into join_request(chat_id, account_id, at, link_hash) values ($1, $2, $3, $4)"
    " on conflict do nothing returning 1",
    key="chat_id",
)
REQUESTS = Statement(
    "select account_id, at from join_request where chat_id = $1 and account_id > $2"
    " order by account_id limit $3",
    key="chat_id",
)
DROP_REQUEST = Statement(
    "delete from join_request where chat_id = $1 and account_id = $2 returning 1", key="chat_id"
)
REPORT = Statement(
    "insert into report(report_id, account_id, chat_id, seq, reason, text, at)"
    " values ($1, $2, $3, $4, $5, $6, $7) returning 1",
    key="report_id",
    cold=True,
)


class LinkRow(Struct, frozen=True):
    """A link that was not revoked; it may have expired or be used up."""

    link_hash: bytes
    creator: AccountId
    created_at: int
    expires_at: int | None
    max_uses: int | None
    uses: int
    approval: bool

    def is_dead(self, now_ms: int) -> bool:
        expired = self.expires_at is not None and self.expires_at <= now_ms
        return expired or (self.max_uses is not None and self.uses >= self.max_uses)


class Links:
    """Links and requests of chats."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(
        self,
        chat: ChatId,
        link_hash: bytes,
        creator: AccountId,
        now_ms: int,
        *,
        expires_at: int | None,
        max_uses: int | None,
        approval: bool,
        limit: int,
    ) -> bool:
        """False where the chat has `limit` links already."""
        values = (now_ms, chat, link_hash, creator, expires_at, max_uses, approval, limit)
        return bool((await rows(self._db, PUT_LINK, *values))[0][0])

    async def links(self, chat: ChatId, limit: int) -> list[LinkRow]:
        """The oldest first."""
        return [LinkRow(*row) for row in await rows(self._db, LINKS, chat, limit)]

    async def link(self, chat: ChatId, link_hash: bytes) -> LinkRow | None:
        found = await rows(self._db, LINK, chat, link_hash)
        return LinkRow(*found[0]) if found else None

    async def revoke(self, chat: ChatId, link_hash: bytes, now_ms: int) -> bool:
        return bool(await rows(self._db, REVOKE, chat, link_hash, now_ms))

    async def request(
        self, chat: ChatId, account: AccountId, now_ms: int, link_hash: bytes | None
    ) -> None:
        """Ask to be let in; asking again changes nothing."""
        await rows(self._db, REQUEST, chat, account, now_ms, link_hash)

    async def requests(
        self, chat: ChatId, after: int, limit: int
    ) -> Sequence[tuple[AccountId, int]]:
        """(account, when), in the order of account ids."""
        return [(row[0], row[1]) for row in await rows(self._db, REQUESTS, chat, after, limit)]

    async def drop_request(self, chat: ChatId, account: AccountId) -> bool:
        return bool(await rows(self._db, DROP_REQUEST, chat, account))

    async def report(
        self,
        report_id: int,
        account: AccountId,
        chat: ChatId,
        seq: int | None,
        reason: str,
        text: str,
        now_ms: int,
    ) -> None:
        await rows(self._db, REPORT, report_id, account, chat, seq, reason, text, now_ms)

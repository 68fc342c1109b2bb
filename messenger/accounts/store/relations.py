"""Who knows and who blocks whom. A contact or a block is a row of the one who made it (key A)."""

from collections.abc import Collection

from msgspec import Struct

from messenger.accounts.store.rows import execute, rows
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId
from messenger.log.account_log import AccountKind

OUTBOX_BLOCK = 1
"""`outbox_a.kind` of the second half of a block."""

PUT_CONTACTS = Statement(
    "select status, aev from put_contacts($1, $2, $3::bigint[], $4::text[], $5, $6::smallint)",
    key="account_id",
)
DROP_CONTACT = Statement("select drop_contact($1, $2, $3, $4::smallint)", key="account_id")
CONTACTS = Statement(
    "select peer_id, name from contact where account_id = $1 and peer_id > $2"
    " order by peer_id limit $3",
    key="account_id",
)
KNOWN_BY = Statement(
    "select account_id from contact where account_id = any($1::bigint[]) and peer_id = $2",
    key="account_id",
    cold=True,
)
KNOWS = Statement(
    "select peer_id from contact where account_id = $1 and peer_id = any($2::bigint[])",
    key="account_id",
)
BLOCKED_BY = Statement(
    "select account_id from block where account_id = any($1::bigint[]) and peer_id = $2",
    key="account_id",
    cold=True,
)
BLOCKS = Statement(
    "select peer_id from block where account_id = $1 and peer_id = any($2::bigint[])",
    key="account_id",
)
BLOCKED_PAGE = Statement(
    "select peer_id from block where account_id = $1 and peer_id > $2 order by peer_id limit $3",
    key="account_id",
)
SET_BLOCK = Statement(
    "select status, aev, n from set_block($1, $2, $3, $4, $5, $6::smallint, $7::smallint)",
    key="account_id",
)
HAS_BLOCK = Statement(
    "select 1 from block where account_id = $1 and peer_id = $2", key="account_id"
)
DIRECT = Statement("select chat_id from direct where lo_id = $1 and hi_id = $2", key="lo_id")
DENY = Statement("select deny_in_direct($1, $2, $3)", key="chat_id")
DONE = Statement(
    "delete from outbox_a where account_id = $1 and n = $2 and kind = $3", key="account_id"
)
POSTPONE = Statement(
    "update outbox_a set at = $3 where account_id = $1 and n = $2", key="account_id"
)
UNSETTLED = Statement(
    "select account_id, n, peer_id from outbox_a where kind = $1 and at < $2 order by at limit $3",
    key="account_id",
    cold=True,
)


class ContactRow(Struct, frozen=True):
    peer: AccountId
    name: str


class Blocking(Struct, frozen=True):
    """The first half of a block is written; `n` names the outbox row of the second."""

    changed: bool
    aev: int
    n: int


class Unsettled(Struct, frozen=True):
    account: AccountId
    n: int
    peer: AccountId


class RelationStore:
    """Contacts and blocks, and the post right that a block takes from the other side."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put_contacts(
        self, account: AccountId, contacts: dict[AccountId, str], now_ms: int, most: int
    ) -> tuple[bool, int | None]:
        """(False, None) beyond `most`; else (True, aev of the one fact about all, if any)."""
        values = (now_ms, account, list(contacts), list(contacts.values()), most)
        status, aev = (await rows(self._db, PUT_CONTACTS, *values, int(AccountKind.CONTACT)))[0]
        return status == 0, aev

    async def drop_contact(self, account: AccountId, peer: AccountId, now_ms: int) -> int | None:
        """The fact's number, None when there was no such contact."""
        kind = int(AccountKind.CONTACT)
        aev: int | None = (await rows(self._db, DROP_CONTACT, now_ms, account, peer, kind))[0][0]
        return aev

    async def contacts(self, account: AccountId, after: int, limit: int) -> list[ContactRow]:
        return [ContactRow(*row) for row in await rows(self._db, CONTACTS, account, after, limit)]

    async def who_knows(self, accounts: Collection[int], peer: AccountId) -> set[AccountId]:
        """Those of `accounts` that have `peer` among their contacts."""
        return {row[0] for row in await rows(self._db, KNOWN_BY, list(accounts), peer)}

    async def known_of(self, account: AccountId, peers: Collection[int]) -> set[AccountId]:
        """Those of `peers` that are contacts of `account`."""
        return {row[0] for row in await rows(self._db, KNOWS, account, list(peers))}

    async def who_blocks(self, accounts: Collection[int], peer: AccountId) -> set[AccountId]:
        """Those of `accounts` that block `peer`."""
        return {row[0] for row in await rows(self._db, BLOCKED_BY, list(accounts), peer)}

    async def blocked_of(self, account: AccountId, peers: Collection[int]) -> set[AccountId]:
        """Those of `peers` that `account` blocks."""
        return {row[0] for row in await rows(self._db, BLOCKS, account, list(peers))}

    async def blocks(self, account: AccountId, peer: AccountId) -> bool:
        return bool(await rows(self._db, HAS_BLOCK, account, peer))

    async def blocked_page(self, account: AccountId, after: int, limit: int) -> list[AccountId]:
        return [row[0] for row in await rows(self._db, BLOCKED_PAGE, account, after, limit)]

    async def set_block(
        self, account: AccountId, peer: AccountId, now_ms: int, *, on: bool, most: int
    ) -> Blocking | None:
        """The first half: block row, fact and outbox row in one transaction; None: too many."""
        kinds = (int(AccountKind.BLOCKED), OUTBOX_BLOCK)
        found = await rows(self._db, SET_BLOCK, now_ms, account, peer, on, most, *kinds)
        status, aev, n = found[0]
        return None if status == 2 else Blocking(status == 0, aev, n)

    async def direct_chat(self, one: AccountId, other: AccountId) -> ChatId | None:
        found = await rows(self._db, DIRECT, min(one, other), max(one, other))
        return ChatId(found[0][0]) if found else None

    async def deny_posting(self, chat: ChatId, account: AccountId, *, on: bool) -> bool:
        """Take the right to post in a direct chat, or give it back; whether that changed it."""
        return bool((await rows(self._db, DENY, chat, account, on))[0][0])

    async def settled(self, account: AccountId, n: int) -> None:
        await execute(self._db, DONE, account, n, OUTBOX_BLOCK)

    async def postpone(self, row: Unsettled, until_ms: int) -> None:
        await execute(self._db, POSTPONE, row.account, row.n, until_ms)

    async def unsettled(self, before_ms: int, limit: int) -> list[Unsettled]:
        """Blocks whose second half did not follow the first."""
        found = await rows(self._db, UNSETTLED, OUTBOX_BLOCK, before_ms, limit)
        return [Unsettled(*row) for row in found]

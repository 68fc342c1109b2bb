"""What an account keeps of its chats. The key of all is account_id."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from messenger.chats.store.rows import rows
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.log.account_log import AccountKind

_MINE = (
    "select chat_id, read_seq, cleared_seq, pin_rank, folder, muted_until from member"
    " where account_id = $1 and flags & 4 = 0 and "
)
PAGE = Statement(_MINE + "chat_id > $2 order by chat_id limit $3", key="account_id")
OF_CHATS = Statement(_MINE + "chat_id = any($2::bigint[])", key="account_id")
COUNT = Statement(
    "select count(*) from (select 1 from member where account_id = $1 and flags & 4 = 0"
    " limit $2) m",
    key="account_id",
)
FULL = Statement(
    "select a from unnest($1::bigint[]) a where (select count(*) from (select 1 from member m"
    " where m.account_id = a and m.flags & 4 = 0 limit $2) c) >= $2",
    key="account_id",
    cold=True,  # people who are added lie on many shards
)
CREATED = Statement("select created_at from account where account_id = $1", key="account_id")
SET_FACT = Statement(
    "select aev, fresh from set_member_fact($1, $2, $3, $4, $5, $6, $7::jsonb)", key="account_id"
)
OF_DIRECT = Statement("select chat_id from direct where lo_id = $1 and hi_id = $2", key="lo_id")
RESERVE_DIRECT = Statement("select reserve_direct($1, $2, $3)", key="lo_id")
OF_KEY = Statement(
    "select chat_id from create_key where account_id = $1 and device_id = $2 and random_id = $3",
    key="account_id",
)
RESERVE_KEY = Statement("select reserve_create_key($1, $2, $3, $4, $5, $6)", key="account_id")
SETTLE = Statement(
    "select account_id, aev, here, fresh"
    " from settle_members($1, $2, $3::bigint[], $4::jsonb[], $5, $6, $7)",
    key="account_id",
    cold=True,  # members of one chat are on many shards
)
MARK_BIG = Statement("select mark_big($1, $2::bigint[])", key="account_id", cold=True)

KEY_KEPT_MS = 3 * 86_400_000  # a repeat of chats.create later than this makes a second chat


class MineRow(Struct, frozen=True, gc=False):
    """One chat as its member keeps it."""

    chat: ChatId
    read_seq: int = 0
    cleared_seq: int = 0
    pin: int | None = None
    folder: int | None = None
    muted_until: int = 0


class Settled(Struct, frozen=True, gc=False):
    """How an account now stands to the chat, and the fact that says so."""

    account: AccountId
    aev: int | None
    here: bool
    fresh: bool
    """Written now; else by an earlier call."""


class Mine:
    """Reads and writes the account side."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def page(self, account: AccountId, after: int, limit: int) -> list[MineRow]:
        """Chats of the account in the order of their ids."""
        return [MineRow(*row) for row in await rows(self._db, PAGE, account, after, limit)]

    async def of_chats(
        self, account: AccountId, chats: Collection[ChatId]
    ) -> dict[ChatId, MineRow]:
        if not chats:
            return {}
        found = [MineRow(*row) for row in await rows(self._db, OF_CHATS, account, list(chats))]
        return {one.chat: one for one in found}

    async def count(self, account: AccountId, up_to: int) -> int:
        """How many chats the account is in; counts no further than `up_to`."""
        return int((await rows(self._db, COUNT, account, up_to))[0][0])

    async def full(self, accounts: Collection[AccountId], limit: int) -> set[AccountId]:
        """Those of `accounts` that are in `limit` chats or more."""
        return {row[0] for row in await rows(self._db, FULL, list(accounts), limit)}

    async def created_at(self, account: AccountId) -> int:
        """When the account signed up."""
        found = await rows(self._db, CREATED, account)
        return int(found[0][0]) if found else 0

    async def set_fact(
        self,
        now_ms: int,
        account: AccountId,
        chat: ChatId,
        kind: AccountKind,
        field: str,
        value: int | None,
        payload: Mapping[str, Any],
    ) -> tuple[int, bool] | None:
        """(aev, written now); None where the chat is none of the account's."""
        text = msgspec.json.encode(payload).decode()
        values = (now_ms, account, chat, int(kind), field, value, text)
        found = await rows(self._db, SET_FACT, *values)
        return (found[0][0], found[0][1]) if found else None

    async def of_direct(self, lo: AccountId, hi: AccountId) -> ChatId | None:
        """The chat reserved for two accounts."""
        found = await rows(self._db, OF_DIRECT, lo, hi)
        return found[0][0] if found else None

    async def reserve_direct(self, lo: AccountId, hi: AccountId, chat: ChatId) -> ChatId:
        """The id of the direct chat of the two: `chat`, or the one reserved before."""
        return ChatId((await rows(self._db, RESERVE_DIRECT, lo, hi, chat))[0][0])

    async def of_key(self, account: AccountId, device: DeviceId, random_id: int) -> ChatId | None:
        """The chat reserved for this key."""
        found = await rows(self._db, OF_KEY, account, device, random_id)
        return found[0][0] if found else None

    async def reserve_key(
        self, now_ms: int, account: AccountId, device: DeviceId, random_id: int, chat: ChatId
    ) -> ChatId:
        """The id of the chat made for this key: `chat`, or the one reserved before."""
        values = (now_ms, account, device, random_id, chat, KEY_KEPT_MS)
        return ChatId((await rows(self._db, RESERVE_KEY, *values))[0][0])

    async def settle(
        self,
        now_ms: int,
        chat: ChatId,
        accounts: Sequence[AccountId],
        infos: Sequence[bytes],
        why: str,
    ) -> list[Settled]:
        """Copy how `accounts` stand to the chat now, in their order; repeating changes nothing."""
        found = await rows(
            self._db,
            SETTLE,
            now_ms,
            chat,
            list(accounts),
            [info.decode() for info in infos],
            why,
            int(AccountKind.JOINED),
            int(AccountKind.LEFT),
        )
        return [Settled(*row) for row in found]

    async def mark_big(self, chat: ChatId, accounts: Sequence[AccountId]) -> None:
        await rows(self._db, MARK_BIG, chat, list(accounts))

"""Facts of one account, numbered densely by `aev`; the key of all is account_id."""

import time
from collections.abc import Callable, Mapping, Sequence
from enum import IntEnum, unique
from typing import Any

import msgspec
from msgspec import Struct

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId

LATEST_WINS = 100  # kinds below it keep one row per chat, moved to the newest aev

APPEND = Statement("select append_account_event($1, $2, $3, $4, $5::jsonb)", key="account_id")
APPEND_MANY = Statement(
    "select ord, aev from append_account_events("
    "$1, $2::bigint[], $3::smallint[], $4::bigint[], $5::jsonb[]) order by ord",
    key="account_id",
    cold=True,  # facts of many accounts in one transaction: many shards by nature
)
SINCE = Statement(
    "select aev, kind, chat_id, at, payload from account_event"
    " where account_id = $1 and aev > $2 order by aev limit $3",
    key="account_id",
)
HEAD = Statement(
    "select last_aev, purged_aev from account_head where account_id = $1", key="account_id"
)
MOVE = Statement(
    "select account_id, chat_id, read_seq, aev"
    " from move_read_cursors($1, $2::bigint[], $3::bigint[], $4::int[])",
    key="account_id",
    one="select account_id, chat_id, read_seq, aev"
    " from move_own_cursors_one($1, $2, $3::bigint[], $4::int[]) where chat_id > 0 and aev > 0",
    spread=(2, 3, 4),
)


@unique
class AccountKind(IntEnum):
    """`account_event.kind`; below `LATEST_WINS` a newer fact of the same chat replaces an older."""

    READ = 1
    MUTE = 2
    PIN = 3
    FOLDER = 4
    DRAFT = 5
    CLEARED = 6

    JOINED = 100
    LEFT = 101
    HIDDEN = 102
    BLOCKED = 103
    CONTACT = 104
    PROFILE = 105
    SESSION_NEW = 106
    SESSION_REVOKED = 107
    BADGE_OWN = 108


class AccountFact(Struct, frozen=True):
    """A fact to be written; `chat` 0 where it speaks of none."""

    account: AccountId
    kind: AccountKind
    chat: ChatId | int = 0
    payload: Mapping[str, Any] | None = None


class AccountRow(Struct, frozen=True):
    """A fact as it is kept."""

    aev: int
    kind: int
    chat: ChatId
    at: int
    payload: Any


class AccountHead(Struct, frozen=True, gc=False):
    """The newest number, and the newest one whose rows are gone."""

    aev: int
    purged_aev: int


class Move(Struct, frozen=True, gc=False):
    """A read cursor: wanted, or (with `aev`) moved."""

    account: AccountId
    chat: ChatId
    seq: int
    aev: int = 0


def _now_ms() -> int:
    return int(time.time() * 1000)


class AccountLog:
    """Writes and reads the facts of accounts."""

    def __init__(self, db: Database, now_ms: Callable[[], int] = _now_ms) -> None:
        self._db = db
        self._now_ms = now_ms

    async def append(
        self,
        account: AccountId,
        kind: AccountKind,
        chat: ChatId | int = 0,
        payload: Mapping[str, Any] | None = None,
    ) -> int:
        """Write one fact; returns its aev."""
        values = (self._now_ms(), account, int(kind), chat, _text(payload))
        return int((await self._rows(APPEND, *values))[0][0])

    async def append_many(self, facts: Sequence[AccountFact]) -> list[int]:
        """Write facts of many accounts in one transaction; their aevs, in order."""
        rows = await self._rows(
            APPEND_MANY,
            self._now_ms(),
            [fact.account for fact in facts],
            [int(fact.kind) for fact in facts],
            [fact.chat for fact in facts],
            [_text(fact.payload) for fact in facts],
        )
        return [row[1] for row in rows]

    async def since(self, account: AccountId, aev: int, limit: int) -> list[AccountRow]:
        """The next facts after `aev`; numbers of replaced facts are missing.

        The caller compares `aev` with `purged_aev` of the head: below it, `acct_too_long`.
        """
        return [AccountRow(*row) for row in await self._rows(SINCE, account, aev, limit)]

    async def head(self, account: AccountId) -> AccountHead:
        """(0, 0) for an account without facts."""
        rows = await self._rows(HEAD, account)
        return AccountHead(*rows[0]) if rows else AccountHead(0, 0)

    async def move_read(self, moves: Sequence[Move]) -> list[Move]:
        """Move read cursors forwards; returns those that moved, each with its `aev`.

        The caller clamps `seq` to the chat's last_seq: a cursor in the future never comes back.
        """
        rows = await self._rows(
            MOVE,
            self._now_ms(),
            [move.account for move in moves],
            [move.chat for move in moves],
            [move.seq for move in moves],
        )
        return [Move(*row) for row in rows]

    async def _rows(self, statement: Statement, *values: object) -> Sequence[Any]:
        return await self._db.rows(statement, *values)


def _text(payload: Mapping[str, Any] | None) -> str | None:
    return None if payload is None else msgspec.json.encode(payload).decode()

"""The statements behind cursors, and who is told of a move."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from messenger.db.engine import ContentionError, Database
from messenger.db.statements import Statement
from messenger.delivery.fanout import Delivery
from messenger.feature import Shed, Sheds, sheds_nothing
from messenger.ids import AccountId, ChatId
from messenger.log.account_log import Move
from messenger.log.events import ChatFlag
from messenger.log.store import ChatStore
from messenger.messages.protocol import ReadSelf, Receipt

MOVE = Statement(
    "select account_id, chat_id, read_seq, aev"
    " from move_own_cursors($1, $2::bigint[], $3::bigint[], $4::int[])",
    key="account_id",
    one="select account_id, chat_id, read_seq, aev"
    " from move_own_cursors_one($1, $2, $3::bigint[], $4::int[])",
    spread=(2, 3, 4),
)
COPY = Statement(
    "select chat_id, account_id, read_seq, delivered_seq, tell"
    " from move_receipts($1::bigint[], $2::bigint[], $3::int[], $4::int[])",
    key="chat_id",
    one="select chat_id, account_id, read_seq, delivered_seq, tell"
    " from move_receipts_one($1, $2::bigint[], $3::int[], $4::int[])",
    spread=(1, 2, 3, 4),
)
TRIES = 3

Cursor = tuple[AccountId, ChatId]


class Moves(Struct, frozen=True):
    """What became of the wanted cursors."""

    known: frozenset[Cursor]
    """Those of chats that the account is in."""
    moved: Sequence[Move]
    small: Mapping[Cursor, int]
    """Wanted ones of small chats, moved or not: their copies may lag after a crash."""
    aevs: Mapping[AccountId, int]


class CursorStore:
    """Moves the own cursors (key account_id), clamped to what the chats hold (key chat_id)."""

    def __init__(
        self,
        db: Database,
        chats: ChatStore,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._db = db
        self._chats = chats
        self._now_ms = now_ms

    async def move(self, wanted: Mapping[Cursor, int]) -> Moves:
        """A cursor in the future would never come back, so none passes its chat's last_seq."""
        heads = await self._chats.heads({chat for _, chat in wanted})
        clamped = {
            (account, chat): min(seq, heads[chat].seq)
            for (account, chat), seq in wanted.items()
            if chat in heads
        }
        accounts, chats, seqs = _columns(clamped)
        rows = await rows_of(self._db, MOVE, self._now_ms(), accounts, chats, seqs)
        known = frozenset((row[0], row[1]) for row in rows if row[1] and not row[3])
        small = {
            key: seq
            for key, seq in clamped.items()
            if key in known and not heads[key[1]].flags & ChatFlag.BIG
        }
        return Moves(
            known=known,
            moved=[Move(*row) for row in rows if row[1] and row[3]],
            small=small,
            aevs={row[0]: row[3] for row in rows if not row[1]},
        )


class Receipts:
    """The copies in small chats, and the updates that tell of moves."""

    def __init__(self, db: Database, delivery: Delivery, sheds: Sheds = sheds_nothing) -> None:
        self._db = db
        self._delivery = delivery
        self._sheds = sheds

    def tell_own(self, moved: Sequence[Move]) -> None:
        """`read.self` to the devices of each account."""
        for move in moved:
            update = ReadSelf(aev=move.aev, chat=str(move.chat), read_seq=move.seq)
            self._delivery.account_fact(move.account, msgspec.json.encode(update))

    async def copy(self, read: Mapping[Cursor, int]) -> None:
        """What was read, into the chats' own rows; tells those who wrote it."""
        if read:
            accounts, chats, seqs = _columns(read)
            await self._move(accounts, chats, seqs, [0] * len(seqs))

    async def deliver(self, delivered: Mapping[Cursor, int]) -> frozenset[Cursor]:
        """What arrived on a device; returns the cursors of chats that the account is in."""
        accounts, chats, seqs = _columns(delivered)
        return await self._move(accounts, chats, [0] * len(seqs), seqs)

    async def _move(
        self,
        accounts: Sequence[AccountId],
        chats: Sequence[ChatId],
        read: Sequence[int],
        delivered: Sequence[int],
    ) -> frozenset[Cursor]:
        rows = await rows_of(self._db, COPY, chats, accounts, read, delivered)
        for chat, account, read_seq, delivered_seq, tell in rows:
            if tell and not self._sheds(Shed.RECEIPTS):  # the rows hold it; the next one says it
                receipt = Receipt(str(chat), str(account), read_seq, delivered_seq)
                update = msgspec.json.encode(receipt)
                for sender in tell:
                    self._delivery.ephemeral(sender, update)
        return frozenset((row[1], row[0]) for row in rows)


async def rows_of(db: Database, statement: Statement, *values: object) -> Sequence[Any]:
    """Rows of a statement that locks many rows: a deadlock with another one is tried again."""
    for left in reversed(range(TRIES)):
        try:
            return await db.rows(statement, *values)
        except ContentionError:
            if not left:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


def _columns(
    cursors: Mapping[Cursor, int],
) -> tuple[list[AccountId], list[ChatId], list[int]]:
    accounts = [account for account, _ in cursors]
    return accounts, [chat for _, chat in cursors], list(cursors.values())

"""The append statement behind the committer, and its form for one PostgreSQL.

A rendering knows how a batch becomes durable and nothing of queues, time-outs of people or
answers. `Many` writes a batch of many chats as one statement, which is its own transaction.
"""

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Protocol

import msgspec

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.log.held import HeldStatement, Row
from messenger.log.sends import Send
from messenger.log.statuses import Status

COMMIT = Statement(
    "select seqs, evs, ats, chat_kinds, chat_flags, member_vers, badge_epochs, epochs, others"
    " from commit_messages_v2($1, $2, $3::bigint[], $4::int[], $5::int[], $6::int[], $7::bigint[],"
    " $8::bigint[], $9::bigint[], $10::int[], $11::smallint[], $12::int[], $13::int[],"
    " $14::bigint[], $15::text[], $16::jsonb[])",
    key="chat_id",
)
DAY_MS = 86_400_000

# A row is (status, seq, ev, sent_at, retry_ms, banned_until, chat_kind, chat_flags, member_ver,
# badge_epoch, epoch) of one send; `statuses.Status` says which of them are there.
_COPY: Row = (Status.COPY_IN_BATCH, *[None] * 10)


class Rendering(Protocol):
    """How a batch is written."""

    def begin(self) -> None:
        """A new batch: what comes until the next call are attempts at it or at parts of it."""

    async def commit(self, sends: Sequence[Send], now: int, deadline: float) -> Sequence[Row]:
        """Write all of `sends` with the clock at `now` (ms); a row each, in their order. All that
        is `WRITTEN` is durable when this returns, and it returns by `deadline` (the loop's time).

        Raises StoreDownError where the outcome is unknown: the batch is repeated as it is.
        Raises BadRowError where nothing was written: the batch is repeated by halves.
        """

    async def drop(self) -> None:
        """Let go of connections that failed, or are no longer needed; never raises."""


class Many:
    """Many chats in one statement."""

    def __init__(self, db: Database) -> None:
        self._statement = HeldStatement(db, COMMIT)

    def begin(self) -> None:
        """An attempt leaves nothing behind here."""

    async def commit(self, sends: Sequence[Send], now: int, deadline: float) -> Sequence[Row]:
        batch = Batch(sends, now)
        [answer] = await self._statement.rows(batch.values(), now // DAY_MS, deadline)
        return batch.rows(answer)

    async def drop(self) -> None:
        await self._statement.drop()


class Batch:
    """Sends as the statement's arrays, and its answer as rows of them."""

    def __init__(self, sends: Sequence[Send], now: int) -> None:
        columns = list(zip(*map(msgspec.structs.astuple, sends), strict=True))
        self._now = now
        self._size = len(sends)
        self._places = _firsts(columns)
        if self._places is not None:
            columns = [tuple(column[place] for place in self._places) for column in columns]
        self._columns = columns
        self._chats = sorted(set(columns[0]))
        numbers = {chat: slot for slot, chat in enumerate(self._chats, 1)}
        self._slots = [numbers[chat] for chat in columns[0]]
        self._nths, self._counts = _counted(self._slots, len(numbers))

    def values(self) -> tuple[Any, ...]:
        """The parameters; a column that holds nothing but its usual value is null."""
        _, account, device, random_id, digest, kind, flags, *rest = self._columns
        reply, media, body, extra = rest
        return (
            *(self._now, self._now // DAY_MS, self._chats, self._counts, self._slots, self._nths),
            *(account, device, random_id, digest, _unless(kind, 1), _unless(flags, 0)),
            *(_unless(reply, None), _unless(media, None), body, _unless(extra, None)),
        )

    def rows(self, answer: Row) -> Sequence[Row]:
        """In the order of the sends."""
        seqs, evs, ats, kinds, flags, members, badges, epochs, others = answer
        heads = (
            *(seqs, evs, ats or repeat(self._now), repeat(None), repeat(None), kinds),
            *(flags or repeat(0), members, badges or repeat(0), epochs or repeat(1)),
        )
        chats = [()] if seqs is None else [(), *zip(*heads, strict=False)]
        odd = {} if others is None else {one[0] - 1: tuple(one[1:]) for one in others}
        places = zip(self._slots, self._nths, strict=True)
        if odd:
            rows = [odd.get(n) or _plain(chats[slot], nth) for n, (slot, nth) in enumerate(places)]
        else:
            rows = [_plain(chats[slot], nth) for slot, nth in places]
        if self._places is None:
            return rows
        found: list[Row] = [_COPY] * self._size
        for place, row in zip(self._places, rows, strict=True):
            found[place] = row
        return found


def _counted(slots: Sequence[int], chats: int) -> tuple[list[int], list[int]]:
    """Which of its chat each send is, and how many each chat gets."""
    if chats == len(slots):
        return [1] * chats, [1] * chats
    nths = []
    counts = [0] * chats
    for slot in slots:
        counts[slot - 1] += 1
        nths.append(counts[slot - 1])
    return nths, counts


def _plain(head: Row, nth: int) -> Row:
    """Of a written send: its chat's numbers before the batch, and its place in it."""
    return (Status.WRITTEN, head[0] + nth, head[1] + nth, *head[2:])


def _firsts(columns: Sequence[Row]) -> Sequence[int] | None:
    """The places of the first send of each key; None where every key is there once."""
    keys = list(zip(columns[0], columns[2], columns[3], strict=True))
    if len(set(keys)) == len(keys):
        return None
    first: dict[Row, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    return list(first.values())


def _unless(column: Row, usual: object) -> Row | None:
    return None if column.count(usual) == len(column) else column

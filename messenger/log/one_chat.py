"""The append statement with one chat a call, as Citus plans it: `rendering = "one"`.

A batch is split by chat; the calls run on a few held connections, several at a time, each a
transaction of its own. Two calls of one chat never run together, because the committer has one
batch in flight. What a caller sees is the same as with `Many`: same statuses, same order.
"""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from messenger.db.engine import Database, StoreDownError
from messenger.db.statements import Statement
from messenger.log.held import BadRowError, HeldStatement, Row
from messenger.log.rendering import DAY_MS
from messenger.log.sends import Send

COMMIT_ONE = Statement(
    "select status, seq, ev, sent_at, retry_ms, banned_until, chat_kind, chat_flags, member_ver,"
    " badge_epoch, epoch from commit_one($1, $2, $3, $4::bigint[], $5::bigint[], $6::bigint[],"
    " $7::int[], $8::smallint[], $9::int[], $10::int[], $11::bigint[], $12::text[], $13::jsonb[])",
    key="chat_id",
)


class _Kept(Struct, frozen=True):
    """The answer to a send of a batch of which another chat failed."""

    send: Send
    row: Row


class One:
    """One chat a call, on `lanes` held connections."""

    def __init__(self, db: Database, lanes: int) -> None:
        self._lanes = [HeldStatement(db, COMMIT_ONE) for _ in range(lanes)]
        self._kept: dict[int, _Kept] = {}
        """Of chats that were written although the batch failed, by the identity of the send: the
        same key may come again with other words. A failed batch counts as not written: without
        this its repetition would answer that these are old news."""

    def begin(self) -> None:
        self._kept.clear()

    async def commit(self, sends: Sequence[Send], now: int, deadline: float) -> Sequence[Row]:
        """A row each, in the order of `sends`. A failure shows after all chats had their turn."""
        rows: list[Row | None] = [self._answered(send) for send in sends]
        groups: dict[int, list[int]] = {}
        for place, send in enumerate(sends):
            if rows[place] is None:
                groups.setdefault(send.chat, []).append(place)
        waiting = deque(groups.values())
        lanes = self._lanes[: len(groups)]
        failures = await asyncio.gather(
            *(self._drain(lane, waiting, sends, rows, now, deadline) for lane in lanes)
        )
        failed = [failure for failure in failures if failure is not None]
        if failed:
            self._keep(sends, rows)
            raise next((one for one in failed if isinstance(one, StoreDownError)), failed[0])
        return [row for row in rows if row is not None]

    async def drop(self) -> None:
        for lane in self._lanes:
            await lane.drop()

    async def _drain(
        self,
        lane: HeldStatement,
        waiting: deque[list[int]],
        sends: Sequence[Send],
        rows: list[Row | None],
        now: int,
        deadline: float,
    ) -> Exception | None:
        """Write chat after chat; a bad row ends only its own chat's turn."""
        failure: Exception | None = None
        while waiting:
            places = waiting.popleft()
            try:
                found = await _commit(lane, [sends[place] for place in places], now, deadline)
            except BadRowError as error:
                failure = error
            except (StoreDownError, TimeoutError) as error:
                return error
            else:
                for place, row in zip(places, found, strict=True):
                    rows[place] = row
        return failure

    def _keep(self, sends: Sequence[Send], rows: Sequence[Row | None]) -> None:
        for send, row in zip(sends, rows, strict=True):
            if row is not None:
                self._kept[id(send)] = _Kept(send, row)

    def _answered(self, send: Send) -> Row | None:
        """What an attempt of this batch was told about `send`; told once."""
        kept = self._kept.pop(id(send), None)
        return kept.row if kept is not None else None


async def _commit(
    lane: HeldStatement, sends: Sequence[Send], now: int, deadline: float
) -> Sequence[Row]:
    """All of `sends` are of one chat."""
    _, *columns = zip(*map(msgspec.structs.astuple, sends), strict=True)
    day = now // DAY_MS
    return await lane.rows((now, day, sends[0].chat, *columns), day, deadline)

"""What owners see of their channel over time. The key of all is chat_id."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import ChatId

COUNTS = ("lost", "by_link", "by_name", "by_request", "by_admin")

ADD_DAYS = Statement(
    "insert into channel_day as d (chat_id, day, members, lost, by_link, by_name, by_request,"
    " by_admin) select t.c, t.day, coalesce((select c.member_count from chat c"
    " where c.chat_id = t.c), 0), t.lost, t.link, t.name, t.request, t.admin"
    " from unnest($1::bigint[], $2::int[], $3::int[], $4::int[], $5::int[], $6::int[], $7::int[])"
    " as t(c, day, lost, link, name, request, admin) order by t.c, t.day"
    " on conflict (chat_id, day) do update set members = excluded.members,"
    " lost = d.lost + excluded.lost, by_link = d.by_link + excluded.by_link,"
    " by_name = d.by_name + excluded.by_name, by_request = d.by_request + excluded.by_request,"
    " by_admin = d.by_admin + excluded.by_admin",
    key="chat_id",
)
DAYS = Statement(
    "select day, members, lost, by_link, by_name, by_request, by_admin from channel_day"
    " where chat_id = $1 and day >= $2 order by day",
    key="chat_id",
)
NEWEST = Statement(
    "select seq, sent_at from message where chat_id = $1 and flags & 1 = 0"
    " order by seq desc limit $2",
    key="chat_id",
)
PUT_CURVE = Statement(
    "insert into channel_curve as k (chat_id, seq, age_s, views) select $1, s, a, v"
    " from unnest($2::int[], $3::int[], $4::int[]) as t(s, a, v) order by s, a"
    " on conflict (chat_id, seq, age_s) do update set views = greatest(k.views, excluded.views)",
    key="chat_id",
)
CURVES = Statement(
    "select seq, age_s, views from channel_curve where chat_id = $1 and seq = any($2::int[])"
    " order by seq, age_s",
    key="chat_id",
)
ADD_DELIVERY = Statement(
    "insert into channel_delivery as k (chat_id, seq, within_ms, readers) select c, s, w, n"
    " from unnest($1::bigint[], $2::int[], $3::int[], $4::int[]) as t(c, s, w, n)"
    " order by c, s, w"
    " on conflict (chat_id, seq, within_ms) do update set readers = k.readers + excluded.readers",
    key="chat_id",
)
DELIVERIES = Statement(
    "select seq, within_ms, readers from channel_delivery where chat_id = $1"
    " and seq = any($2::int[]) order by seq, within_ms",
    key="chat_id",
)


class DayRow(Struct, frozen=True):
    """A UTC day of a channel."""

    day: int
    members: int
    lost: int
    by_link: int
    by_name: int
    by_request: int
    by_admin: int


Pairs = dict[int, list[tuple[int, int]]]
"""seq -> [(bound, how many)], by bound."""


class FigureStore:
    """Rows that only grow, a few a post and one a day."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add_days(self, counts: Mapping[tuple[ChatId, int], Mapping[str, int]]) -> None:
        """Add to days of channels, and note how many members each has now."""
        if counts:
            columns = [[day.get(name, 0) for day in counts.values()] for name in COUNTS]
            keys = [chat for chat, _ in counts], [day for _, day in counts]
            await self._db.rows(ADD_DAYS, *keys, *columns)

    async def days(self, chat: ChatId, since: int) -> list[DayRow]:
        return [DayRow(*row) for row in await self._db.rows(DAYS, chat, since)]

    async def newest(self, chat: ChatId, limit: int) -> list[tuple[int, int]]:
        """(seq, when) of the newest posts that are not deleted, the newest first."""
        return [(row[0], row[1]) for row in await self._db.rows(NEWEST, chat, limit)]

    async def put_curve(self, chat: ChatId, points: Sequence[tuple[int, int, int]]) -> None:
        """(seq, age, views by then); a later look within the same age counts."""
        if points:
            columns = [list(column) for column in zip(*points, strict=True)]
            await self._db.rows(PUT_CURVE, chat, *columns)

    async def curves(self, chat: ChatId, seqs: Sequence[int]) -> Pairs:
        return _pairs(await self._db.rows(CURVES, chat, list(seqs)))

    async def add_delivery(self, counts: Mapping[tuple[ChatId, int, int], int]) -> None:
        """(channel, post, bound in ms) -> how many readers had it within that time."""
        if counts:
            columns = [list(column) for column in zip(*counts, strict=True)]
            await self._db.rows(ADD_DELIVERY, *columns, list(counts.values()))

    async def deliveries(self, chat: ChatId, seqs: Sequence[int]) -> Pairs:
        return _pairs(await self._db.rows(DELIVERIES, chat, list(seqs)))


def _pairs(rows: Sequence[Any]) -> Pairs:
    found: Pairs = {}
    for seq, bound, count in rows:
        found.setdefault(seq, []).append((bound, count))
    return found

"""Views, forwards and reach of posts. The key of all is chat_id."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from channels.views import BLOCK, Span, clusters, running
from messenger.db.engine import ContentionError, Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId

RECORD = Statement(
    "select chat_id, account_id, lo, hi from record_views($1::bigint[], $2::bigint[], $3::int[],"
    " $4::int[])",
    key="chat_id",
    one="select $1::bigint, account_id, lo, hi from record_views_one($1, $2::bigint[], $3::int[],"
    " $4::int[])",
    spread=(1, 2, 3, 4),
)
VIEWS = Statement(
    "select t.low, ((select coalesce(sum(b.d), 0) from channel_view_block b where b.chat_id = $1"  # noqa: S608 - a constant
    f" and b.block < t.low / {BLOCK}) + (select coalesce(sum(v.d), 0) from channel_view v"
    f" where v.chat_id = $1 and v.seq >= t.low / {BLOCK} * {BLOCK} and v.seq < t.low))::bigint,"
    " array(select v.seq from channel_view v where v.chat_id = $1"
    " and v.seq between t.low and t.high order by v.seq),"
    " array(select v.d from channel_view v where v.chat_id = $1"
    " and v.seq between t.low and t.high order by v.seq)"
    " from unnest($2::int[], $3::int[]) as t(low, high)",
    key="chat_id",
)
STATS = Statement(
    "select seq, forwards, reach, reactions from post_stat where chat_id = $1"
    " and seq = any($2::int[])",
    key="chat_id",
)
ADD_FORWARDS = Statement(
    "insert into post_stat as p (chat_id, seq, forwards) select c, s, n"
    " from unnest($1::bigint[], $2::int[], $3::int[]) as t(c, s, n) order by c, s"
    " on conflict (chat_id, seq) do update set forwards = p.forwards + excluded.forwards",
    key="chat_id",
)
SET_REACH = Statement(
    "insert into post_stat as p (chat_id, seq, reach) select c, s, n"
    " from unnest($1::bigint[], $2::int[], $3::int[]) as t(c, s, n) order by c, s"
    " on conflict (chat_id, seq) do update set reach = greatest(p.reach, excluded.reach)",
    key="chat_id",
)

TRIES = 3  # a deadlock with another flush: nothing was written

Reader = tuple[ChatId, AccountId]


class PostStat(Struct, frozen=True):
    """What hangs on a post besides its views."""

    forwards: int = 0
    reach: int = 0
    reactions: int = 0


class ViewStore:
    """What is counted is the same in both renderings."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def record(self, spans: Mapping[Reader, Span]) -> dict[Reader, Span]:
        """Move the cursors of these readers and count what they passed, in one transaction a chat.

        Every member among them comes back; with lo > hi where nothing was new.
        """
        columns = _columns(spans)
        rows = await self._repeated(RECORD, *columns)
        return {(row[0], row[1]): Span(row[2], row[3]) for row in rows}

    async def views(self, chat: ChatId, seqs: Sequence[int]) -> dict[int, int]:
        """How many subscribers have seen each post: exact, as of now."""
        spans = clusters(seqs)
        if not spans:
            return {}
        values = (chat, [span.lo for span in spans], [span.hi for span in spans])
        rows = {row[0]: row[1:] for row in await self._db.rows(VIEWS, *values)}
        found: dict[int, int] = {}
        for span in spans:
            before, marked, marks = rows[span.lo]
            found |= running(span, before, dict(zip(marked, marks, strict=True)))
        return {seq: found[seq] for seq in seqs}

    async def stats(self, chat: ChatId, seqs: Sequence[int]) -> dict[int, PostStat]:
        """Posts nothing hangs on are left out."""
        rows = await self._db.rows(STATS, chat, list(seqs))
        return {row[0]: PostStat(row[1], row[2], _reactions(row[3])) for row in rows}

    async def add_forwards(self, counts: Mapping[tuple[ChatId, int], int]) -> None:
        await self._put(ADD_FORWARDS, counts)

    async def set_reach(self, reach: Mapping[tuple[ChatId, int], int]) -> None:
        """An estimate never falls: a lost Redis starts counting anew."""
        await self._put(SET_REACH, reach)

    async def _put(self, statement: Statement, numbers: Mapping[tuple[ChatId, int], int]) -> None:
        if numbers:
            chats, seqs = [chat for chat, _ in numbers], [seq for _, seq in numbers]
            await self._db.rows(statement, chats, seqs, list(numbers.values()))

    async def _repeated(self, statement: Statement, *values: object) -> Sequence[Any]:
        for left in reversed(range(TRIES)):
            try:
                return await self._db.rows(statement, *values)
            except ContentionError:
                if not left:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")


def _columns(
    spans: Mapping[Reader, Span],
) -> tuple[list[ChatId], list[AccountId], list[int], list[int]]:
    chats, accounts = [chat for chat, _ in spans], [account for _, account in spans]
    return chats, accounts, [one.lo for one in spans.values()], [one.hi for one in spans.values()]


def _reactions(stat: Any) -> int:
    return sum(stat.get("n", {}).values()) if isinstance(stat, dict) else 0

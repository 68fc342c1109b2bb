"""What the tables say, for the comparison with what devices and the plain model say."""

from collections.abc import Sequence
from typing import Any

import asyncpg


class Rows:
    """Questions to the database; each over a connection of its own, for it may be killed."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("+asyncpg", "")

    async def head(self, chat: str) -> tuple[int, int]:
        """(last_seq, last_ev)."""
        [row] = await self._all("select last_seq, last_ev from chat where chat_id = $1", chat)
        return row[0], row[1]

    async def heads_of(self, account: str) -> dict[str, int]:
        """chat -> last_ev of all chats that the account is in."""
        sql = """select c.chat_id, c.last_ev from member m join chat c using (chat_id)
                 where m.account_id = $1 and m.flags & 4 = 0"""
        return {str(row[0]): row[1] for row in await self._all(sql, account)}

    async def seqs(self, chat: str) -> list[int]:
        sql = "select seq from message where chat_id = $1 order by seq"
        return [row[0] for row in await self._all(sql, chat)]

    async def texts(self, chat: str) -> dict[int, str]:
        sql = "select seq, body from message where chat_id = $1"
        return {row[0]: row[1] for row in await self._all(sql, chat)}

    async def evs(self, chat: str) -> list[int]:
        """Of messages and events together."""
        sql = """select ev from message where chat_id = $1 union all
                 select ev from chat_event where chat_id = $1 order by ev"""
        return [row[0] for row in await self._all(sql, chat)]

    async def keys(self, chat: str) -> list[int]:
        """The seq of each (device, random_id)."""
        sql = "select seq from dedup where chat_id = $1 order by seq"
        return [row[0] for row in await self._all(sql, chat)]

    async def aev(self, account: str) -> int:
        [row] = await self._all("select last_aev from account_head where account_id = $1", account)
        return int(row[0])

    async def aevs(self, account: str) -> list[int]:
        sql = "select aev from account_event where account_id = $1 order by aev"
        return [row[0] for row in await self._all(sql, account)]

    async def cursors(self, chat: str) -> dict[str, int]:
        """account -> its own read cursor."""
        sql = "select account_id, read_seq from member where chat_id = $1 and flags & 4 = 0"
        return {str(row[0]): row[1] for row in await self._all(sql, chat)}

    async def ticks(self, chat: str) -> dict[str, int]:
        """account -> the chat's copy of its cursor."""
        sql = "select account_id, read_seq from membership where chat_id = $1 and role > 0"
        return {str(row[0]): row[1] for row in await self._all(sql, chat)}

    async def unread(self, chat: str, account: str) -> int:
        """A count over messages."""
        sql = """select count(*) from message s
                 join member m on m.chat_id = s.chat_id and m.account_id = $2
                 where s.chat_id = $1 and s.flags & 1 = 0
                   and s.seq > greatest(m.read_seq, m.cleared_seq)
                   and not exists (select 1 from hidden h where h.account_id = $2
                                   and h.chat_id = s.chat_id and h.seq = s.seq)"""
        [row] = await self._fetch(sql, int(chat), int(account))
        return int(row[0])

    async def late_reactions(self, chats: Sequence[str]) -> int:
        """Counts that nobody was told of yet."""
        sql = """select count(*) from post_stat join message using (chat_id, seq)
                 where chat_id = any($1) and reactions ? 'late' and flags & 1 = 0"""
        [row] = await self._fetch(sql, [int(chat) for chat in chats])
        return int(row[0])

    async def seats(self, chat: str) -> list[tuple[int, str, bool]]:
        """(ev, account, member from there on) of every change of members."""
        sql = """select ev, payload ->> 'account', payload ->> 'role' from chat_event
                 where chat_id = $1 and kind in (6, 7) and payload ? 'account' order by ev"""
        rows = await self._all(sql, chat)
        return [(row[0], row[1], row[2] not in ("left", "banned")) for row in rows]

    async def times_run_backwards(self) -> int:
        """Messages that say to be older than the one before them in their chat."""
        sql = """select count(*) from (select sent_at - lag(sent_at) over
                 (partition by chat_id order by seq) as step from message) q where step < 0"""
        [row] = await self._fetch(sql)
        return int(row[0])

    async def waits_for_lock(self, function: str) -> bool:
        """A call of the function stands before a lock that somebody holds."""
        sql = """select count(*) from pg_stat_activity
                 where wait_event_type = 'Lock' and query like '%' || $1 || '%'"""
        [row] = await self._fetch(sql, function)
        return bool(row[0])

    async def _all(self, sql: str, key: str) -> Sequence[Any]:
        return await self._fetch(sql, int(key))

    async def _fetch(self, sql: str, *values: Any) -> Sequence[Any]:
        connection = await asyncpg.connect(self._url)
        try:
            rows: Sequence[Any] = await connection.fetch(sql, *values)
            return rows
        finally:
            await connection.close()

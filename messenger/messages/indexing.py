"""The search index, filled from what was written, at most two seconds behind.

A lost entry is a message that search does not find: nothing else depends on the index, so it is
fed from memory and never holds up a send.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from itertools import islice
from typing import Any

from msgspec import Struct

from messenger.db.engine import Database, StoreDown
from messenger.db.statements import Statement
from messenger.folding import Tokens, token_hash
from messenger.ids import ChatId
from messenger.log.sends import Written

EVERY_S = 1.0  # fewer, larger statements; a message is found within two seconds all the same
BATCH = 500  # 3 us of folding each: 2 ms between two awaits
WAITING = 50_000  # entries; beyond it new messages are not indexed
AGAIN_S = 5.0
"""An edit is indexed twice: another node may still be about to index the text before it."""

ADD = Statement(
    "insert into message_index(chat_id, seq, tokens)"
    " select t.c, t.s, ($4::int[])[t.a : t.b] from (select unnest($1::bigint[]) as c,"
    " unnest($2::int[]) as s, unnest($3::int[]) as a, unnest($5::int[]) as b) t"
    " on conflict (chat_id, seq) do update set tokens = excluded.tokens",
    key="chat_id",
    one="select index_messages_one($1, $2::int[], $3::int[], $4::int[], $5::int[])",
    spread=(1, 2, 3, 5),
)
LAST = Statement(
    "select seq, body, sent_at from message where chat_id = $1 and sent_at >= $2 and flags & 1 = 0"
    " and seq > (select last_seq - $3 from chat where chat_id = $1) and body is not null",
    key="chat_id",
)
REMOVE = Statement(
    "delete from message_index where chat_id = $1 and seq = any($2::int[])", key="chat_id"
)

REPAIRED_MS = 60_000  # what a dead node had taken in and not written
REPAIRED = 1_000  # messages of one chat

log = logging.getLogger(__name__)


class _Entry(Struct, frozen=True, gc=False):
    text: str
    at_ms: int
    """When it was written, for the lag."""


_Waiting = tuple[tuple[ChatId, int], _Entry]


def chat_token(chat: ChatId) -> int:
    """The chat's own token: `tokens @> {chat, word..}` needs no second index."""
    return token_hash(f"#{chat}")


class Indexer:
    """Gathers what is to be indexed; `run` writes it."""

    def __init__(
        self, db: Database, now_ms: Callable[[], int] = lambda: int(time.time() * 1000)
    ) -> None:
        self._db = db
        self._now_ms = now_ms
        self._tokens = Tokens()
        self._waiting: dict[tuple[ChatId, int], _Entry] = {}
        self._again: list[tuple[float, ChatId, int, str]] = []
        self._gone: list[tuple[ChatId, list[int]]] = []
        self._untold: set[ChatId] = set()
        self.dropped = 0

    @property
    def lag_ms(self) -> int:
        """How long the oldest entry of this node has waited."""
        first = next(iter(self._waiting.values()), None)
        return max(0, self._now_ms() - first.at_ms) if first else 0

    def written(self, batch: Sequence[Written]) -> None:
        """For the committer's `on_batch`."""
        for one in batch:
            if one.send.body:
                self._put(one.send.chat, one.seq, one.send.body, one.at)

    def edited(self, chat: ChatId, seq: int, text: str) -> None:
        self._put(chat, seq, text, self._now_ms())
        if len(self._again) < WAITING:
            self._again.append((time.monotonic() + AGAIN_S, chat, seq, text))

    def deleted(self, chat: ChatId, seqs: Collection[int]) -> None:
        for seq in seqs:
            self._waiting.pop((chat, seq), None)
        self._again = [one for one in self._again if one[1] != chat or one[2] not in seqs]
        if len(self._gone) < WAITING:
            self._gone.append((chat, list(seqs)))

    def repaired(self, chat: ChatId) -> None:
        """A node died that wrote to this chat: index the last minute again."""
        if len(self._untold) < WAITING:
            self._untold.add(chat)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.flush()
            except StoreDown:
                log.warning("index waits", extra={"waiting": len(self._waiting)})
            except Exception:  # the root of a task: what failed is forgotten, the rest goes on
                log.exception("not indexed")

    async def flush(self) -> None:
        """Write all that is waiting now."""
        now = time.monotonic()
        while self._again and self._again[0][0] <= now:
            _, chat, seq, text = self._again.pop(0)
            self._put(chat, seq, text, self._now_ms())
        for chat in list(self._untold):
            self._untold.discard(chat)
            try:
                await self._read_back(chat)
            except StoreDown:
                self._untold.add(chat)
                raise
        while self._waiting:
            batch = list(islice(self._waiting.items(), BATCH))
            try:
                await self._write(batch)
            except StoreDown:
                raise
            except Exception:
                log.exception("not indexed at once")
                await self._write_each(batch)
        while self._gone:
            gone = self._gone.pop(0)
            try:
                async with self._db.statement() as connection:
                    await connection.exec_driver_sql(REMOVE.sql, gone)
            except StoreDown:
                self._gone.insert(0, gone)
                raise

    async def _write(self, batch: Sequence[_Waiting]) -> None:
        """In one order on all nodes, which may hold the same messages: else they would deadlock."""
        rows = sorted((chat, seq, entry.text) for (chat, seq), entry in batch)
        tokens: list[int] = []
        ends: list[int] = []
        for chat, _, text in rows:
            tokens.append(chat_token(chat))
            tokens.extend(self._tokens.hashes(text))
            ends.append(len(tokens))
        starts = [1, *(end + 1 for end in ends[:-1])]
        chats, seqs, _ = zip(*rows, strict=True)
        await self._db.rows(ADD, chats, seqs, starts, tokens, ends)
        self._written(batch)

    async def _write_each(self, batch: Sequence[_Waiting]) -> None:
        """Only what cannot be written is forgotten."""
        for one in batch:
            try:
                await self._write([one])
            except StoreDown:
                raise
            except Exception:
                log.exception("not indexed", extra={"chat": one[0][0]})
                self._written([one])
                self.dropped += 1

    def _written(self, batch: Sequence[_Waiting]) -> None:
        for key, entry in batch:
            if self._waiting.get(key) is entry:  # else it was edited meanwhile
                del self._waiting[key]

    async def _read_back(self, chat: ChatId) -> None:
        since = self._now_ms() - REPAIRED_MS
        async with self._db.statement() as connection:
            found = await connection.exec_driver_sql(LAST.sql, (chat, since, REPAIRED))
            rows: Sequence[Any] = found.fetchall()
        for seq, body, at in rows:
            self._put(chat, seq, body, at)

    def _put(self, chat: ChatId, seq: int, text: str, at_ms: int) -> None:
        if len(self._waiting) >= WAITING:
            self.dropped += 1
            return
        self._waiting[chat, seq] = _Entry(text, at_ms)

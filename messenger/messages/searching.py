"""Search: all folded words of the question, in one chat or in the account's latest chats.

The index holds hashes, so each hit is checked against the text itself before it is shown.
"""

from collections.abc import Sequence
from typing import Any

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.feature import Caller, Refused
from messenger.folding import index_tokens, query_tokens, token_hash
from messenger.ids import ChatId
from messenger.log.events import CHANNEL, ChatFlag
from messenger.log.store import MessageRow
from messenger.messages.indexing import Indexer, chat_token
from messenger.messages.objects import (
    KINDS,
    channel_of,
    chat_of,
    counts_of,
    id_of,
    message_of,
    within_page,
)
from messenger.messages.protocol import Hit, Hits, SearchMessages
from messenger.messages.store import MessageStore, floor_of
from messenger.wire.codes import ErrorCode

CHATS = 200  # the latest of the account
CHATS_LOOKED_AT = 5_000

OWN_CHATS = Statement(
    "select chat_id, cleared_seq from member where account_id = $1 and flags & 4 = 0"
    " order by chat_id desc limit $2",
    key="account_id",
)
LATEST = Statement(
    "select c.chat_id, c.flags, m.joined_seq, c.kind from chat c"
    " join membership m on m.chat_id = c.chat_id and m.account_id = $2"
    " where c.chat_id = any($1::bigint[]) and m.role > 0 and c.flags & 4 = 0"
    " order by c.last_at desc limit $3",
    key="chat_id",
    cold=True,  # a search in all chats is on many shards
)
SEARCH = Statement(
    "select m.chat_id, m.seq, m.ev, m.sender_id, m.sent_at, m.kind, m.flags, m.edited_at,"
    " m.reply_seq, m.media_id, m.body, m.extra, m.reactions"
    " from unnest($1::bigint[], $2::int[], $3::int[]) as t(chat, token, floor)"
    " cross join lateral (select m.*, p.reactions from message_index i"
    " join message m on m.chat_id = t.chat and m.seq = i.seq"
    " left join post_stat p on p.chat_id = t.chat and p.seq = i.seq"
    " where i.tokens @> ($4::int[] || t.token) and i.chat_id = t.chat and i.seq > t.floor"
    " and m.flags & 1 = 0 and ($5::bigint is null or m.sender_id = $5)"
    " and ($6::smallint is null or m.kind = $6) and m.sent_at between $7 and $8"
    " and (m.sent_at, m.chat_id, m.seq) < ($9, $10, $11)"
    " order by m.seq desc limit $12) m"
    " order by m.sent_at desc, m.chat_id desc, m.seq desc limit $12",
    key="chat_id",
    cold=True,
)
LATEST_POINT = (2**62, 2**62, 2**31 - 1)


class Searching:
    """The rpc `messages.search`."""

    def __init__(self, db: Database, store: MessageStore, indexer: Indexer) -> None:
        self._db = db
        self._store = store
        self._indexer = indexer

    async def search(self, request: SearchMessages, caller: Caller) -> Hits:
        """Newest first."""
        wanted = query_tokens(request.q)
        if not wanted:
            raise Refused(ErrorCode.INVALID, {"field": "q", "why": "no word"})
        point = _point(request.cursor)
        sender = id_of(request.sender, "from") if request.sender else None
        floors, channels = await self._floors(request, caller)
        rows = await self._rows(
            SEARCH,
            list(floors),
            [chat_token(chat) for chat in floors],
            list(floors.values()),
            [token_hash(token) for token in wanted],
            sender,
            KINDS[request.k] if request.k else None,
            request.since or 0,
            request.until if request.until is not None else LATEST_POINT[0],
            *point,
            request.limit,
        )
        hidden = await self._store.hidden(caller.account, [(row[0], row[1]) for row in rows])
        found = [row for row in rows if _matches(row, wanted) and (row[0], row[1]) not in hidden]
        messages = [
            message_of(MessageRow(*row[1:12]), counts_of(row[12]), channel=channels.get(row[0]))
            for row in found
        ]
        fit = within_page(messages)
        more = fit < len(found) or len(rows) == request.limit
        last = found[fit - 1] if fit < len(found) else rows[-1] if rows else None
        return Hits(
            hits=[Hit(str(row[0]), one) for row, one in zip(found[:fit], messages, strict=False)],
            lag_ms=self._indexer.lag_ms,
            next=f"{last[4]}.{last[0]}.{last[1]}" if more and last else None,
        )

    async def _floors(
        self, request: SearchMessages, caller: Caller
    ) -> tuple[dict[ChatId, int], dict[ChatId, ChatId]]:
        """Messages above them are looked at; and which of the chats are channels."""
        if request.chat is not None:
            chat = chat_of(request.chat)
            standing = await self._store.member(chat, caller.account)
            view = await self._store.view(caller.account, chat)
            channel = channel_of(chat, standing.chat_kind)
            return {chat: floor_of(standing, view)}, {chat: channel} if channel else {}
        own = {
            row[0]: row[1] for row in await self._rows(OWN_CHATS, caller.account, CHATS_LOOKED_AT)
        }
        latest = await self._rows(LATEST, list(own), caller.account, CHATS)
        floors = {
            chat: max(own[chat], joined if flags & ChatFlag.NO_HISTORY else 0)
            for chat, flags, joined, _ in latest
        }
        return floors, {row[0]: row[0] for row in latest if row[3] == CHANNEL}

    async def _rows(self, statement: Statement, *values: object) -> Sequence[Any]:
        return await self._db.rows(statement, *values)


def _matches(row: Sequence[Any], wanted: set[str]) -> bool:
    """The words are there, not only their hashes."""
    return wanted <= index_tokens(row[10] or "")


def _point(cursor: str | None) -> tuple[int, int, int]:
    """Where the last page ended."""
    if cursor is None:
        return LATEST_POINT
    parts = cursor.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdecimal() for part in parts):
        raise Refused(ErrorCode.INVALID, {"field": "cursor", "why": "not one of ours"})
    at, chat, seq = map(int, parts)
    if max(at, chat) > 2**63 - 1 or seq > 2**31 - 1:
        raise Refused(ErrorCode.INVALID, {"field": "cursor", "why": "not one of ours"})
    return at, chat, seq

"""Reads of the chat log; the key of all is chat_id. Always keyset, never OFFSET."""

from collections.abc import Collection, Sequence
from typing import Any

from msgspec import Struct

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId, DeviceId

MEMBERS = 1_000  # of a list read whole; only small chats are read so

DIFFERENCE = Statement(
    "select ev, is_message, seq, kind, actor_id, at, body, flags, payload, reply_seq, media_id,"
    " edited_at from chat_difference($1, $2, $3)",
    key="chat_id",
    one="select ev, is_message, seq, kind, actor_id, at, body, flags, payload, reply_seq, media_id,"
    " edited_at from chat_difference_one($1, $2, $3) order by ev limit $3",
)
_HEADS = (
    "select chat_id, epoch, last_ev, last_seq, last_at, flags, purged_ev, member_ver, kind"
    " from chat"
)
HEADS = Statement(
    _HEADS + " where chat_id = any($1::bigint[])",
    key="chat_id",
    one=_HEADS + " where chat_id = $1",
    spread=(1,),
)
_MESSAGE = (
    "select seq, ev, sender_id, sent_at, kind, flags, edited_at, reply_seq, media_id, body, extra"
    " from message where chat_id = $1"
)
HISTORY_BEFORE = Statement(_MESSAGE + " and seq < $2 order by seq desc limit $3", key="chat_id")
HISTORY_AFTER = Statement(_MESSAGE + " and seq > $2 order by seq limit $3", key="chat_id")
MESSAGES = Statement(_MESSAGE + " and seq = any($2::int[]) order by seq", key="chat_id")
GAPS = Statement(
    "select low, high from chat_gap where chat_id = $1 and high > $2 order by low", key="chat_id"
)
MEMBERS_OF = Statement(
    "select c.member_ver, array(select m.account_id from membership m where m.chat_id = $1"
    " and m.role > 0 order by m.account_id limit $2) from chat c where c.chat_id = $1",
    key="chat_id",
)
_MEMBERSHIP = (
    "select chat_id, account_id, role, rights, until, joined_at, joined_seq, read_seq,"
    " delivered_seq from membership"
)
MEMBERSHIP = Statement(_MEMBERSHIP + " where chat_id = $1 and account_id = $2", key="chat_id")
MEMBERSHIPS = Statement(
    _MEMBERSHIP + " where chat_id = any($1::bigint[]) and account_id = $2",
    key="chat_id",
    one=MEMBERSHIP.sql,
    spread=(1,),
)
SEAT = Statement(
    "select c.flags from membership m join chat c on c.chat_id = m.chat_id"
    " where m.chat_id = $1 and c.chat_id = $1 and m.account_id = $2 and m.role > 0",
    key="chat_id",
)
READERS = Statement(
    "select account_id from membership where chat_id = $1 and read_seq >= $2 and role > 0"
    " order by account_id limit $3",
    key="chat_id",
)
RECENT_SENDERS = Statement(
    "select sender_id, max(seq) from message where chat_id = $1 and seq > $2 and sent_at >= $3"
    " group by sender_id",
    key="chat_id",
)
SENT_BEFORE = Statement(
    "select random_id, seq, ev, sent_at, digest from dedup where chat_id = $1 and device_id = $2"
    " and random_id = any($3::bigint[])",
    key="chat_id",
)


class Head(Struct, frozen=True, gc=False):
    """Where a chat stands."""

    epoch: int
    ev: int
    seq: int
    at: int
    flags: int
    purged_ev: int = 0
    """Differences from before this one are too long: their events are gone."""
    member_ver: int = 0
    kind: int = 0


class LogRow(Struct, frozen=True):
    """One `ev` of a chat: a message as it is now, or an event.

    For an event `kind` is an `EventKind`, `actor` who did it, `payload` what; `seq` is the message
    it speaks of, if one. For a message `actor` is the sender and `payload` the extras.
    """

    ev: int
    is_message: bool
    seq: int | None
    kind: int
    actor: AccountId | None
    at: int
    body: str | None
    flags: int
    payload: Any
    reply: int | None
    media: int | None
    edited_at: int | None


class MessageRow(Struct, frozen=True):
    """A message as it is now; a tombstone has the flag `DELETED` and neither body nor extra."""

    seq: int
    ev: int
    sender: AccountId
    at: int
    kind: int
    flags: int
    edited_at: int | None
    reply: int | None
    media: int | None
    body: str | None
    extra: Any


class SentBefore(Struct, frozen=True, gc=False):
    """What a key was used for within the last day; `digest` as in `Send`."""

    seq: int
    ev: int
    at: int
    digest: int


class Membership(Struct, frozen=True, gc=False):
    """What a chat knows of one account; role -1 banned, 0 left, 1 member, 3 admin, 4 owner."""

    chat: ChatId
    account: AccountId
    role: int
    rights: int
    until: int
    joined_at: int
    joined_seq: int
    read_seq: int
    delivered_seq: int


def is_dense(rows: Sequence[LogRow], ev: int) -> bool:
    """True where `rows` follow `ev` without a hole; False is an alarm and `too_long`."""
    return all(row.ev == ev + number for number, row in enumerate(rows, 1))


class ChatStore:
    """The chat log as readers see it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def events_since(self, chat: ChatId, ev: int, limit: int) -> list[LogRow]:
        """The next events after `ev`, messages as they are now; empty also where `ev` is purged.

        The caller compares `ev` with the head's `purged_ev` and checks `is_dense`.
        """
        return [LogRow(*row) for row in await self._rows(DIFFERENCE, chat, ev, limit)]

    async def head(self, chat: ChatId) -> Head | None:
        return (await self.heads([chat])).get(chat)

    async def heads(self, chats: Collection[ChatId]) -> dict[ChatId, Head]:
        """Unknown chats are left out."""
        return {row[0]: Head(*row[1:]) for row in await self._rows(HEADS, list(chats))}

    async def history(
        self, chat: ChatId, *, before: int | None = None, after: int | None = None, limit: int
    ) -> list[MessageRow]:
        """Messages in the order of `seq`: the last ones below `before`, or the first above `after`.

        With neither, the newest. Tombstones are included.
        """
        if after is not None:
            return [MessageRow(*row) for row in await self._rows(HISTORY_AFTER, chat, after, limit)]
        top = before if before is not None else 2**31 - 1
        rows = await self._rows(HISTORY_BEFORE, chat, top, limit)
        return [MessageRow(*row) for row in reversed(rows)]

    async def messages(self, chat: ChatId, seqs: Collection[int]) -> list[MessageRow]:
        """Those that exist, in order; tombstones included."""
        return [MessageRow(*row) for row in await self._rows(MESSAGES, chat, list(seqs))]

    async def sent_before(
        self, chat: ChatId, device: DeviceId, keys: Collection[int]
    ) -> dict[int, SentBefore]:
        """Those of the keys (random_id) under which `device` has sent something."""
        rows = await self._rows(SENT_BEFORE, chat, device, list(keys))
        return {row[0]: SentBefore(*row[1:]) for row in rows}

    async def gaps(self, chat: ChatId, above: int) -> list[tuple[int, int]]:
        """Ranges [low, high] of deleted seqs that reach above `above`."""
        return [(row[0], row[1]) for row in await self._rows(GAPS, chat, above)]

    async def members(self, chat: ChatId) -> tuple[int, list[AccountId]]:
        """(member_ver, accounts) of one moment; (0, []) for an unknown chat. For small chats."""
        rows = await self._rows(MEMBERS_OF, chat, MEMBERS)
        return (rows[0][0], rows[0][1]) if rows else (0, [])

    async def membership(self, chat: ChatId, account: AccountId) -> Membership | None:
        rows = await self._rows(MEMBERSHIP, chat, account)
        return Membership(*rows[0]) if rows else None

    async def flags_for(self, chat: ChatId, account: AccountId) -> int | None:
        """`chat.flags` as a member may know them; None for anybody else and any other chat."""
        rows = await self._rows(SEAT, chat, account)
        return rows[0][0] if rows else None

    async def memberships(
        self, chats: Collection[ChatId], account: AccountId
    ) -> dict[ChatId, Membership]:
        """What each of `chats` knows of `account`, left and banned included."""
        rows = await self._rows(MEMBERSHIPS, list(chats), account)
        return {row[0]: Membership(*row) for row in rows}

    async def readers(self, chat: ChatId, seq: int, limit: int) -> list[AccountId]:
        """Members whose read cursor reached `seq`, by account id. For small chats."""
        return [row[0] for row in await self._rows(READERS, chat, seq, limit)]

    async def recent_senders(
        self, chat: ChatId, above: int, since: int
    ) -> list[tuple[AccountId, int]]:
        """(account, its newest seq) among messages above `above` sent at or after `since`."""
        rows = await self._rows(RECENT_SENDERS, chat, above, since)
        return [(row[0], row[1]) for row in rows]

    async def _rows(self, statement: Statement, *values: object) -> Sequence[Any]:
        return await self._db.rows(statement, *values)

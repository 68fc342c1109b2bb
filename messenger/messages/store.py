"""The statements of this package: what they ask of the tables, and structs that come out.

Chat-keyed and account-keyed tables are never joined: what needs both asks twice.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec import Struct

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.log.account_log import AccountKind
from messenger.log.events import ChatFlag, Event, OnRecord, off_record
from messenger.log.store import MessageRow
from messenger.wire.codes import ErrorCode

STANDING = Statement(
    "select status, until, role, kind, flags, last_seq, last_ev, epoch, joined_seq, may_post,"
    " member_ver from standing($1, $2, $3)",
    key="chat_id",
)
_EVENT = "status, detail, ev, at, seq, chat_kind, chat_flags, member_ver, epoch"
EDIT = Statement(
    f"select {_EVENT}, m_ev, m_sender, m_at, m_flags, m_edited, m_reply, m_extra, m_stat"  # noqa: S608 - constants
    " from edit_text($1, $2, $3, $4, $5, $6, $7::jsonb)",
    key="chat_id",
)
REACT = Statement(
    f"select {_EVENT}, counts from react($1, $2, $3, $4, $5, $6, $7)",  # noqa: S608 - constants
    key="chat_id",
)
FLUSH_REACTIONS = Statement(
    f"select {_EVENT}, counts from flush_reactions($1, $2, $3, $4)",  # noqa: S608 - constants
    key="chat_id",
)
_PAGE = (
    "select m.seq, m.ev, m.sender_id, m.sent_at, m.kind, m.flags, m.edited_at, m.reply_seq,"
    " m.media_id, m.body, m.extra, (select p.reactions from post_stat p where p.chat_id = $1"
    " and p.seq = m.seq) from message m where m.chat_id = $1"
)
BEFORE = Statement(_PAGE + " and m.seq < $2 order by m.seq desc limit $3", key="chat_id")
AFTER = Statement(_PAGE + " and m.seq > $2 order by m.seq limit $3", key="chat_id")
THESE = Statement(_PAGE + " and m.seq = any($2::int[]) order by m.seq", key="chat_id")
HIDE = Statement("select aev, seqs from hide_messages($1, $2, $3, $4, $5::int[])", key="account_id")
VIEW = Statement(
    "select m.read_seq, m.cleared_seq, exists (select 1 from hidden h where h.account_id = $1"
    " and h.chat_id = $2), array(select h.seq from hidden h where h.account_id = $1"
    " and h.chat_id = $2 and h.seq > greatest(m.read_seq, m.cleared_seq)"
    " order by h.seq desc limit $3) from member m where m.account_id = $1 and m.chat_id = $2",
    key="account_id",
)
HIDDEN = Statement(
    "select chat_id, seq from hidden where account_id = $1"
    " and (chat_id, seq) in (select * from unnest($2::bigint[], $3::int[]))",
    key="account_id",
)
GAPS = Statement(
    "select low, high from chat_gap where chat_id = $1 and high > $2 order by low desc limit $3",
    key="chat_id",
)
READERS = Statement(
    "select m.account_id from membership m where m.chat_id = $1 and m.read_seq >= $2"
    " and m.role > 0 and m.account_id <> $3 order by m.account_id limit $4",
    key="chat_id",
)
GAPS_MAX = 1_000  # ranges, and as many hidden ones: 20 KB of a page at most


class Standing(Struct, frozen=True, gc=False):
    """A member's place in a chat, and where the chat stands."""

    status: int
    until: int
    role: int
    chat_kind: int
    flags: int
    last_seq: int
    last_ev: int
    epoch: int
    joined_seq: int
    may_post: bool
    member_ver: int


class View(Struct, frozen=True):
    """What an account made of a chat for itself."""

    read_seq: int = 0
    cleared_seq: int = 0
    hides: bool = False
    """It deleted some message for itself."""
    hidden_unread: Sequence[int] = ()
    """The newest such ones above its floor."""

    @property
    def floor(self) -> int:
        """Unread messages are above it."""
        return max(self.read_seq, self.cleared_seq)


def floor_of(standing: Standing, view: View) -> int:
    """Messages up to this one do not exist for the account: cleared, or from before it joined."""
    joined = standing.joined_seq if standing.flags & ChatFlag.NO_HISTORY else 0
    return max(joined, view.cleared_seq)


class Found(Struct, frozen=True):
    """A message and its reactions (`post_stat`)."""

    row: MessageRow
    stat: Any


class EditedRow(Struct, frozen=True):
    event: Event
    changed: bool
    row: MessageRow
    stat: Any
    """Of `post_stat`: the reactions that the message has."""


class Reacted(Struct, frozen=True):
    """`event` is None where its turn has not come: at most one per message and second."""

    event: Event | None
    counts: dict[str, int]
    wait_ms: int = 0


def refusal(status: int, detail: int | None, right: str) -> Refused:
    """The answer to a status of migration 0004; never reveals whether the chat exists."""
    match status:
        case 2:
            return Refused(ErrorCode.NO_MESSAGE)
        case 5:
            return Refused(ErrorCode.FORBIDDEN, {"right": "post"})
        case 6:
            return Refused(ErrorCode.FORBIDDEN, {"right": right})
        case 7:
            return Refused(ErrorCode.FORBIDDEN, {"right": "post", "why": "embargo"})
        case 8:
            return Refused(ErrorCode.BANNED, {"until": detail})
        case 9:
            return Refused(ErrorCode.EDIT_WINDOW, {"until": detail})
        case _:
            return Refused(ErrorCode.NO_CHAT)


def _found(row: Sequence[Any]) -> Found:
    return Found(MessageRow(*row[:11]), row[11])


class MessageStore:
    """Statements on messages and what hangs on them."""

    def __init__(
        self,
        db: Database,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        on_record: OnRecord = off_record,
    ) -> None:
        self._db = db
        self._now_ms = now_ms
        self._on_record = on_record

    async def member(self, chat: ChatId, account: AccountId) -> Standing:
        """Refused(NO_CHAT or BANNED) for everyone but members."""
        rows = await self._rows(STANDING, self._now_ms(), chat, account)
        if not rows:
            raise Refused(ErrorCode.NO_CHAT)
        if rows[0][0]:
            raise refusal(rows[0][0], rows[0][1], "")
        return Standing(*rows[0])

    async def edit(
        self, chat: ChatId, seq: int, actor: AccountId, body: str, extra: str | None, window: int
    ) -> EditedRow:
        """Replace text and entities; the same again makes no event."""
        values = (self._now_ms(), chat, seq, actor, window, body, extra)
        row = await self._event(chat, EDIT, *values)
        if row[0] > 1:
            raise refusal(row[0], row[1], "edit_others")
        ev, sender, at, flags, edited, reply, extras, stat = row[9:]
        message = MessageRow(
            seq=seq,
            ev=ev,
            sender=sender,
            at=at,
            kind=1,
            flags=flags,
            edited_at=edited,
            reply=reply,
            media=None,
            body=body,
            extra=extras,
        )
        return EditedRow(Event(chat, *row[2:9]), changed=row[0] == 0, row=message, stat=stat)

    async def react(
        self, chat: ChatId, seq: int, actor: AccountId, emoji: str | None, kinds: int, every: int
    ) -> Reacted | None:
        """None where nothing changed."""
        values = (self._now_ms(), chat, seq, actor, emoji, kinds, every)
        row = await self._event(chat, REACT, *values)
        match row[0]:
            case 0:
                return Reacted(Event(chat, *row[2:9]), row[9])
            case 1:
                return None
            case 10:
                return Reacted(None, row[9], wait_ms=row[1])
            case 11:
                raise Refused(ErrorCode.REACTION_NOT_ALLOWED, {"limit": kinds})
            case _:
                raise refusal(row[0], row[1], "post")

    async def flush_reactions(self, chat: ChatId, seq: int, every: int) -> Reacted | None:
        """Make the event of counts that were not told yet; None where there are none."""
        row = await self._event(chat, FLUSH_REACTIONS, self._now_ms(), chat, seq, every)
        if row[0] == 1:
            return None
        if row[0]:
            return Reacted(None, {}, wait_ms=row[1])
        return Reacted(Event(chat, *row[2:9]), row[9])

    async def before(self, chat: ChatId, seq: int, limit: int) -> list[Found]:
        """The newest below `seq`, newest first; tombstones included."""
        return [_found(row) for row in await self._rows(BEFORE, chat, seq, limit)]

    async def after(self, chat: ChatId, seq: int, limit: int) -> list[Found]:
        """The oldest above `seq`, oldest first."""
        return [_found(row) for row in await self._rows(AFTER, chat, seq, limit)]

    async def these(self, chat: ChatId, seqs: Collection[int]) -> list[Found]:
        """Those that exist, in order."""
        return [_found(row) for row in await self._rows(THESE, chat, list(seqs))]

    async def hide(self, account: AccountId, chat: ChatId, seqs: Collection[int]) -> Any:
        """(aev, seqs hidden by this call); Refused(NO_CHAT) where the account has no such chat."""
        kind = int(AccountKind.HIDDEN)
        rows = await self._rows(HIDE, self._now_ms(), account, chat, kind, list(seqs))
        if not rows:
            raise Refused(ErrorCode.NO_CHAT)
        return rows[0]

    async def view(self, account: AccountId, chat: ChatId) -> View:
        """The account's own cursors, and what it hid."""
        rows = await self._rows(VIEW, account, chat, GAPS_MAX)
        return View(*rows[0]) if rows else View()

    async def hidden(
        self, account: AccountId, messages: Collection[tuple[ChatId, int]]
    ) -> frozenset[tuple[ChatId, int]]:
        """Which of these (chat, seq) the account deleted for itself."""
        if not messages:
            return frozenset()
        chats, seqs = zip(*messages, strict=True)
        rows = await self._rows(HIDDEN, account, list(chats), list(seqs))
        return frozenset((row[0], row[1]) for row in rows)

    async def gaps(self, chat: ChatId, above: int) -> list[tuple[int, int]]:
        """The newest ranges of deleted seqs that reach above `above`, newest first."""
        return [(row[0], row[1]) for row in await self._rows(GAPS, chat, above, GAPS_MAX)]

    async def readers(
        self, chat: ChatId, seq: int, sender: AccountId, limit: int
    ) -> list[AccountId]:
        """Members but the sender whose cursor reached `seq`."""
        return [row[0] for row in await self._rows(READERS, chat, seq, sender, limit)]

    async def _event(self, chat: ChatId, statement: Statement, *values: object) -> Sequence[Any]:
        async with self._on_record(chat):
            row: Sequence[Any] = (await self._rows(statement, *values))[0]
        return row

    async def _rows(self, statement: Statement, *values: object) -> Sequence[Any]:
        return await self._db.rows(statement, *values)

"""Changes of chats and of their members: each one call, one transaction on the chat's key.

What the account side must learn lies in `outbox_c` when a call returns; `outbox.py` takes it from
there.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import IntEnum, unique
from typing import Any

import msgspec
from msgspec import Struct

from messenger.chats.protocol import RoleName
from messenger.chats.rights import ALL_RIGHTS, Kind, Seat
from messenger.chats.store.rows import rows
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import Event, EventKind, OnRecord, event_of, off_record
from messenger.wire.codes import ErrorCode

_HEAD = "status, ev, at, seq, chat_kind, chat_flags, member_ver, epoch"

CREATE = Statement(
    "select create_chat($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12::bigint[],"
    " $13::smallint[], $14::int[])",
    key="chat_id",
)
ADMIT = Statement(
    f"select account_id, role, until, {_HEAD}"  # noqa: S608 - constants
    " from admit_members($1, $2, $3, $4, $5::bigint[], $6, $7, $8, $9)",
    key="chat_id",
)
CHANGE = Statement(
    f"select {_HEAD} from change_member("  # noqa: S608 - constants
    "$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
    key="chat_id",
)
TRANSFER = Statement(
    f"select account_id, {_HEAD} from transfer_chat($1, $2, $3, $4, $5)",  # noqa: S608
    key="chat_id",
)
UPDATE = Statement(
    f"select username_before, {_HEAD}"  # noqa: S608 - constants
    " from update_chat($1, $2, $3, $4, $5::jsonb, $6::jsonb)",
    key="chat_id",
)
DELETE = Statement(
    f"select username, {_HEAD} from delete_chat($1, $2, $3)",  # noqa: S608 - constants
    key="chat_id",
)
PIN = Statement(
    f"select {_HEAD} from pin_message($1, $2, $3, $4, $5, $6, $7)",  # noqa: S608 - constants
    key="chat_id",
)
EXPEL = Statement("select expel_members($1, $2, $3)", key="chat_id")
DUE = Statement(
    "select chat_id, n, account_id, kind, payload from outbox_c where at < $1"
    " order by at, n limit $2",
    key="chat_id",
    cold=True,  # the poller looks for what crashes left, wherever it is
)
OF_CHAT = Statement(
    "select chat_id, n, account_id, kind, payload from outbox_c where chat_id = $1"
    " and account_id = any($2::bigint[]) order by n",
    key="chat_id",
)
DROP = Statement(
    "delete from outbox_c where chat_id = $1 and n = any($2::bigint[]) returning n", key="chat_id"
)
ADVANCE = Statement(
    "update outbox_c set payload = jsonb_build_object('after', $3::text)"
    " where chat_id = $1 and n = $2 returning n",
    key="chat_id",
)
POSTPONE = Statement(
    "update outbox_c set at = $3 where chat_id = $1 and n = $2 returning n", key="chat_id"
)

NOBODY = AccountId(0)


@unique
class Status(IntEnum):
    """What the functions answer; 2, 3, 5 and 9 mean what the function says they mean."""

    DONE = 0
    SAME = 1
    BANNED = 2
    FULL = 3
    NO_CHAT = 4
    STALE = 5
    FORBIDDEN = 6
    BIG = 9


@unique
class Due(IntEnum):
    """`outbox_c.kind`."""

    SETTLE = 1
    BIG = 2
    DELETED = 3


class OutboxRow(Struct, frozen=True):
    """Something the account side has not learned yet, as far as is known."""

    chat: ChatId
    n: int
    account: AccountId
    kind: int
    """A `Due`, or what another version of the platform wrote."""
    payload: dict[str, Any]


class Outcome(Struct, frozen=True):
    """A change, or why there is none; `event` is the chat's newest where nothing changed."""

    status: Status
    event: Event
    account: AccountId = NOBODY
    until: int = 0
    """Of a ban that refuses a seat."""
    role: RoleName = "left"
    """Of a new seat."""


class NewChat(Struct, frozen=True, kw_only=True):
    """All a chat starts with."""

    chat: ChatId
    kind: Kind
    owner: AccountId | None
    title: str | None
    title_fold: str | None
    about: str | None
    username: str | None
    denied: int
    settings: Mapping[str, Any]
    flags: int
    seats: Mapping[AccountId, Seat]


class SeatChange(Struct, frozen=True, kw_only=True):
    """A seat to be changed, with what was seen when it was decided."""

    actor: AccountId
    actor_seat: Seat
    account: AccountId
    seen: Seat
    new: Seat
    kind: EventKind
    name: RoleName
    """The new role as members are told."""
    why: str
    """What the account is told if it loses its seat."""


class Changes:
    """Writes. Refused(NO_CHAT) comes from here, other refusals from who knows the reason."""

    def __init__(self, db: Database, on_record: OnRecord = off_record) -> None:
        self._db = db
        self._on_record = on_record

    async def create(self, now_ms: int, new: NewChat) -> bool:
        """False where the chat is there already: nothing is changed then."""
        seats = new.seats.values()
        found = await rows(
            self._db,
            CREATE,
            now_ms,
            new.chat,
            int(new.kind),
            new.owner,
            new.title,
            new.title_fold,
            new.about,
            new.username,
            new.denied,
            _text(new.settings),
            new.flags,
            list(new.seats),
            [seat.role for seat in seats],
            [seat.rights for seat in seats],
        )
        return bool(found[0][0])

    async def admit(
        self,
        now_ms: int,
        chat: ChatId,
        actor: AccountId,
        accounts: Sequence[AccountId],
        *,
        needs: int = 0,
        link: bytes | None = None,
        requested: bool = False,
        limit: int,
        small: int,
    ) -> list[Outcome]:
        """Give seats: one outcome an account, and one with account 0 if the chat became big.

        A single outcome with account 0 refuses all: FORBIDDEN, or STALE for a dead link or a
        request that is not there.
        """
        values = (now_ms, chat, actor, needs, list(accounts), link, requested, limit, small)
        found = await self._event(chat, ADMIT, *values)
        return [
            _outcome(chat, row[3:], AccountId(row[0]), until=row[2] or 0, role=row[1] or "left")
            for row in found
        ]

    async def change_seat(self, now_ms: int, chat: ChatId, change: SeatChange) -> Outcome:
        """STALE where the seats are no longer as they were seen."""
        found = await self._event(
            chat,
            CHANGE,
            now_ms,
            chat,
            change.actor,
            change.actor_seat.role,
            change.actor_seat.rights,
            change.account,
            change.seen.role,
            change.seen.rights,
            change.new.role,
            change.new.rights,
            change.new.until,
            int(change.kind),
            change.name,
            change.why,
        )
        return _outcome(chat, found[0])

    async def transfer(
        self, now_ms: int, chat: ChatId, actor: AccountId, account: AccountId
    ) -> list[Outcome]:
        """Two outcomes when done, the old owner's first; else one, FORBIDDEN."""
        found = await self._event(chat, TRANSFER, now_ms, chat, actor, account, ALL_RIGHTS)
        return [_outcome(chat, row[1:], AccountId(row[0])) for row in found]

    async def update(
        self,
        now_ms: int,
        chat: ChatId,
        actor: AccountId,
        needs: int,
        columns: Mapping[str, Any],
        wire: Mapping[str, Any],
    ) -> tuple[Outcome, str | None]:
        """The outcome, and the username before it. `wire`: what members are told."""
        values = (now_ms, chat, actor, needs, _text(columns), _text(wire))
        row = (await self._event(chat, UPDATE, *values))[0]
        return _outcome(chat, row[1:]), row[0]

    async def delete(
        self, now_ms: int, chat: ChatId, actor: AccountId
    ) -> tuple[Outcome, str | None]:
        """The outcome, and the username that is free now."""
        row = (await self._event(chat, DELETE, now_ms, chat, actor))[0]
        return _outcome(chat, row[1:]), row[0]

    async def pin(
        self,
        now_ms: int,
        chat: ChatId,
        actor: AccountId,
        seq: int,
        *,
        on: bool,
        silent: bool,
        limit: int,
    ) -> Outcome:
        """BANNED (2) here means: no such message. FULL: as many pins as allowed."""
        values = (now_ms, chat, actor, seq, on, silent, limit)
        return _outcome(chat, (await self._event(chat, PIN, *values))[0])

    async def expel(self, chat: ChatId, after: int, limit: int) -> list[AccountId]:
        """Empty the next seats of a deleted chat; whose they were, left ones included."""
        return [row[0] for row in await rows(self._db, EXPEL, chat, after, limit)]

    async def due(self, before_ms: int, limit: int) -> list[OutboxRow]:
        return [_outbox(row) for row in await rows(self._db, DUE, before_ms, limit)]

    async def due_of(self, chat: ChatId, accounts: Collection[AccountId]) -> list[OutboxRow]:
        return [_outbox(row) for row in await rows(self._db, OF_CHAT, chat, list(accounts))]

    async def drop(self, chat: ChatId, ns: Sequence[int]) -> None:
        await rows(self._db, DROP, chat, list(ns))

    async def advance(self, chat: ChatId, n: int, after: int) -> None:
        """A deletion has come as far as this account."""
        await rows(self._db, ADVANCE, chat, n, str(after))

    async def postpone(self, chat: ChatId, n: int, at_ms: int) -> None:
        """Leave the row alone until `at_ms`."""
        await rows(self._db, POSTPONE, chat, n, at_ms)

    async def _event(self, chat: ChatId, statement: Statement, *values: object) -> Sequence[Any]:
        async with self._on_record(chat):
            return await rows(self._db, statement, *values)


def _outcome(
    chat: ChatId,
    row: Sequence[Any],
    account: AccountId = NOBODY,
    until: int = 0,
    role: RoleName = "left",
) -> Outcome:
    status = Status(row[0])
    if status is Status.NO_CHAT:
        raise Refused(ErrorCode.NO_CHAT)
    return Outcome(status, event_of(chat, row[1:]), account, until, role)


def _outbox(row: Sequence[Any]) -> OutboxRow:
    return OutboxRow(row[0], row[1], row[2], row[3], row[4] or {})


def _text(value: Mapping[str, Any]) -> str:
    return msgspec.json.encode(value).decode()

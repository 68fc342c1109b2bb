"""Reports, who decides on them, and sanctions: coordinator-local tables, off everybody's path.

Every step is one statement that names the state it comes from, so of two moderators at once one
finds that the step was taken.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from channels.moderation import ReportState, SanctionKind, SanctionState
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId

IS_MODERATOR = Statement(
    "select 1 from moderator where account_id = $1", key="account_id", cold=True
)
_REPORT = (
    "select report_id, account_id, chat_id, seq, reason, text, state, assignee_id, case_id, at"
    " from report where "
)
REPORTS = Statement(
    _REPORT + "state = $1 and report_id > $2 order by report_id limit $3",
    key="report_id",
    cold=True,
)
REPORT = Statement(_REPORT + "report_id = $1", key="report_id", cold=True)
TAKE = Statement(
    "update report set state = $3, assignee_id = $4 where report_id = $1 and state = $2"
    " returning 1",
    key="report_id",
    cold=True,
)
DECIDE = Statement(
    "with r as (update report set state = $3, decision = $5, case_id = $6 where report_id = $1"
    " and state = $2 and assignee_id = $4 returning chat_id), s as ("
    " insert into sanction(case_id, chat_id, report_id, kind, rule, note, by_id, at, until)"
    " select $6, r.chat_id, $1, $5, $7, $8, $4, $9, $10 from r where $6::bigint is not null)"
    " select chat_id from r",
    key="report_id",
    cold=True,
)
_SANCTION = (
    "select case_id, chat_id, report_id, kind, rule, note, by_id, at, until, state, appeal"
    " from sanction where "
)
SANCTION = Statement(_SANCTION + "case_id = $1", key="case_id", cold=True)
OF_CHAT = Statement(
    _SANCTION + "chat_id = $1 order by case_id desc limit $2", key="chat_id", cold=True
)
HOLDING = Statement(
    _SANCTION + "state = any($1::smallint[]) and kind > 1 and (until = 0 or until > $2)"
    " order by case_id limit $3",
    key="case_id",
    cold=True,
)
MOVE = Statement(
    "with s as (update sanction set state = $3, appeal = coalesce($4, appeal),"
    " appealed_at = case when $4::text is null then appealed_at else $5 end"
    " where case_id = $1 and state = $2 returning report_id), r as ("
    " update report set state = $6 where report_id in (select report_id from s))"
    " select 1 from s",
    key="case_id",
    cold=True,
)


class Report(Struct, frozen=True):
    """What somebody complained of."""

    report: int
    account: AccountId
    chat: ChatId
    seq: int | None
    reason: str
    text: str
    state: ReportState
    assignee: AccountId | None
    case: int | None
    at: int


class Sanction(Struct, frozen=True):
    """What was decided against a chat."""

    case: int
    chat: ChatId
    report: int | None
    kind: SanctionKind
    rule: str
    note: str
    by: AccountId
    at: int
    until: int
    state: SanctionState
    appeal: str


class ReportStore:
    """Steps come back False where another took them first."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def is_moderator(self, account: AccountId) -> bool:
        return bool(await self._db.rows(IS_MODERATOR, account))

    async def reports(self, state: ReportState, after: int, limit: int) -> list[Report]:
        """The oldest first."""
        return [_report(row) for row in await self._db.rows(REPORTS, int(state), after, limit)]

    async def report(self, report: int) -> Report | None:
        found = await self._db.rows(REPORT, report)
        return _report(found[0]) if found else None

    async def take(self, report: Report, state: ReportState, by: AccountId) -> bool:
        return bool(await self._db.rows(TAKE, report.report, int(report.state), int(state), by))

    async def decide(self, report: Report, state: ReportState, sanction: Sanction | None) -> bool:
        """Close the report, with a sanction or without one; `assignee` decides."""
        values = (report.report, int(report.state), int(state), report.assignee)
        if sanction is None:
            more: tuple[object, ...] = (0, None, "", "", 0, 0)
        else:
            kind, at, until = int(sanction.kind), sanction.at, sanction.until
            more = (kind, sanction.case, sanction.rule, sanction.note, at, until)
        return bool(await self._db.rows(DECIDE, *values, *more))

    async def sanction(self, case: int) -> Sanction | None:
        found = await self._db.rows(SANCTION, case)
        return _sanction(found[0]) if found else None

    async def of_chat(self, chat: ChatId, limit: int) -> list[Sanction]:
        """The newest first."""
        return [_sanction(row) for row in await self._db.rows(OF_CHAT, chat, limit)]

    async def holding(self, now_ms: int, limit: int) -> list[Sanction]:
        """All that do more than warn."""
        states = [int(state) for state in SanctionState if state is not SanctionState.LIFTED]
        return [_sanction(row) for row in await self._db.rows(HOLDING, states, now_ms, limit)]

    async def move(
        self,
        sanction: Sanction,
        state: SanctionState,
        report: ReportState,
        now_ms: int,
        appeal: str | None = None,
    ) -> bool:
        """The next state of a sanction and of the report it came from."""
        values = (int(sanction.state), int(state), appeal, now_ms, int(report))
        return bool(await self._db.rows(MOVE, sanction.case, *values))


def _report(row: Sequence[Any]) -> Report:
    values = list(row)
    values[6] = ReportState(values[6])
    return Report(*values)


def _sanction(row: Sequence[Any]) -> Sanction:
    values = list(row)
    values[3], values[9] = SanctionKind(values[3]), SanctionState(values[9])
    return Sanction(*values)

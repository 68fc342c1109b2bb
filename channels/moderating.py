"""Reports and what is decided on them: by moderators of the platform, appealed by owners."""

from collections.abc import Callable, Mapping

from channels.moderation import (
    ReportEvent,
    ReportState,
    SanctionEvent,
    SanctionKind,
    SanctionState,
    kind_name,
    report_after,
    report_name,
    sanction_after,
    sanction_name,
)
from channels.protocol import (
    Appeal,
    Decide,
    DecideAppeal,
    Decided,
    Nothing,
    OfChannel,
    OneReport,
    ReportInfo,
    ReportPage,
    Reports,
    SanctionInfo,
    Sanctions,
)
from channels.sanctions import Sanctioned
from channels.standing import Seats
from channels.store.offers import OfferStore
from channels.store.reports import Report, ReportStore, Sanction
from messenger.accounts.names import clean_name, clean_text
from messenger.accounts.wire_ids import page_start
from messenger.chats.rights import Role, forbidden
from messenger.chats.wire_ids import chat_of
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId, parse_id
from messenger.log.events import MessageFlag
from messenger.log.store import ChatStore
from messenger.wire.codes import ErrorCode

SHOWN = 50  # sanctions of one chat
PLATFORM = AccountId(0)  # who is named in a channel's log for what a moderator did


class Moderating:
    """The rpcs of reports and sanctions."""

    def __init__(
        self,
        store: ReportStore,
        in_force: Sanctioned,
        seats: Seats,
        offers: OfferStore,
        chat_log: ChatStore,
        mint: Callable[[], int],
        now_ms: Callable[[], int],
        on_changed: Callable[[ChatId], None],
    ) -> None:
        self._store = store
        self._in_force = in_force
        self._seats = seats
        self._offers = offers
        self._chat_log = chat_log
        self._mint = mint
        self._now_ms = now_ms
        self._on_changed = on_changed

    async def reports(self, request: Reports, caller: Caller) -> ReportPage:
        """For moderators: reports in one state, the oldest first, with what they are about."""
        await self._check_moderator(caller)
        state = ReportState[request.state.upper()]
        found = await self._store.reports(state, page_start(request.after), request.limit)
        listed = [await self._info(one) for one in found]
        return ReportPage(listed, listed[-1].id if len(listed) == request.limit else None)

    async def take(self, request: OneReport, caller: Caller) -> Nothing:
        """One moderator works on a report; taking one's own again changes nothing."""
        await self._check_moderator(caller)
        report = await self._report(request.report)
        if report.state is ReportState.TAKEN and report.assignee == caller.account:
            return Nothing()
        after = report_after(report.state, ReportEvent.TAKE)
        if not await self._store.take(report, after, caller.account):
            raise Refused(ErrorCode.CONFLICT, {"what": "report is taken"})
        return Nothing()

    async def decide(self, request: Decide, caller: Caller) -> Decided:
        """With a sanction, which holds within a second, or by dismissing the report."""
        await self._check_moderator(caller)
        report = await self._report(request.report)
        after = report_after(report.state, ReportEvent.DECIDE)
        if report.state is not ReportState.TAKEN or report.assignee != caller.account:
            raise forbidden("assignee")
        sanction = None
        if request.sanction is not None:
            sanction = self._sanction_of(request, report, caller.account)
        if not await self._store.decide(report, after, sanction):
            raise Refused(ErrorCode.CONFLICT, {"what": "report is decided"})
        if sanction is None:
            return Decided()
        kind = {"kind": kind_name(sanction.kind), "until": sanction.until}
        await self._changed(sanction, PLATFORM, "sanction", kind)
        return Decided(str(sanction.case))

    async def sanctions(self, request: OfChannel, caller: Caller) -> Sanctions:
        """For admins of the channel, and for moderators; the newest first."""
        chat = chat_of(request.chat)
        if not await self._store.is_moderator(caller.account):
            _, seat = await self._seats.of_any_kind(chat, caller.account)
            if seat.role < Role.ADMIN:
                raise forbidden("admin")
        return Sanctions([_info(one) for one in await self._store.of_chat(chat, SHOWN)])

    async def appeal(self, request: Appeal, caller: Caller) -> Nothing:
        """The owner's, once; the sanction holds until somebody else has decided."""
        sanction = await self._sanction(request.case)
        try:
            _, seat = await self._seats.of_any_kind(sanction.chat, caller.account)
        except Refused:  # to strangers there is no such case either
            raise Refused(ErrorCode.NOT_FOUND, {"what": "case"}) from None
        if seat.role != Role.OWNER:
            raise forbidden("owner")
        text = clean_text("text", request.text, lines=True)
        after = sanction_after(sanction.state, SanctionEvent.APPEAL)
        await self._move(sanction, after, ReportState.APPEALED, text)
        await self._changed(sanction, caller.account, "appeal", {})
        return Nothing()

    async def decide_appeal(self, request: DecideAppeal, caller: Caller) -> Nothing:
        """By a moderator other than the one who is appealed against."""
        await self._check_moderator(caller)
        sanction = await self._sanction(request.case)
        event = SanctionEvent.UPHOLD if request.uphold else SanctionEvent.LIFT
        after = sanction_after(sanction.state, event)
        if sanction.by == caller.account:
            raise forbidden("another_moderator")
        await self._move(sanction, after, ReportState.DECIDED)
        note = {"note": clean_text("note", request.note, lines=True)}
        await self._changed(sanction, PLATFORM, sanction_name(after), note)
        return Nothing()

    async def _check_moderator(self, caller: Caller) -> None:
        if not await self._store.is_moderator(caller.account):
            raise forbidden("moderator")

    async def _report(self, text: str) -> Report:
        number = parse_id(text)
        found = await self._store.report(number) if number is not None else None
        if found is None:
            raise Refused(ErrorCode.NOT_FOUND, {"what": "report"})
        return found

    async def _sanction(self, text: str) -> Sanction:
        number = parse_id(text)
        found = await self._store.sanction(number) if number is not None else None
        if found is None:
            raise Refused(ErrorCode.NOT_FOUND, {"what": "case"})
        return found

    def _sanction_of(self, request: Decide, report: Report, by: AccountId) -> Sanction:
        now = self._now_ms()
        if request.until and request.until <= now:
            raise Refused(ErrorCode.INVALID, {"field": "until", "why": "not in the future"})
        return Sanction(
            case=self._mint(),
            chat=report.chat,
            report=report.report,
            kind=SanctionKind[(request.sanction or "warning").upper()],
            rule=clean_name("rule", request.rule),
            note=clean_text("note", request.note, lines=True),
            by=by,
            at=now,
            until=request.until,
            state=SanctionState.IN_FORCE,
            appeal="",
        )

    async def _move(
        self,
        sanction: Sanction,
        after: SanctionState,
        report: ReportState,
        appeal: str | None = None,
    ) -> None:
        if not await self._store.move(sanction, after, report, self._now_ms(), appeal):
            raise Refused(ErrorCode.CONFLICT, {"what": "sanction was changed"})

    async def _changed(
        self, sanction: Sanction, by: AccountId, act: str, more: Mapping[str, object]
    ) -> None:
        """The channel's admins can read it, and this node obeys it from here on."""
        what = {"case": str(sanction.case), "rule": sanction.rule, **more}
        await self._offers.write(self._now_ms(), sanction.chat, by, act, None, what)
        await self._in_force.read()
        self._on_changed(sanction.chat)

    async def _info(self, report: Report) -> ReportInfo:
        post = None
        if report.seq is not None:
            rows = await self._chat_log.messages(report.chat, [report.seq])
            post = rows[0].body if rows and not rows[0].flags & MessageFlag.DELETED else None
        return ReportInfo(
            id=str(report.report),
            chat=str(report.chat),
            at=report.at,
            reason=report.reason,
            text=report.text,
            state=report_name(report.state),
            seq=report.seq,
            post=post,
            assignee=None if report.assignee is None else str(report.assignee),
            case=None if report.case is None else str(report.case),
        )


def _info(one: Sanction) -> SanctionInfo:
    return SanctionInfo(
        case=str(one.case),
        chat=str(one.chat),
        kind=kind_name(one.kind),
        rule=one.rule,
        note=one.note,
        at=one.at,
        until=one.until,
        state=sanction_name(one.state),
        appeal=one.appeal,
    )

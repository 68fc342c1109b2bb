"""The course of a report and of a sanction: two tables, and nothing that is not in them. Pure.

    open --take--> taken --decide--> decided --appeal--> appealed --decide--> decided

A sanction is appealed once, and somebody else than its author decides on the appeal.
"""

from enum import IntEnum, unique
from typing import cast

from channels.protocol import ReportState as ReportName
from channels.protocol import SanctionKind as KindName
from channels.protocol import SanctionState as SanctionName
from messenger.feature import Refused
from messenger.wire.codes import ErrorCode


@unique
class ReportState(IntEnum):
    """`report.state`."""

    OPEN = 0
    TAKEN = 1
    DECIDED = 2
    APPEALED = 3


@unique
class ReportEvent(IntEnum):
    TAKE = 1
    DECIDE = 2
    APPEAL = 3


@unique
class SanctionState(IntEnum):
    """`sanction.state`."""

    IN_FORCE = 0
    APPEALED = 1
    """It holds until the appeal is decided."""
    UPHELD = 2
    LIFTED = 3


@unique
class SanctionEvent(IntEnum):
    APPEAL = 1
    UPHOLD = 2
    LIFT = 3


@unique
class SanctionKind(IntEnum):
    """`sanction.kind`; each includes what the ones before it do."""

    WARNING = 1
    HIDDEN = 2
    """Found by nobody who does not know it."""
    SILENCED = 3
    """No posts and no edits."""
    CLOSED = 4
    """Nobody new comes in."""


REPORTS = {
    (ReportState.OPEN, ReportEvent.TAKE): ReportState.TAKEN,
    (ReportState.TAKEN, ReportEvent.DECIDE): ReportState.DECIDED,
    (ReportState.DECIDED, ReportEvent.APPEAL): ReportState.APPEALED,
    (ReportState.APPEALED, ReportEvent.DECIDE): ReportState.DECIDED,
}

SANCTIONS = {
    (SanctionState.IN_FORCE, SanctionEvent.APPEAL): SanctionState.APPEALED,
    (SanctionState.APPEALED, SanctionEvent.UPHOLD): SanctionState.UPHELD,
    (SanctionState.APPEALED, SanctionEvent.LIFT): SanctionState.LIFTED,
}


def report_after(state: ReportState, event: ReportEvent) -> ReportState:
    """Refused(CONFLICT) where the table has no such step."""
    try:
        return REPORTS[state, event]
    except KeyError:
        raise Refused(ErrorCode.CONFLICT, {"what": f"report is {state.name.lower()}"}) from None


def sanction_after(state: SanctionState, event: SanctionEvent) -> SanctionState:
    """Refused(CONFLICT) where the table has no such step."""
    try:
        return SANCTIONS[state, event]
    except KeyError:
        raise Refused(ErrorCode.CONFLICT, {"what": f"sanction is {state.name.lower()}"}) from None


def report_name(state: ReportState) -> ReportName:
    return cast(ReportName, state.name.lower())


def kind_name(kind: SanctionKind) -> KindName:
    return cast(KindName, kind.name.lower())


def sanction_name(state: SanctionState) -> SanctionName:
    return cast(SanctionName, state.name.lower())

"""What a run's ledger says about speed: latencies from the intended time, and rates per second.

A latency counts from the moment the plan meant the message, not from when the client got round to
sending it, so a server that stalls the client cannot look fast. Percentiles are read from all
samples; none is averaged.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec import Struct

from loadgen.demo.ledger import Ledger, Outcome, Via
from loadgen.demo.plan import Act, Plan

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
CURVE_POINTS = 60


class Latency(Struct, frozen=True):
    """One kind of waiting, in milliseconds; `at` follows `QUANTILES`, None where too few."""

    name: str
    label: str
    says: str
    count: int
    at: tuple[float | None, ...]
    highest: float | None
    curve: tuple[tuple[float, float], ...]
    """(quantile, ms), denser towards the tail."""


class Timeline(Struct, frozen=True):
    """Counts per whole second of the run."""

    sent: tuple[int, ...]
    acked: tuple[int, ...]
    delivered: tuple[int, ...]
    """Messages taken in by a device from a live push."""
    caught_up: tuple[int, ...]
    """Messages taken in by recovery or difference."""
    away: tuple[int, ...]
    """Devices whose socket was cut at some moment of that second."""


class Tally(Struct, frozen=True):
    """One act of the plan and how it ended."""

    act: str
    meant: int
    acked: int
    refused: int
    unanswered: int


class Absence(Struct, frozen=True):
    """One cut socket."""

    device: int
    cut_s: float
    back_s: float
    """When the connection was accepted again."""


def percentile(ordered: Sequence[float], q: float) -> float | None:
    """Nearest rank of an ascending sequence; None where the tail has no sample of its own."""
    if len(ordered) * (1.0 - q) < 1.0 and q > 0.5:
        return None
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)]


def latency(name: str, label: str, says: str, seconds: Iterable[float]) -> Latency:
    ordered = sorted(1_000.0 * value for value in seconds)
    highest = ordered[-1] if ordered else None
    curve = []
    if len(ordered) >= 10:
        tail = math.log10(len(ordered))
        for step in range(CURVE_POINTS + 1):
            q = 1.0 - 10.0 ** (-tail * step / CURVE_POINTS)
            place = min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))
            curve.append((q, ordered[place]))
    at = tuple(percentile(ordered, q) for q in QUANTILES)
    return Latency(name, label, says, len(ordered), at, highest, tuple(curve))


def latencies(
    ledger: Ledger, absences: Sequence[Absence], sign_ups: Iterable[float]
) -> list[Latency]:
    """The waits people notice, the cut sockets apart from the others."""
    acks: list[float] = []
    acks_cut: list[float] = []
    for message in ledger.messages.values():
        if message.outcome is Outcome.ACKED:
            waits = acks_cut if message.cut else acks
            waits.append(message.acked_s - message.intended_s)
    pushes = []
    for device, rows in ledger.applied.items():
        account = ledger.accounts[device]
        for row in rows:
            message_ = ledger.messages.get(row.event)
            if message_ is None or row.kind != "message.new" or row.via is not Via.PUSH:
                continue
            if message_.account != account and not message_.cut:
                pushes.append(row.at_s - message_.intended_s)
    late = [
        message.sent_s - message.intended_s
        for message in ledger.messages.values()
        if not message.cut
    ]
    back = [absence.back_s - absence.cut_s for absence in absences]
    return [
        latency("ack", "send → stored and acknowledged", "after the commit", acks),
        latency("deliver", "send → on the other person's device", "by live push", pushes),
        latency("cut", "send → acknowledged, over a cut socket", "absence included", acks_cut),
        latency("back", "socket cut → connected again", "absence included", back),
        latency(
            "lateness", "plan → handed to the socket", "the virtual people's own lateness", late
        ),
        latency("sign-up", "code asked → signed in", "two HTTP calls", sign_ups),
    ]


def timeline(ledger: Ledger, absences: Sequence[Absence], seconds: float) -> Timeline:
    slots = max(1, math.ceil(seconds))
    sent, acked, live, late, away = ([0] * slots for _ in range(5))

    def count(into: list[int], at_s: float) -> None:
        if 0.0 <= at_s < slots:
            into[int(at_s)] += 1

    for message in ledger.messages.values():
        count(sent, message.sent_s)
        if message.outcome is Outcome.ACKED:
            count(acked, message.acked_s)
    for rows in ledger.applied.values():
        for row in rows:
            if row.kind == "message.new" and row.via is not Via.ANSWER:
                count(live if row.via is Via.PUSH else late, row.at_s)
    for absence in absences:
        for slot in range(int(absence.cut_s), min(slots, int(absence.back_s) + 1)):
            away[slot] += 1
    return Timeline(*(tuple(values) for values in (sent, acked, live, late, away)))


def tallies(ledger: Ledger, plan: Plan, asked: Counter[str], answered: Counter[str]) -> list[Tally]:
    """`asked` and `answered` count the acts that the ledger does not hold one by one."""
    rows = []
    for act in Act:
        if act is Act.SEND:
            outcomes = Counter(message.outcome for message in ledger.messages.values())
        elif act in (Act.EDIT, Act.DELETE):
            outcomes = Counter(
                change.outcome
                for change in ledger.changes.values()
                if bool(change.text) is (act is Act.EDIT)
            )
        else:
            open_ = asked[act] - answered[act]
            outcomes = Counter({Outcome.ACKED: answered[act], Outcome.OPEN: open_})
        rows.append(
            Tally(
                str(act),
                plan.counts[act],
                outcomes[Outcome.ACKED],
                outcomes[Outcome.REFUSED],
                outcomes[Outcome.OPEN],
            )
        )
    return rows

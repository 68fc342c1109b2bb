"""`join_flood`: a bought crowd storms one channel; others who talk must not notice.

Direct messages by the clock from a process of their own, first alone, then beside 5,000 joins a
second. The guard must let in only as many as its rule says and tell the others why and when.
"""

import asyncio
import json
import time
from array import array
from collections import Counter
from collections.abc import Sequence

from loadgen.bench.beside import beside
from loadgen.bench.channel import founded
from loadgen.bench.driver import Session, rpc
from loadgen.bench.groups import Asker
from loadgen.bench.procstat import between
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, seed_accounts
from messenger.sections import LIMIT_RULES
from messenger.wire.codes import ErrorCode

PAIRS, PER_S = 20, 200.0
TICK_S = 0.001
DRAIN_S = 20.0
GUARD = ErrorCode.JOIN_GUARD.message


class Flood:
    """Who joins, again and again, and what they are told."""

    def __init__(self, link: str) -> None:
        self.sent = 0
        self.answered = 0
        self.inside: set[int] = set()
        """Tags of those who are in."""
        self.refusals: Counter[str] = Counter()
        self.unexplained = 0
        """Refusals by the guard without rule, reason or time."""
        self.waits = array("d")
        self._link = link
        self._open: dict[tuple[int, int], float] = {}

    def join(self, session: Session) -> None:
        self.sent += 1
        number = self.sent + 10
        self._open[session.tag, number] = time.monotonic()
        session.send(rpc(number, "chats.join", {"link": self._link}))

    def heard(self, session: Session, data: bytes) -> None:
        if not data.startswith(b'{"id":'):
            return
        sent = self._open.pop((session.tag, int(data[6 : data.find(b",", 6)])), None)
        if sent is None:
            return
        self.answered += 1
        self.waits.append(time.monotonic() - sent)
        if b'"error"' in data[:60]:
            self._refused(data)
        else:
            self.inside.add(session.tag)

    def _refused(self, data: bytes) -> None:
        name, _, details = json.loads(data)["error"]["message"].partition(" ")
        self.refusals[name] += 1
        told = json.loads(details) if name == GUARD and details else {}
        explained = {"rule", "why", "retry_after_ms"} <= told.keys()
        self.unexplained += name == GUARD and not explained


async def run(stage: Stage) -> Row:
    row, scale = Row(name="join_flood"), stage.scale
    [owner, *crowd] = await seed_accounts(stage, 1 + scale.flooders)
    chat, admin = await founded(stage, owner), Asker()
    await admin.connect(stage, owner)
    flood = Flood((await admin.ask("chats.link_create", {"chat": chat}))["link"])
    sessions = await stage.driver.connect_all(
        [stage.token(n) for n in crowd], flood.heard, tags=range(len(crowd))
    )
    async with beside(stage, PAIRS, PER_S) as direct:
        await asyncio.sleep(scale.warm_up_s)
        await direct.window()
        await asyncio.sleep(scale.flood_s)
        idle = await direct.figures()
        before = stage.processes.read()
        await _storm(flood, sessions, scale.joins_per_s, scale.flood_s)
        stormed = await direct.figures()
        cost = between(before, stage.processes.read())
        await direct.end(stage, row)
    row.charge(cost, flood.answered)
    await _answered(flood)
    _judge(flood, row, scale.flood_s)
    row.p50_ms, row.p99_ms = stormed.p50_ms, stormed.p99_ms
    row.more |= {"idle_p50_ms": idle.p50_ms, "idle_p99_ms": idle.p99_ms}
    row.more["p99_ratio"] = round((stormed.p99_ms or 0.0) / (idle.p99_ms or 1.0), 2)
    await stage.driver.close()
    return row


async def _storm(flood: Flood, sessions: Sequence[Session], per_s: float, seconds: float) -> None:
    """By the clock, whatever the server answers; who is in tries no more."""
    start, fired = time.monotonic(), 0
    while (elapsed_s := time.monotonic() - start) < seconds:
        due = int(elapsed_s * per_s)
        for place in range(fired, due):
            session = sessions[place % len(sessions)]
            if session.tag not in flood.inside:
                flood.join(session)
        fired = due
        await asyncio.sleep(TICK_S)


async def _answered(flood: Flood) -> None:
    deadline = time.monotonic() + DRAIN_S
    while flood.answered < flood.sent and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks
        await asyncio.sleep(0.02)


def _judge(flood: Flood, row: Row, seconds: float) -> None:
    """Every join is answered, none was let in beyond the rule, none refused without a reason."""
    rule = LIMIT_RULES["join.channel"]
    allowed = int(rule.burst + rule.per_s * (seconds + DRAIN_S))
    row.lost = (row.lost or 0) + flood.sent - flood.answered
    row.more |= {"unit": "join asked for", "joins": flood.sent, "joined": len(flood.inside)}
    row.more["refused"] = dict(flood.refusals)
    row.more["answer_p99_ms"] = percentile_ms(flood.waits, 0.99)
    row.more["unexplained"] = flood.unexplained
    if len(flood.inside) > allowed:
        row.invalid(f"{len(flood.inside)} came in where the rule allows {allowed}")
    if flood.unexplained:
        row.invalid(f"{flood.unexplained} refusals do not explain themselves")

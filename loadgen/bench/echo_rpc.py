"""`echo_rpc`: what a command and its reply cost, without any store."""

import time
from array import array

from loadgen.bench.driver import Session, rpc
from loadgen.bench.row import Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, window

IN_FLIGHT = 16
BODY = "x" * 100


class Echo:
    """Keeps `in_flight` echoes under way on each session."""

    def __init__(self, sessions: int, in_flight: int) -> None:
        self.in_flight = in_flight
        self.arrived = 0
        self.wrong = 0
        self.running = True
        self.waits = array("d")
        self._next = array("q", [2] * sessions)
        self._sent_at: list[dict[bytes, float]] = [{} for _ in range(sessions)]
        _, _, self._tail = rpc(0, "system.echo", {"data": BODY}).partition(b'{"id":0')

    def start(self, session: Session) -> None:
        for _ in range(self.in_flight):
            self._send(session)

    def heard(self, session: Session, data: bytes) -> None:
        self.arrived += 1
        sent_at = self._sent_at[session.tag].pop(data[6 : data.find(b",", 6)], None)
        if sent_at is None or b'"error"' in data:
            self.wrong += 1
        else:
            self.waits.append(time.monotonic() - sent_at)
        if self.running:
            self._send(session)

    def forget_waits(self) -> None:
        self.waits = array("d")

    def _send(self, session: Session) -> None:
        id = self._next[session.tag]
        self._next[session.tag] = id + 1
        number = b"%d" % id
        self._sent_at[session.tag][number] = time.monotonic()
        session.send(b'{"id":%b%b' % (number, self._tail))


async def run(stage: Stage) -> Row:
    row = Row(name="echo_rpc", more={"sessions": stage.scale.echoes, "in_flight": IN_FLIGHT})
    row.cpu_us_w1 = await _measure(stage, row, 1)
    await _measure(stage, row, IN_FLIGHT)
    return row


async def _measure(stage: Stage, row: Row, in_flight: int) -> float:
    """CPU per echo; the row takes the last measurement's figures."""
    sessions = stage.scale.echoes
    echo = Echo(sessions, in_flight)
    await stage.driver.connect_all([stage.token(n) for n in range(sessions)], echo.heard)
    for session in stage.driver.sessions:
        echo.start(session)
    units, cost = await window(stage, lambda: echo.arrived, echo.forget_waits)
    echo.running = False
    await stage.driver.close()
    row.charge(cost, units)
    row.p50_ms, row.p99_ms = percentile_ms(echo.waits, 0.5), percentile_ms(echo.waits, 0.99)
    row.lost = (row.lost or 0) + echo.wrong
    return per_unit(cost, units)[0]

"""`login`: from TCP to the connect reply with a signed token, 50 at a time."""

import asyncio
import time
from array import array
from collections.abc import MutableSequence

from loadgen.bench.driver import Session
from loadgen.bench.procstat import between
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage

AT_ONCE = 50
WARM_UP_SHARE = 0.1


def ignore(_session: Session, _data: bytes) -> None:
    """Nothing is expected after the reply."""


async def run(stage: Stage) -> Row:
    row = Row(name="login", more={"at_once": AT_ONCE})
    logins = stage.scale.logins
    warm_up = int(logins * WARM_UP_SHARE)
    await stage.driver.connect_all([stage.token(n) for n in range(warm_up)], ignore, AT_ONCE)
    tokens = [stage.token(warm_up + n) for n in range(logins)]  # signed before the clock starts
    waits = array("d")
    before = stage.processes.read()
    await _log_in(stage, tokens, waits)
    cost = between(before, stage.processes.read())
    row.lost = sum(1 for session in stage.driver.sessions if session.closed is not None)
    await stage.driver.close()
    row.charge(cost, len(waits))
    row.p50_ms, row.p99_ms = percentile_ms(waits, 0.5), percentile_ms(waits, 0.99)
    return row


async def _log_in(stage: Stage, tokens: list[str], waits: MutableSequence[float]) -> None:
    waiting = iter(tokens)

    async def worker() -> None:
        for token in waiting:
            began = time.monotonic()
            await stage.driver.connect(token, ignore)
            waits.append(time.monotonic() - began)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())

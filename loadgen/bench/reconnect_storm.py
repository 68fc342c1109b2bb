"""`reconnect_storm`: every socket of a node is cut at once, and all want to come back.

Each missed a message of its group. They return as SDKs do, with full jitter; meanwhile others, in
a process of their own, go on sending to each other.
"""

import asyncio
import random
import time
from array import array

from loadgen.bench.beside import beside
from loadgen.bench.crowd import Crowd, crowd_of
from loadgen.bench.driver import LoadError
from loadgen.bench.procstat import between
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, stored

BESIDE_PAIRS, BESIDE_PER_S = 20, 200.0
FIRST_S, LONGEST_S = 0.5, 20.0
"""centrifuge-js: a reconnect waits a random part of 0.5 s, doubled with each failure up to 20 s."""
PATIENCE_S = 90.0
SETTLE_S = 3.0


async def run(stage: Stage) -> Row:
    row = Row(name="reconnect_storm", lost=0, duplicated=0, reordered=0)
    crowd = await crowd_of(stage, stage.scale.storm)
    await crowd.connect()
    await asyncio.sleep(min(SETTLE_S, stage.scale.settle_s))
    async with beside(stage, BESIDE_PAIRS, BESIDE_PER_S) as others:
        await asyncio.sleep(stage.scale.warm_up_s)
        await others.window()
        await _storm(stage, crowd, row)
        heard = await others.end(stage, row)
    row.more |= {"beside_per_s": BESIDE_PER_S, "beside_p50_ms": heard.p50_ms}
    row.more |= {"beside_p99_ms": heard.p99_ms, "beside_worst_ms": heard.worst_ms}
    row.more["beside_lateness_p99_ms"] = heard.lateness_p99_ms
    await _judge(stage, crowd, row)
    await stage.driver.close()
    return row


async def _storm(stage: Stage, crowd: Crowd, row: Row) -> None:
    back_at, retries = array("d"), 0
    before = stage.processes.read()
    crowd.cut()
    cut_at = time.monotonic()

    async def device(tag: int) -> None:
        nonlocal retries
        draw, longest_s = random.Random(stage.seed + tag), FIRST_S  # noqa: S311 - spreads load
        while True:
            await asyncio.sleep(draw.uniform(0, longest_s))
            try:
                await crowd.back(tag)
            except (LoadError, OSError, TimeoutError):
                retries += 1
                longest_s = min(LONGEST_S, 2 * longest_s)
            else:
                back_at.append(time.monotonic() - cut_at)
                return

    async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
        for tag in range(len(crowd.accounts)):
            tasks.create_task(device(tag))
        tasks.create_task(crowd.post(1))
    while not crowd.whole and time.monotonic() - cut_at < PATIENCE_S:  # noqa: ASYNC110 - callbacks
        await asyncio.sleep(0.01)
    row.more["caught_up_s"] = round(time.monotonic() - cut_at, 2)
    row.charge(between(before, stage.processes.read()), len(back_at))
    row.p50_ms, row.p99_ms = percentile_ms(back_at, 0.5), percentile_ms(back_at, 0.99)
    row.more["back_s"] = round(max(back_at), 2)
    row.more |= {"retries": retries, "unrecovered": crowd.unrecovered}


async def _judge(stage: Stage, crowd: Crowd, row: Row) -> None:
    texts = await stored(stage, crowd.chats)
    row.lost = (row.lost or 0) + crowd.missing
    row.lost += sum(crowd.posted - len(held) for held in texts.values())
    row.duplicated = (row.duplicated or 0) + crowd.order.duplicated
    row.reordered = (row.reordered or 0) + crowd.order.reordered

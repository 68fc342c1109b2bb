"""`fanout_1k`, `fanout_10k`: a durable post to a chat that so many people have open on screen.

A post is complete when all have it; `W` posts are in flight. A unit is one delivery.
"""

import asyncio
import time

from loadgen.bench.beside import beside
from loadgen.bench.procstat import Cost
from loadgen.bench.room import Room, judge, opened
from loadgen.bench.row import Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, window

W = 4
BESIDE_PAIRS, BESIDE_PER_S = 20, 200.0
DRAIN_S = 10.0


async def run_1k(stage: Stage) -> Row:
    row = Row(name="fanout_1k")
    room = await opened(stage, row, stage.scale.readers)
    await _both(stage, room, row)
    await judge(stage, room, row)
    await stage.driver.close()
    return row


async def run_10k(stage: Stage) -> Row:
    """The same with 10,000; then once more at W posts in flight beside direct messages, which a
    process of its own sends and measures."""
    row = Row(name="fanout_10k")
    room = await opened(stage, row, stage.scale.many_readers)
    await _both(stage, room, row)
    async with beside(stage, BESIDE_PAIRS, BESIDE_PER_S) as direct:
        await asyncio.sleep(stage.scale.warm_up_s)
        await direct.window()
        units, cost = await measure(stage, room, W)
        await judge(stage, room, row)
        heard = await direct.end(stage, row)
    row.doubt(cost)
    row.more["beside_cpu_us"] = per_unit(cost, units)[0]
    row.more |= {"direct_per_s": BESIDE_PER_S, "direct_p50_ms": heard.p50_ms}
    row.more |= {"direct_p99_ms": heard.p99_ms, "direct_worst_ms": heard.worst_ms}
    row.more["direct_lateness_p99_ms"] = heard.lateness_p99_ms
    await stage.driver.close()
    return row


async def _both(stage: Stage, room: Room, row: Row) -> None:
    """With one post in flight, then with W."""
    units, cost = await measure(stage, room, 1)
    row.doubt(cost)
    row.cpu_us_w1 = per_unit(cost, units)[0]
    row.more["w1_rate_per_s"] = round(units / cost.seconds, 1)
    row.more["w1_p50_ms"] = percentile_ms(room.waits, 0.5)
    row.more["w1_p99_ms"] = percentile_ms(room.waits, 0.99)
    units, cost = await measure(stage, room, W)
    row.charge(cost, units)
    row.more["in_flight"] = W
    row.p50_ms, row.p99_ms = percentile_ms(room.waits, 0.5), percentile_ms(room.waits, 0.99)


async def measure(stage: Stage, room: Room, in_flight: int) -> tuple[int, Cost]:
    """Deliveries and their cost; the samples are left in the room."""
    room.running = True
    for _ in range(in_flight):
        room.post()
    measured = await window(stage, lambda: room.arrived, room.forget_waits)
    room.running = False
    deadline = time.monotonic() + DRAIN_S
    while not room.settled and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks count
        await asyncio.sleep(0.02)
    room.check_refused()
    return measured

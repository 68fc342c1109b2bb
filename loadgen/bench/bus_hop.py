"""`bus_hop`: what it costs that the recipient is on another node.

Two nodes run all the time. Rounds alternate between pairs on one node and pairs on both: a closed
loop for the CPU, then an open one at half the peak for the latency. Medians of all rounds.
"""

import time
from statistics import median

from msgspec import Struct

from loadgen.bench.nodes import extra_node
from loadgen.bench.pairs import Clock, Pairs, judged, paired
from loadgen.bench.procstat import Cost
from loadgen.bench.row import LATENESS_MS, Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, seed_accounts, window

IN_FLIGHT = 16


class Round(Struct):
    """One measurement of one arrangement."""

    cost: Cost
    units: int
    cpu_us: float
    p50_ms: float
    p99_ms: float


async def run(stage: Stage) -> Row:
    row = Row(name="bus_hop", more={"pairs": stage.scale.pairs, "in_flight": IN_FLIGHT})
    async with extra_node(stage, "other") as other:
        count = 2 * stage.scale.pairs
        near = await paired(stage, await seed_accounts(stage, count))
        far = await paired(stage, await seed_accounts(stage, count), other.driver)
        rounds: tuple[list[Round], list[Round]] = ([], [])
        rate = 0.0
        for _ in range(stage.scale.hop_rounds):
            for pairs, found in zip((near, far), rounds, strict=True):
                units, cost = await _closed(stage, pairs)
                row.doubt(cost)
                rate = rate or max(1.0, units / cost.seconds / 2)
                late_ms = await _open(stage, pairs, rate)
                if late_ms > LATENESS_MS:
                    row.invalid(f"the driver was {late_ms:.1f} ms late (p99) in the open loop")
                p50, p99 = (percentile_ms(pairs.waits, q) or 0.0 for q in (0.5, 0.99))
                found.append(Round(cost, units, per_unit(cost, units)[0], p50, p99))
        for pairs in (near, far):
            await judged(stage, pairs, row)
        await stage.driver.close()
    _compare(row, *rounds)
    row.more["half_rate_per_s"] = round(rate)
    return row


async def _closed(stage: Stage, pairs: Pairs) -> tuple[int, Cost]:
    pairs.closed_loop = True
    for pair in range(len(pairs.chats)):
        for _ in range(IN_FLIGHT):
            pairs.send(pair, time.monotonic())
    measured = await window(stage, lambda: pairs.arrived)
    pairs.closed_loop = False
    await pairs.wait_settled()
    return measured


async def _open(stage: Stage, pairs: Pairs, rate: float) -> float:
    """The driver's lateness; the samples are left with the pairs."""
    pairs.forget_waits()
    clock = Clock(pairs, rate)
    await clock.run_for(stage.scale.hop_s)
    await pairs.wait_settled()
    return percentile_ms(clock.late, 0.99) or 0.0


def _compare(row: Row, near: list[Round], far: list[Round]) -> None:
    """The row's figures are those of two nodes; what they cost more is under `more`."""
    middle = sorted(far, key=lambda one: one.cpu_us)[len(far) // 2]
    row.charge(middle.cost, middle.units)
    row.p50_ms = median(one.p50_ms for one in far)
    row.p99_ms = median(one.p99_ms for one in far)
    row.more["same_node_cpu_us"] = median(one.cpu_us for one in near)
    row.more["same_node_p99_ms"] = median(one.p99_ms for one in near)
    differences = [two.cpu_us - one.cpu_us for one, two in zip(near, far, strict=True)]
    row.more["more_cpu_us"] = round(median(differences), 2)
    row.more["more_cpu_us_of_each"] = [round(one, 2) for one in differences]
    row.more["more_p99_ms"] = round(row.p99_ms - row.more["same_node_p99_ms"], 3)

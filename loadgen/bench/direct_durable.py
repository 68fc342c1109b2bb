"""`direct_durable`: a direct message from socket to commit to socket.

200 people in 100 pairs, 16 in flight a pair; the credit returns when the recipient has the
message. Then the same at half of that rate in an open loop, latency from the intended time.
"""

import time

from loadgen.bench.pairs import Clock, Pairs, judged, paired
from loadgen.bench.procstat import between
from loadgen.bench.row import LATENESS_MS, Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.scrape import scrape
from loadgen.bench.stage import Stage, seed_accounts, window

IN_FLIGHT = 16


async def run(stage: Stage) -> Row:
    count = stage.scale.pairs
    pairs = await paired(stage, await seed_accounts(stage, 2 * count))
    row = Row(name="direct_durable", more={"pairs": count, "in_flight": IN_FLIGHT})
    await _closed(stage, pairs, row)
    await _open(stage, pairs, row)
    await judged(stage, pairs, row)
    await stage.driver.close()
    return row


async def _closed(stage: Stage, pairs: Pairs, row: Row) -> None:
    pairs.closed_loop = True
    for pair in range(len(pairs.chats)):
        for _ in range(IN_FLIGHT):
            pairs.send(pair, time.monotonic())
    units, cost = await window(stage, lambda: pairs.arrived, pairs.forget_waits)
    row.charge(cost, units)
    row.more["peak_p50_ms"] = percentile_ms(pairs.waits, 0.5)
    row.more["peak_p99_ms"] = percentile_ms(pairs.waits, 0.99)
    row.more["acks_per_s"] = round(len(pairs.ack_waits) / cost.seconds, 1)
    batches = await scrape(stage.platform.ops_port)
    row.more["mean_batch"] = batches.mean("peyk_commit_rows")
    pairs.closed_loop = False
    await pairs.wait_settled()


async def _open(stage: Stage, pairs: Pairs, row: Row) -> None:
    """Half the peak, fired by the clock whatever the server does."""
    rate = max(1.0, (row.rate_per_s or 0.0) / 2)
    await Clock(pairs, rate).run_for(stage.scale.warm_up_s)
    await pairs.wait_settled()
    pairs.forget_waits()
    clock, before, arrived = Clock(pairs, rate), stage.processes.read(), pairs.arrived
    await clock.run_for(stage.scale.open_s)
    cost = between(before, stage.processes.read())
    units = pairs.arrived - arrived
    await pairs.wait_settled()
    lateness = percentile_ms(clock.late, 0.99) or 0.0
    row.p50_ms, row.p99_ms = percentile_ms(pairs.waits, 0.5), percentile_ms(pairs.waits, 0.99)
    row.more |= {"half_rate_per_s": round(rate), "half_cpu_us": per_unit(cost, units)[0]}
    row.more["half_ack_p99_ms"] = percentile_ms(pairs.ack_waits, 0.99)
    row.more["half_lateness_p99_ms"] = lateness
    if lateness > LATENESS_MS:
        row.invalid(f"the driver was {lateness:.1f} ms late (p99) in the open loop")
    row.doubt(cost)

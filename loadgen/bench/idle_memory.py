"""`idle_memory`: what a signed-in session weighs while nothing happens."""

import asyncio
import resource

from loadgen.bench.login import ignore
from loadgen.bench.procstat import between
from loadgen.bench.row import Row
from loadgen.bench.stage import Stage

FILES_KEPT = 512
WARM_UP = 200


async def run(stage: Stage) -> Row:
    """RSS of the node before and after; the first sessions are made before, so that what a first
    session brings once (caches, code) is not counted."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    row = Row(name="idle_memory", more={"settle_s": stage.scale.settle_s})
    first = min(WARM_UP, stage.scale.idle[0] // 2)
    await stage.driver.connect_all([stage.token(n) for n in range(first)], ignore)
    await asyncio.sleep(2.0)
    empty = stage.processes.rss()["gateway"]
    steps = [step for step in stage.scale.idle if step <= files - FILES_KEPT]
    for step in steps:
        have = len(stage.driver.sessions)
        tokens = [stage.token(n) for n in range(have, step)]
        await stage.driver.connect_all(tokens, ignore)
        before = stage.processes.read()
        await asyncio.sleep(stage.scale.settle_s)
        cost = between(before, stage.processes.read())
        stage.driver.check_open()
        grown = stage.processes.rss()["gateway"] - empty
        row.n, row.seconds = step, round(cost.seconds, 3)
        row.kib_per_session = round(grown / 1024 / (step - first), 2)
        row.more[f"kib_at_{step}"] = row.kib_per_session
        row.more["gateway_cpu_share"] = round(cost.cpu_s["gateway"] / cost.seconds, 4)
        row.more[f"gateway_cpu_share_at_{step}"] = row.more["gateway_cpu_share"]
        row.doubt(cost)
    if steps != list(stage.scale.idle):
        row.more["not_measured"] = f"{stage.scale.idle[-1]} sessions: {files} open files allowed"
    row.lost = 0
    await stage.driver.close()
    return row

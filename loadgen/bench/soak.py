"""`soak`: ten minutes and more of mixed load, and whether anything of the server grows with it.

People of the demo write, read, type, edit and lose their sockets; beside them direct messages by
the clock, and strangers who come and go on a second node. Every minute the nodes, Redis and
PostgreSQL are looked at; a line through what followed the warm-up says what is flat.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from rich.console import Console

from loadgen.bench.beside import Beside, beside
from loadgen.bench.driver import LoadError
from loadgen.bench.login import ignore
from loadgen.bench.nodes import ExtraNode, extra_node
from loadgen.bench.procstat import between
from loadgen.bench.row import Row
from loadgen.bench.soak_samples import Sample, growth, take
from loadgen.bench.stage import STRANGERS, Stage
from loadgen.demo.conservation import Breach
from loadgen.demo.run import Demo, Options

BESIDE_PAIRS, BESIDE_PER_S = 20, 50.0
CHURN_AT_ONCE = 5
CHURN_PAUSE_S = 0.5
WARM_UP_SHARE = 0.35
"""Hot windows fill, pools open, the first vacuum comes: not counted."""
ALLOWED = {
    "rss_mib": 0.02,
    "open_fds": 0.05,
    "tasks": 0.10,
    "redis_mib": 0.10,
    "dead_share": 0.20,
    "bytes_per_message": 0.10,
}
"""How much each may grow from the warm-up's end to the end, by the fitted line: of its mean, but
the share of dead rows in points."""


async def run(stage: Stage) -> Row:
    scale, row = stage.scale, Row(name="soak", lost=0, duplicated=0, reordered=0)
    demo = _demo(stage)
    began = time.monotonic()
    before = stage.processes.read()
    async with (
        extra_node(stage, "second") as node,
        beside(stage, BESIDE_PAIRS, BESIDE_PER_S) as others,
        _churning(stage, node) as churned,
    ):
        samples = await _watched(stage, node, demo, others)
        heard = await others.end(stage, row)
    row.seconds = round(time.monotonic() - began, 1)
    cost = between(before, stage.processes.read())
    row.p50_ms, row.p99_ms = heard.p50_ms, heard.p99_ms
    row.more |= {"people": scale.soak_people, "beside_per_s": BESIDE_PER_S}
    row.more |= {"came_and_went": churned[0], "server_cores": round(cost.server_s / row.seconds, 3)}
    _judge(demo, row)
    row.n += sum(heard.outcome.sent)
    row.rate_per_s = round(row.n / row.seconds, 1)
    _flat(row, samples)
    return row


def _demo(stage: Stage) -> Demo:
    scale, platform = stage.scale, stage.platform
    readers, people = 0, scale.soak_people
    options = Options(scale.soak_s, people, stage.seed, readers, platform.url, platform.home)
    return Demo(options, Console(quiet=True))


async def _watched(
    stage: Stage, node: ExtraNode, demo: Demo, others: Beside
) -> dict[str, list[Sample]]:
    """Samples of both nodes' platform while the demo runs."""
    samples: dict[str, list[Sample]] = {"first": [], "second": []}
    ports = {"first": stage.platform.ops_port, "second": node.ops_port}
    talking = asyncio.create_task(demo.run(), name="demo")
    try:
        await others.window()
        while not talking.done():
            await asyncio.wait([talking], timeout=stage.scale.soak_sample_s)
            for name, port in ports.items():
                samples[name].append(await take(stage, port))
    finally:
        talking.cancel()
        await asyncio.wait([talking])
    return samples


@asynccontextmanager
async def _churning(stage: Stage, node: ExtraNode) -> AsyncIterator[list[int]]:
    """Strangers come, stay for a moment and go without a word; how many."""
    count, going = [0], True

    async def churn() -> None:
        while going:
            first = STRANGERS + count[0] % 1_000
            tokens = [stage.token(first + n) for n in range(CHURN_AT_ONCE)]
            await node.driver.connect_all(tokens, ignore)
            count[0] += CHURN_AT_ONCE
            await asyncio.sleep(CHURN_PAUSE_S)
            await node.driver.close()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(churn(), name="churn")
        yield count
        going = False


def _judge(demo: Demo, row: Row) -> None:
    """The demo's own books: sent, held, seen and unread."""
    if demo.verdict is None:
        raise LoadError(f"the demo was broken off: {demo.failure}")
    counts = demo.verdict.counts
    row.lost = (row.lost or 0) + counts.get(Breach.LOST, 0) + counts.get(Breach.WRONG, 0)
    row.duplicated = (row.duplicated or 0) + counts.get(Breach.DUPLICATED, 0)
    row.reordered = (row.reordered or 0) + counts.get(Breach.REORDERED, 0)
    row.more["unread_wrong"] = counts.get(Breach.UNREAD, 0)
    row.lost += row.more["unread_wrong"]
    row.n = len(demo.crowd.ledger.messages) if demo.crowd is not None else 0
    row.more |= {"verdict": demo.verdict.line, "comparisons": demo.verdict.compared}
    row.more |= {"cut": demo.board.cut, "resumed": demo.board.resumed}


def _flat(row: Row, samples: Mapping[str, Sequence[Sample]]) -> None:
    grown: dict[str, float] = {}
    for name, series in samples.items():
        kept = series[int(len(series) * WARM_UP_SHARE) :]
        times = [sample.at_s for sample in kept]
        for what in ALLOWED:
            values = [float(getattr(sample, what)) for sample in kept]
            share = growth(times, values)
            if what == "dead_share":
                share *= sum(values) / max(1, len(values))
            grown[f"{name}.{what}"] = round(share, 4)
    allowed = {name: ALLOWED[name.partition(".")[2]] for name in grown}
    row.more |= {"samples": dict(samples), "grown": grown}
    row.more["not_flat"] = [name for name, share in grown.items() if share > allowed[name]]
    row.more["flat"] = not row.more["not_flat"]

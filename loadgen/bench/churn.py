"""`churn`: thousands come and go with Python's collector off; nothing of them may stay."""

import asyncio
import os
import signal
import time
from pathlib import Path

from loadgen.bench.driver import LoadError
from loadgen.bench.login import ignore
from loadgen.bench.nodes import ExtraNode, extra_node
from loadgen.bench.procstat import between, rss_of
from loadgen.bench.row import Row
from loadgen.bench.scrape import scrape
from loadgen.bench.stage import Stage

AT_ONCE = 50
BLOCK = 500
"""Sessions that are open together."""
WARM_UP_SHARE = 0.25
PATIENCE_S = 30.0


async def run(stage: Stage) -> Row:
    row = Row(name="churn", lost=0, more={"at_once": AT_ONCE})
    file = stage.platform.home / "objects"
    async with extra_node(
        stage, "watched", program=("-m", "loadgen.bench.watched", str(file))
    ) as node:
        await _churn(stage, node, int(stage.scale.churned * WARM_UP_SHARE))
        objects, rss = (
            await asyncio.to_thread(_objects, node.process.pid, file),
            rss_of(node.process.pid),
        )
        before = stage.processes.read()
        await _churn(stage, node, stage.scale.churned)
        row.charge(between(before, stage.processes.read()), stage.scale.churned)
        more_objects = await asyncio.to_thread(_objects, node.process.pid, file) - objects
        more_rss = rss_of(node.process.pid) - rss
    row.more |= {"objects": objects, "objects_more": more_objects, "rss_kib": rss // 1024}
    row.more |= {"objects_grown": f"{100 * more_objects / objects:.2f} %"}
    row.more |= {"rss_grown": f"{100 * more_rss / rss:.2f} %", "rss_more_kib": more_rss // 1024}
    row.more["objects_more_per_connect"] = round(more_objects / stage.scale.churned, 3)
    return row


async def _churn(stage: Stage, node: ExtraNode, count: int) -> None:
    """`count` sessions come and go; returns when the node has forgotten the last."""
    for start in range(0, count, BLOCK):
        tokens = [stage.token(n) for n in range(start, min(start + BLOCK, count))]
        await node.driver.connect_all(tokens, ignore, AT_ONCE)
        await node.driver.close()
    async with asyncio.timeout(PATIENCE_S):
        while (await scrape(node.ops_port)).get("peyk_sessions"):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)


def _objects(pid: int, file: Path) -> int:
    """As the node counts them itself."""
    file.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR1)
    deadline = time.monotonic() + PATIENCE_S
    while not file.exists():
        if time.monotonic() > deadline:
            raise LoadError("the node did not count its objects")
        time.sleep(0.05)
    return int(file.read_text(encoding="ascii"))

"""`peyk bench`: one JSON line per benchmark, on a platform of its own.

Exit codes: 0 all is well; 1 something was lost, doubled or swapped; 2 a row is INVALID or could
not be measured. Times are never a gate: they belong to the machine they were taken on.
"""

import argparse
import asyncio
import gc
import resource
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import uvloop
from rich.console import Console

from loadgen.bench import (
    bus_hop,
    channel_post,
    channel_room,
    channel_views,
    churn,
    direct_durable,
    drain,
    echo_rpc,
    fanout,
    group_commit,
    idle_memory,
    join_flood,
    login,
    reconnect_storm,
    resume,
    slow_reader,
    soak,
)
from loadgen.bench.budgets import BUDGETS, HEADLINES
from loadgen.bench.driver import LoadError
from loadgen.bench.peers import compare
from loadgen.bench.row import Row
from loadgen.bench.stage import Scale, Stage, staged
from loadgen.machine import this_machine
from loadgen.platform import PlatformError
from messenger.client.errors import RpcError
from messenger.client.http import HttpError

Benchmark = Callable[[Stage], Awaitable[Row]]
BENCHMARKS: Mapping[str, Benchmark] = {
    "echo_rpc": echo_rpc.run,
    "direct_durable": direct_durable.run,
    "fanout_1k": fanout.run_1k,
    "fanout_10k": fanout.run_10k,
    "idle_memory": idle_memory.run,
    "login": login.run,
    "resume": resume.run,
    "group_commit": group_commit.run,
    "bus_hop": bus_hop.run,
    "slow_reader": slow_reader.run,
    "churn": churn.run,
    "drain": drain.run,
    "reconnect_storm": reconnect_storm.run,
    "channel_post": channel_post.run,
    "channel_room": channel_room.run,
    "channel_views": channel_views.run,
    "join_flood": join_flood.run,
}
APART: Mapping[str, Benchmark] = {
    "soak": soak.run,
    "channel_post_10m": channel_post.run_10m,
}
"""Only where they are named: they take longer than all others together."""
LONGEST_S = 400.0
"""Of one benchmark, the start of its platform included."""
GC_THRESHOLDS = (100_000, 50, 1_000)
"""Python's own would stop the driver for tens of milliseconds, and be taken for the server."""
PEERS = "peers"
KNOWN = {**BENCHMARKS, **APART}
EXPECTED = (LoadError, PlatformError, RpcError, HttpError, OSError, TimeoutError)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="peyk bench", description="What a message, a delivery, a session, a login costs."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(KNOWN)}")
    parser.add_argument("--json", type=Path, help="write the lines there instead of to stdout")
    parser.add_argument("--peers", action="store_true", help="compare with servers of others")
    parser.add_argument("--minutes", type=float, default=11.0, help="of the soak (default 11)")
    parser.add_argument("--seed", type=int, default=7, help="of random ids")
    given = parser.parse_args(arguments)
    if unknown := set(given.names) - set(KNOWN):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    _prepare()
    names = given.names or ([] if given.peers else list(BENCHMARKS))
    names += [PEERS] if given.peers else []
    console = Console(stderr=True, soft_wrap=True)
    try:
        scale = Scale(soak_s=60 * given.minutes)
        rows = uvloop.run(_all(names, given.seed, scale, console))
    except KeyboardInterrupt:
        return 2
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    if given.json is not None:
        given.json.write_bytes(lines)
    else:
        sys.stdout.write(lines.decode())
    return exit_code(rows)


def _prepare() -> None:
    """As many sockets as we may have, and a collector that leaves 15,000 of them alone."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.set_threshold(*GC_THRESHOLDS)


def exit_code(rows: Sequence[Row]) -> int:
    if not all(row.intact for row in rows):
        return 1
    return 0 if all(row.valid for row in rows) else 2


async def _all(names: Sequence[str], seed: int, scale: Scale, console: Console) -> list[Row]:
    machine = await asyncio.to_thread(this_machine)
    rows: list[Row] = []
    for name in names:
        console.print(f"{name}: meant {BUDGETS[name]} ...", highlight=False)
        for row in await _one(name, seed, scale):
            row.sign(machine)
            row.more["seed"] = seed
            rows.append(row)
            console.print(summary(row), highlight=False)
    return rows


async def _one(name: str, seed: int, scale: Scale) -> list[Row]:
    """A benchmark on a platform of its own; what stops it makes its row INVALID."""
    rows = [Row(name=name)]
    complaints: list[str] = []
    longest_s = LONGEST_S + (scale.soak_s if name in APART else 0.0)
    try:
        async with asyncio.timeout(longest_s), staged(seed, scale) as stage:
            try:
                rows = await compare(stage) if name == PEERS else [await KNOWN[name](stage)]
            finally:
                complaints = stage.platform.complaints()
    except* EXPECTED as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        rows[0].invalid(f"{type(error).__name__}: {error}"[:400])
    if complaints:
        first = f"the server logged {len(complaints)} errors; the first: {complaints[0]}"
        rows[0].invalid(first[:400])
    return rows


def summary(row: Row) -> str:
    """One line for people."""
    parts = [f"  {row.name}: n {row.n:,}"]
    if row.rate_per_s is not None:
        parts.append(f"{row.rate_per_s:,.0f}/s")
    if row.cpu_us is not None:
        by = ", ".join(f"{kind} {us:g}" for kind, us in (row.cpu_us_by or {}).items())
        parts.append(f"{row.cpu_us:g} us ({by})")
    if row.cpu_us_w1 is not None:
        parts.append(f"one in flight {row.cpu_us_w1:g} us")
    if row.p50_ms is not None:
        parts.append(f"p50 {row.p50_ms:g} ms, p99 {row.p99_ms:g} ms")
    if row.kib_per_session is not None:
        parts.append(f"{row.kib_per_session:g} KiB a session")
    if row.lost is not None:
        parts.append(f"lost {row.lost}, doubled {row.duplicated}, swapped {row.reordered}")
    wanted = HEADLINES.get(row.name, HEADLINES[PEERS] if "peyk_by_peer" in row.more else ())
    parts += [f"{name} {row.more[name]}" for name in wanted if name in row.more]
    if not row.valid:
        parts.append("INVALID: " + "; ".join(row.more.get("invalid", [])))
    return " · ".join(parts)

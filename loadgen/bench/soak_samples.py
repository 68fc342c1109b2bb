"""What a soak looks at every minute, and the line through it."""

import json
import time
from collections.abc import Sequence

from msgspec import Struct
from redis.asyncio import Redis, from_url
from sqlalchemy import text

from loadgen.bench.scrape import scrape
from loadgen.bench.stage import Stage

POSTGRES = text(
    "select pg_database_size(current_database()), coalesce(sum(n_dead_tup), 0),"
    " coalesce(sum(n_live_tup), 0), (select count(*) from message)"
    " from pg_stat_user_tables"
)
MIB = 2**20


class Sample(Struct, frozen=True):
    """One node and the stores at one moment."""

    at_s: float
    rss_mib: float
    open_fds: int
    tasks: int
    sessions: int
    redis_mib: float
    postgres_mib: float
    messages: int
    dead_share: float
    """Of all rows."""
    bytes_per_message: float
    """The whole database by messages: bloat shows here, growth by use does not."""


async def take(stage: Stage, ops_port: int) -> Sample:
    node = await scrape(ops_port)
    async with stage.engine.connect() as connection:
        size, dead, live, messages = (await connection.execute(POSTGRES)).one()
    return Sample(
        at_s=round(time.monotonic(), 1),
        rss_mib=round(node.get("peyk_rss_bytes") / MIB, 2),
        open_fds=int(node.get("peyk_open_fds")),
        tasks=int(node.get("peyk_loop_tasks")),
        sessions=int(node.get("peyk_sessions")),
        redis_mib=round(await _redis_bytes(stage) / MIB, 2),
        postgres_mib=round(size / MIB, 2),
        messages=messages,
        dead_share=round(float(dead) / max(1.0, float(dead) + float(live)), 4),
        bytes_per_message=round(size / max(1, messages), 1),
    )


def growth(times: Sequence[float], values: Sequence[float]) -> float:
    """By the least-squares line: from the first to the last time, as a share of the mean."""
    count = len(times)
    if count < 2:
        return 0.0
    middle_t, middle = sum(times) / count, sum(values) / count
    spread = sum((at - middle_t) ** 2 for at in times)
    if not spread or not middle:
        return 0.0
    pairs = zip(times, values, strict=True)
    slope = sum((at - middle_t) * (value - middle) for at, value in pairs) / spread
    return slope * (times[-1] - times[0]) / middle


async def _redis_bytes(stage: Stage) -> int:
    state = json.loads((stage.platform.home / "platform.json").read_text())
    redis: Redis = from_url(state["redis_url"])
    try:
        return int((await redis.info("memory"))["used_memory"])
    finally:
        await redis.aclose()

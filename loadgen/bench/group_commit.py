"""`group_commit`: the append statement alone, by size of batch, number of chats and of committers.

A committer is a process of its own; its CPU is counted as a node's. The row's own figures are those
of `AT` messages a batch, the fewest chats and one committer; the others are under `more`.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from sqlalchemy import func, insert, literal, select

from loadgen.bench.child import Child, child
from loadgen.bench.committing import Done, Order, Place
from loadgen.bench.procstat import Cost, between
from loadgen.bench.row import Row, per_unit
from loadgen.bench.stage import Stage, account_id, seed_accounts
from messenger.log.tables import chat, membership, message

AT = 100
FIRST_CHAT = 2**52 + 2**45
START_S = 30.0
PATIENCE_S = 60.0


async def run(stage: Stage) -> Row:
    row = Row(name="group_commit", lost=0, more={"batch": AT, "grid": []})
    writer = account_id((await seed_accounts(stage, 1))[0])
    most = max(stage.scale.written_chats)
    await _seed_chats(stage, writer, most)
    async with AsyncExitStack() as stack:
        children = []
        for number in range(max(stage.scale.committers)):
            process = await stack.enter_async_context(
                child("loadgen.bench.committing", stage.processes.roots)
            )
            url = stage.engine.url.render_as_string(hide_password=False)
            await process.tell(Place(url, writer, stage.seed + number))
            await process.hear(str, START_S)
            children.append(process)
        written = await _grid(stage, children, row)
    refused = sum(point["refused"] for point in row.more["grid"])
    row.lost = abs(written - await _stored(stage)) + refused
    row.more["cpu_us_at"] = {
        point["batch"]: point["cpu_us"]
        for point in row.more["grid"]
        if (point["chats"], point["committers"]) == (_fewest(stage), 1)
    }
    return row


async def _grid(stage: Stage, children: list[Child], row: Row) -> int:
    """Measure every point; how many messages were written in all."""
    scale, written = stage.scale, 0
    for chats in scale.written_chats:
        for committers in scale.committers:
            for batch in scale.batches:
                order = Order(batch, FIRST_CHAT, chats, scale.commit_s)
                before = stage.processes.read()
                done = await _all_do(children[:committers], order)
                cost = between(before, stage.processes.read())
                count = sum(one.written for one in done)
                written += count
                row.more["grid"].append(
                    {"batch": batch, "chats": chats, "committers": committers}
                    | _point(cost, count, done)
                )
                if (batch, chats, committers) == (AT, _fewest(stage), 1):
                    row.charge(cost, count)
                    row.p50_ms, row.p99_ms = done[0].p50_ms, done[0].p99_ms
    return written


async def _all_do(children: list[Child], order: Order) -> list[Done]:
    for process in children:
        await process.tell(order)
    return await asyncio.gather(*(process.hear(Done, PATIENCE_S) for process in children))


def _point(cost: Cost, count: int, done: list[Done]) -> dict[str, Any]:
    cpu_us, by = per_unit(cost, count)
    return {
        "per_s": round(count / cost.seconds),
        "cpu_us": cpu_us,
        "postgres_us": by["postgres"],
        "p99_ms": max(one.p99_ms or 0.0 for one in done),
        "refused": sum(one.refused for one in done),
    }


def _fewest(stage: Stage) -> int:
    return min(stage.scale.written_chats)


async def _seed_chats(stage: Stage, writer: int, count: int) -> None:
    """Groups with one member each: what the statement looks up of a chat and of the writer."""
    numbers = func.generate_series(FIRST_CHAT, FIRST_CHAT + count - 1).column_valued("n")
    chats = select(numbers, literal(2), literal(1))
    members = select(numbers, literal(writer), literal(4))
    async with stage.engine.begin() as connection:
        await connection.execute(
            insert(chat).from_select(["chat_id", "kind", "member_count"], chats)
        )
        await connection.execute(
            insert(membership).from_select(["chat_id", "account_id", "role"], members)
        )
        await connection.exec_driver_sql("analyze chat, membership")


async def _stored(stage: Stage) -> int:
    last = FIRST_CHAT + max(stage.scale.written_chats)
    rows = select(func.count()).select_from(message)
    wanted = rows.where(message.c.chat_id >= FIRST_CHAT, message.c.chat_id < last)
    async with stage.engine.connect() as connection:
        return int((await connection.execute(wanted)).scalar_one())

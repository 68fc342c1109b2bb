"""`channel_post`: what a post, a join, a first page cost in channels of 10^3, 10^5, 10^7 rows.

One post is in flight, and the channels take turns, so that what the machine does besides falls on
all of them alike. The figure that counts is the ratio: the cost must not depend on the audience.
"""

import time
from array import array
from collections.abc import Awaitable

from sqlalchemy import text

from loadgen.bench.channel import filled, founded
from loadgen.bench.groups import Asker
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, seed_accounts, stored

WARM = 20
"""Posts into each channel before it counts."""


async def run(stage: Stage) -> Row:
    row = Row(name="channel_post")
    sizes = stage.scale.subscribers
    owner, *others = await seed_accounts(stage, 1 + stage.scale.joiners)
    writer = Asker()
    await writer.connect(stage, owner)
    chats: dict[int, str] = {}
    first, seconds = 0, 0.0
    for size in sizes:
        chats[size] = await founded(stage, owner)
        seconds += await filled(stage, chats[size], size, first)
        first += size
    async with stage.engine.connect() as connection:
        await connection.execute(text("checkpoint"))  # its writes belong to the filling
    waits = await _posts(stage, writer, chats, row)
    largest, smallest = max(sizes), min(sizes)
    await _readers(stage, owner, others, chats[largest], row)
    by_size = {str(size): percentile_ms(waits[size], 0.5) for size in sizes}
    row.n = sum(len(each) for each in waits.values())
    row.p50_ms = percentile_ms(waits[largest], 0.5)
    row.p99_ms = percentile_ms(waits[largest], 0.99)
    row.more |= {"subscribers": largest, "p50_ms_by": by_size, "filled_s": round(seconds, 1)}
    row.more["ratio"] = round((row.p50_ms or 0.0) / (by_size[str(smallest)] or 1.0), 3)
    await _judge(stage, chats, row)
    await stage.driver.close()
    return row


async def _posts(
    stage: Stage, writer: Asker, chats: dict[int, str], row: Row
) -> dict[int, "array[float]"]:
    waits = {size: array("d") for size in chats}
    number = 0
    for turn in range(WARM + stage.scale.posts):
        for size, chat in chats.items():
            wait = await timed(writer.post(chat, [number]))
            number += 1
            if turn >= WARM:
                waits[size].append(wait)
    row.more["posted"] = number
    return waits


async def _readers(stage: Stage, owner: int, others: list[int], chat: str, row: Row) -> None:
    """They join the largest channel, read its first page, and leave."""
    admin = Asker()
    await admin.connect(stage, owner)
    link = (await admin.ask("chats.link_create", {"chat": chat}))["link"]
    joins, pages, leaves = array("d"), array("d"), array("d")
    for number in others:
        reader = Asker()
        await reader.connect(stage, number)
        joins.append(await timed(reader.ask("chats.join", {"link": link})))
        pages.append(await timed(reader.ask("messages.history", {"chat": chat})))
        leaves.append(await timed(reader.ask("chats.leave", {"chat": chat})))
    row.more["join_p50_ms"] = percentile_ms(joins, 0.5)
    row.more["first_page_p50_ms"] = percentile_ms(pages, 0.5)
    row.more["leave_p50_ms"] = percentile_ms(leaves, 0.5)


async def _judge(stage: Stage, chats: dict[int, str], row: Row) -> None:
    held = await stored(stage, chats.values())
    posts = [text for chat in held.values() for text in chat]
    row.lost = max(0, row.more["posted"] - len(set(posts)))
    row.duplicated = len(posts) - len(set(posts))
    row.reordered = sum(int(each != sorted(each)) for each in held.values())


async def timed(work: Awaitable[object]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began

"""`drain`: a node is told to leave while thousands are on it and some of them write.

Every session must be told to come back (3001), every ack must be kept, and the node must end by
itself. What was sent and not acked is nobody's: its sender repeats it.
"""

import asyncio
import time
from array import array
from collections.abc import Sequence

from loadgen.bench.driver import Session
from loadgen.bench.login import ignore
from loadgen.bench.marks import text_of
from loadgen.bench.nodes import extra_node
from loadgen.bench.pairs import Clock, Pairs, open_directs
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import STRANGERS, Stage, seed_accounts, stored

PER_S = 500.0
EXIT_S = 60.0
COME_BACK = 3001


async def run(stage: Stage) -> Row:
    row = Row(name="drain", more={"sends_per_s": PER_S})
    async with extra_node(stage, "leaving", config="") as node:
        tokens = [stage.token(STRANGERS + n) for n in range(stage.scale.drained)]
        idle = await node.driver.connect_all(tokens, ignore)
        accounts = await seed_accounts(stage, 2 * stage.scale.pairs)
        pairs = Pairs(await open_directs(stage, accounts))
        tags, own = range(len(pairs.chats)), [stage.token(n) for n in accounts]
        pairs.senders = await node.driver.connect_all(own[::2], pairs.answered, tags=tags)
        await node.driver.connect_all(own[1::2], pairs.delivered, tags=tags)
        going = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Clock(pairs, PER_S).run(lambda: going), name="load")
            await asyncio.sleep(max(0.5, stage.scale.warm_up_s))
            node.leave()
            left_at = time.monotonic()
            told = await _told(idle)
            async with asyncio.timeout(EXIT_S):
                code = await node.process.wait()
            left_s, going = time.monotonic() - left_at, False
        codes = [session.closed for session in node.driver.sessions]
    row.n, row.seconds = codes.count(COME_BACK), round(left_s, 3)
    row.p50_ms, row.p99_ms = percentile_ms(told, 0.5), percentile_ms(told, 0.99)
    row.more |= {"sessions": len(codes), "seen_3001": row.n, "exit": code}
    row.more |= {"seconds_to_exit": row.seconds, "acked": pairs.acks, "sent": sum(pairs.sent)}
    row.lost = len(codes) - row.n
    row.more["close_codes"] = {str(code): codes.count(code) for code in set(codes)}
    await _judge(stage, pairs, row)
    if code != 0:
        row.invalid(f"the node ended with {code}")
    return row


async def _told(sessions: list[Session]) -> Sequence[float]:
    """Seconds until each session's end, to about 10 ms."""
    began, told, waiting = time.monotonic(), array("d"), sessions
    while waiting and time.monotonic() - began < EXIT_S:
        await asyncio.sleep(0.01)
        now = time.monotonic() - began
        left = [session for session in waiting if session.closed is None]
        told.extend([now] * (len(waiting) - len(left)))
        waiting = left
    return told


async def _judge(stage: Stage, pairs: Pairs, row: Row) -> None:
    held = await stored(stage, pairs.chats)
    row.duplicated, row.reordered = pairs.order.duplicated, pairs.order.reordered
    for pair, chat in enumerate(pairs.chats):
        texts = held[chat]
        kept = set(texts)
        row.lost = (row.lost or 0) + sum(
            text_of(number) not in kept for number in pairs.acked_numbers(pair)
        )
        row.duplicated += len(texts) - len(kept)
        row.reordered += texts != sorted(texts)

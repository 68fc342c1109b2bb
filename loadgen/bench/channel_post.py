"""`channel_post`: what a post costs its writer in channels of very different size.

Channels of 10^3, 10^5 and many subscribers, all of them rows, are posted to in turn, a few posts
each, one in flight: whatever else the machine does meanwhile falls on all of them alike. In the
largest one people also come, read the first page, and leave.
"""

import time
from array import array
from collections.abc import Sequence

from sqlalchemy import text

from loadgen.bench.channel import filled, founded
from loadgen.bench.groups import Asker
from loadgen.bench.marks import text_of
from loadgen.bench.procstat import between
from loadgen.bench.row import Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, seed_accounts, stored
from messenger.client.errors import Json

TURN = 5
"""Posts into one channel before it is the next one's turn."""
WARM_UP = 20
"""Posts of each channel before anything counts: caches and plans are there then."""
PAGE = 50
SIZE = (
    "select sum(pg_total_relation_size(t)) from unnest(array['membership', 'member']::regclass[]) t"
)


async def run(stage: Stage) -> Row:
    return await _run(stage, Row(name="channel_post"), stage.scale.subscribers)


async def run_10m(stage: Stage) -> Row:
    """The same with ten million in the largest one; it needs 6 GB of disk and some minutes."""
    return await _run(stage, Row(name="channel_post_10m"), stage.scale.most_subscribers)


async def _run(stage: Stage, row: Row, subscribers: Sequence[int]) -> Row:
    scale = stage.scale
    owner, *newcomers = await seed_accounts(stage, 1 + scale.joiners)
    chats = [await founded(stage, owner) for _ in subscribers]
    row.more |= {"subscribers": list(subscribers), "unit": "post, one in flight"}
    await _fill(stage, chats, subscribers, row)
    posting = Posting(stage, chats)
    await posting.connect(owner)
    await posting.post(WARM_UP)
    posting.forget()
    before = stage.processes.read()
    await posting.post(scale.posts)
    row.charge(between(before, stage.processes.read()), sum(map(len, posting.waits)))
    _compare(row, subscribers, posting)
    row.lost = await _come_and_go(stage, owner, newcomers, posting, row)
    await _judge(stage, posting, row)
    await stage.driver.close()
    return row


async def _fill(stage: Stage, chats: Sequence[str], subscribers: Sequence[int], row: Row) -> None:
    first, seconds = 0, 0.0
    for chat, count in zip(chats, subscribers, strict=True):
        seconds += await filled(stage, chat, count, first)
        first += count
    async with stage.engine.connect() as connection:
        await connection.execute(text("checkpoint"))  # its writes belong to the filling
        size = int((await connection.execute(text(SIZE))).scalar_one())
    row.more |= {"filled_s": round(seconds, 1), "filled_gib": round(size / 2**30, 2)}


class Posting:
    """Posts to some channels in turn, and what each of them took."""

    def __init__(self, stage: Stage, chats: Sequence[str]) -> None:
        self.chats = chats
        self.posts = 0
        """In each."""
        self.waits: list[array[float]] = []
        self.cpu_s: list[float] = []
        self._stage = stage
        self._writer = Asker()
        self.forget()

    def forget(self) -> None:
        """What was measured so far."""
        self.waits = [array("d") for _ in self.chats]
        self.cpu_s = [0.0 for _ in self.chats]

    async def connect(self, owner: int) -> None:
        await self._writer.connect(self._stage, owner)

    async def post(self, each: int) -> None:
        """At least so many into every channel."""
        end = self.posts + each
        while self.posts < end:
            for place in range(len(self.chats)):
                await self._turn(place)
            self.posts += TURN

    async def _turn(self, place: int) -> None:
        before = self._stage.processes.read()
        for number in range(self.posts, self.posts + TURN):
            began = time.monotonic()
            await self._writer.post(self.chats[place], [number])
            self.waits[place].append(time.monotonic() - began)
        self.cpu_s[place] += between(before, self._stage.processes.read()).server_s


def _compare(row: Row, subscribers: Sequence[int], posting: Posting) -> None:
    medians = [percentile_ms(waits, 0.5) or 0.0 for waits in posting.waits]
    tails = [percentile_ms(waits, 0.99) for waits in posting.waits]
    cpu_us = [
        round(1e6 * seconds / len(waits), 1)
        for seconds, waits in zip(posting.cpu_s, posting.waits, strict=True)
    ]
    row.p50_ms, row.p99_ms = medians[-1], tails[-1]
    for name, figures in (("p50_ms_by", medians), ("p99_ms_by", tails), ("cpu_us_by_size", cpu_us)):
        row.more[name] = dict(zip(map(str, subscribers), figures, strict=True))
    row.more["ratio"] = round(max(medians) / max(min(medians), 1e-6), 3)


async def _come_and_go(
    stage: Stage, owner: int, newcomers: Sequence[int], posting: Posting, row: Row
) -> int:
    """Into the largest one, one after the other: join, read the first page, leave. The posts that
    were missing on those pages."""
    chat, admin = posting.chats[-1], Asker()
    await admin.connect(stage, owner)
    link = (await admin.ask("chats.link_create", {"chat": chat}))["link"]
    people = [Asker() for _ in newcomers]
    for person, number in zip(people, newcomers, strict=True):
        await person.connect(stage, number)
    await _each(stage, people, "join", "chats.join", {"link": link}, row)
    asked = {"chat": chat, "limit": PAGE}
    pages = await _each(stage, people, "first_page", "messages.history", asked, row)
    await _each(stage, people, "leave", "chats.leave", {"chat": chat}, row)
    return sum(min(PAGE, posting.posts) - len(page["messages"]) for page in pages)


async def _each(
    stage: Stage, people: Sequence[Asker], name: str, method: str, data: Json, row: Row
) -> list[Json]:
    """One after the other; the median, the tail, and what one costs."""
    waits, answers = array("d"), list[Json]()
    before = stage.processes.read()
    for person in people:
        began = time.monotonic()
        answers.append(await person.ask(method, data))
        waits.append(time.monotonic() - began)
    cpu_us, _ = per_unit(between(before, stage.processes.read()), len(people))
    row.more |= {f"{name}_p50_ms": percentile_ms(waits, 0.5), f"{name}_cpu_us": cpu_us}
    row.more[f"{name}_p99_ms"] = percentile_ms(waits, 0.99)
    return answers


async def _judge(stage: Stage, posting: Posting, row: Row) -> None:
    """Every post is in its channel once."""
    held = await stored(stage, posting.chats)
    posted = {text_of(number) for number in range(posting.posts)}
    row.lost = (row.lost or 0) + sum(len(posted - set(texts)) for texts in held.values())
    row.duplicated = sum(len(texts) - len(set(texts)) for texts in held.values())
    row.reordered = sum(texts != sorted(texts) for texts in held.values())

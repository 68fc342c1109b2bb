"""kill -9 of the node that counts views: before its commit, after it, and in the middle of it all.

Whoever hears nothing tells the same again, elsewhere; the views of every post must then be as many
as there are readers whose set of seen posts holds it.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest

from messenger.client.errors import RpcError
from messenger.client.http import HttpError
from tests.support.people import becomes, until
from tests.support.platform import Door, SignedIn
from tests.support.processes import NodeProcess, Stores, nodes, own_stores
from tests.support.rows import Rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
POSTS = 30
READERS = 5
STEPS = 6
UNHEARD = (OSError, EOFError, TimeoutError, HttpError)
"""What a caller meets whose node dies: it cannot know what became of its call."""


@pytest.fixture(scope="module")
async def stores() -> AsyncIterator[Stores]:
    async with own_stores() as stores:
        yield stores


@pytest.fixture(scope="module")
async def doors(stores: Stores) -> AsyncIterator[list[NodeProcess]]:
    async with nodes(stores, 2) as doors:
        yield doors


class Channel:
    """A channel with posts and readers, and what each of them has seen, as sets."""

    def __init__(self, chat: str, owner: SignedIn, readers: list[SignedIn]) -> None:
        self.chat = chat
        self.owner = owner
        self.readers = readers
        self.seen: dict[str, set[int]] = {reader.account: set() for reader in readers}

    async def tells(self, door: Door, reader: SignedIn, lo: int, hi: int) -> bool:
        """lo..hi were on screen; False where no answer came, or that it shall come again."""
        seen = self.seen[reader.account]
        top = max(seen, default=0)
        seen |= {seq for seq in range(lo, min(hi, POSTS) + 1) if seq > top}
        views = {"views": [{"chat": self.chat, "lo": lo, "hi": hi}]}
        try:
            await door.post("channels.view", views, reader.token)
        except UNHEARD:
            return False
        except RpcError as error:
            if not error.temporary:
                raise
            return False
        return True

    async def insists(self, doors: list[NodeProcess], reader: SignedIn, lo: int, hi: int) -> None:
        """Until one of the nodes has answered."""
        async with asyncio.timeout(20):
            while not await self.tells(doors[0], reader, lo, hi):
                if await self.tells(doors[1], reader, lo, hi):
                    return
                await asyncio.sleep(0.05)

    def counted(self) -> dict[int, int]:
        sets = self.seen.values()
        return {seq: sum(seq in one for one in sets) for seq in range(1, POSTS + 1)}

    async def shown(self, door: Door) -> dict[int, int]:
        asked = {"chat": self.chat, "seqs": list(range(1, POSTS + 1))}
        stats = await door.post("channels.stats", asked, self.owner.token)
        return {post["seq"]: post["views"] for post in stats["posts"]}


@pytest.fixture
async def channel(doors: list[NodeProcess]) -> Channel:
    """Its readers came before the first post."""
    door = doors[1]
    owner = await door.signs_up("خبرگزاری")
    request = {"kind": "channel", "title": "خبر", "random_id": "1"}
    chat = (await door.post("chats.create", request, owner.token))["chat"]["id"]
    link = (await door.post("chats.link_create", {"chat": chat}, owner.token))["link"]
    readers = [await door.signs_up(f"reader {number}") for number in range(READERS)]
    for reader in readers:
        await door.post("chats.join", {"link": link}, reader.token)
    for number in range(POSTS):
        post = {"chat": chat, "text": f"post {number}", "random_id": str(number + 1)}
        await door.post("messages.send", post, owner.token)
    return Channel(chat, owner, readers)


@pytest.fixture
async def held(stores: Stores, channel: Channel) -> AsyncIterator[asyncpg.transaction.Transaction]:
    """A transaction that keeps every cursor of the channel where it is, until it is rolled back."""
    connection = await asyncpg.connect(stores.servers.database_url.replace("+asyncpg", ""))
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "select 1 from membership where chat_id = $1 for update", int(channel.chat)
    )
    yield transaction
    await connection.close()


async def moved(stores: Stores, chat: str) -> int:
    """Readers whose cursor has left its place."""
    connection = await asyncpg.connect(stores.servers.database_url.replace("+asyncpg", ""))
    try:
        sql = "select count(*) from membership where chat_id = $1 and seen_seq > 0"
        return int(await connection.fetchval(sql, int(chat)))
    finally:
        await connection.close()


async def test_given_a_node_killed_after_the_cursors_moved_then_repeats_elsewhere_count_nothing(
    stores: Stores,
    doors: list[NodeProcess],
    channel: Channel,
    held: asyncpg.transaction.Transaction,
) -> None:
    dying, alive = doors
    calls = [
        asyncio.create_task(channel.tells(dying, reader, 1, 4 * (place + 1)))
        for place, reader in enumerate(channel.readers)
    ]
    await until(lambda: Rows(stores.servers.database_url).waits_for_lock("record_views"))
    dying.freezes()  # it asked, and will never see that it was done
    try:
        await held.rollback()
        await becomes(lambda: moved(stores, channel.chat), READERS)
    finally:
        await dying.dies()
    heard = await asyncio.gather(*calls)
    counted_once = await channel.shown(alive)

    for place, reader in enumerate(channel.readers):
        await channel.insists([alive, alive], reader, 1, 4 * (place + 1))

    assert heard == [False] * READERS
    assert counted_once == channel.counted()
    await dying.starts()
    assert await channel.shown(dying) == channel.counted()


@pytest.mark.proof
async def test_given_a_node_killed_before_the_cursors_moved_then_repeats_count_once(
    stores: Stores,
    doors: list[NodeProcess],
    channel: Channel,
    held: asyncpg.transaction.Transaction,
) -> None:
    dying, alive = doors
    calls = [asyncio.create_task(channel.tells(dying, reader, 3, 7)) for reader in channel.readers]
    await until(lambda: Rows(stores.servers.database_url).waits_for_lock("record_views"))
    await dying.dies()
    await held.rollback()

    heard = await asyncio.gather(*calls)
    for reader in channel.readers:
        await channel.insists([alive, alive], reader, 3, 7)

    assert heard == [False] * READERS
    assert await channel.shown(alive) == channel.counted()
    await dying.starts()


@pytest.mark.proof
async def test_given_readers_who_scroll_when_their_node_is_killed_then_views_are_exact(
    doors: list[NodeProcess], channel: Channel
) -> None:
    dying, alive = doors
    draw = random.Random(5)  # noqa: S311 - demand, not secrets
    spans = {reader.account: spans_of(draw) for reader in channel.readers}
    answered = asyncio.Semaphore(0)

    async def scrolls(reader: SignedIn) -> None:
        for lo, hi in spans[reader.account]:
            await channel.insists(doors, reader, lo, hi)
            answered.release()

    async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
        for reader in channel.readers:
            tasks.create_task(scrolls(reader))
        for _ in range(2 * READERS):
            await answered.acquire()
        dying.program.send(signal.SIGKILL)
    await dying.program.wait()

    assert await channel.shown(alive) == channel.counted()
    await dying.starts()


def spans_of(draw: random.Random) -> list[tuple[int, int]]:
    """Forward, with overlaps, jumps and looks back."""
    spans, at = [], 0
    for _ in range(STEPS):
        lo = max(1, at + draw.randint(-3, 4))
        at = min(POSTS, max(at, lo + draw.randint(0, 6)))
        spans.append((lo, at))
    return spans

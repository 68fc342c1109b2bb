"""Views are counted exactly: by devices, retries, crashes and both renderings alike."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress

import pytest

from channels.feature import assemble
from channels.store.views import Reader, ViewStore
from channels.views import Span
from messenger.db.engine import Database
from messenger.db.statements import RenderingName
from messenger.ids import AccountId, ChatId
from messenger.wire.codes import ErrorCode
from tests.channels.studio import Person, Studio, a_name, an_id
from tests.support.people import becomes

POSTS = 600  # three blocks


class Model:
    """The truth as sets: who has seen what, under the rule that a cursor never goes back."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.seen: dict[Reader, set[int]] = {}

    def sees(self, reader: Reader, span: Span) -> None:
        seen = self.seen.setdefault(reader, set())
        top = max(seen, default=0)
        seen |= {seq for seq in range(span.lo, min(span.hi, self.last) + 1) if seq > top}

    def views(self, chat: ChatId) -> dict[int, int]:
        sets = [seen for reader, seen in self.seen.items() if reader[0] == chat]
        return {seq: sum(seq in one for one in sets) for seq in range(1, self.last + 1)}


async def a_channel(studio: Studio, readers: int, posts: int = POSTS) -> tuple[ChatId, list[int]]:
    """With readers that see from the first post on, straight in the database."""
    chat = int(an_id())
    await studio.run(
        "insert into chat(chat_id, kind, last_seq, last_ev, flags) values ($1, 3, $2, $2, 1)",
        chat,
        posts,
    )
    accounts = [int(an_id()) for _ in range(readers)]
    await studio.run(
        "insert into membership(chat_id, account_id, role)"
        " select $1, a, 1 from unnest($2::bigint[]) a",
        chat,
        accounts,
    )
    return ChatId(chat), accounts


def some_spans(random_: random.Random, count: int) -> list[Span]:
    found = []
    for _ in range(count):
        lo = random_.randint(1, POSTS + 20)
        found.append(Span(lo, lo + random_.randint(0, 40)))
    return found


async def viewed(store: ViewStore, chat: ChatId) -> dict[int, int]:
    return await store.views(chat, range(1, POSTS + 1))


@pytest.mark.parametrize("rendering", ["many", "one"])
async def test_given_random_viewports_and_retries_then_views_equal_the_sets(
    studio: Studio, rendering: RenderingName
) -> None:
    random_ = random.Random(7)  # noqa: S311 - seeded
    database = await Database.connect(studio.url, 2, rendering=rendering)
    store = ViewStore(database)
    chats = [await a_channel(studio, 6) for _ in range(2)]
    model = Model(POSTS)

    for _ in range(25):
        batch = {}
        for chat, accounts in chats:
            for account in random_.sample(accounts, 4):
                batch[chat, AccountId(account)] = some_spans(random_, 1)[0]
        for reader, span in batch.items():
            model.sees(reader, span)
        await store.record(batch)
        if random_.random() < 0.4:  # an answer was lost
            await store.record(batch)

    for chat, _ in chats:
        assert await viewed(store, chat) == model.views(chat)
        assert await viewed(store, chat) != dict.fromkeys(range(1, POSTS + 1), 0)
    await database.close()


async def test_given_both_renderings_when_they_record_the_same_then_tables_are_equal(
    studio: Studio,
) -> None:
    random_ = random.Random(11)  # noqa: S311 - seeded
    pairs = [await a_channel(studio, 5) for _ in range(2)]
    other = await Database.connect(studio.url, 2, rendering="one")
    stores = [ViewStore(studio.db), ViewStore(other)]

    for _ in range(20):
        drawn = some_spans(random_, 5)
        for store, (chat, accounts) in zip(stores, pairs, strict=True):
            batch = {
                (chat, AccountId(account)): span
                for account, span in zip(accounts, drawn, strict=True)
            }
            moved = await store.record(batch)
            assert set(moved) == set(batch)

    await other.close()
    tables = []
    for chat, _ in pairs:
        marks = "select seq, d from channel_view where chat_id = $1 and d <> 0 order by 1"
        blocks = "select block, d from channel_view_block where chat_id = $1 and d <> 0 order by 1"
        tables.append(
            [[tuple(row) for row in await studio.rows(sql, chat)] for sql in (marks, blocks)]
        )
    assert tables[0] == tables[1]


async def test_given_six_writers_with_overlapping_retries_then_views_equal_the_sets(
    studio: Studio,
) -> None:
    """Ranges of one reader always start where the last ended: any order counts the same."""
    chat, accounts = await a_channel(studio, 12)
    random_ = random.Random(3)  # noqa: S311 - seeded
    database = await Database.connect(studio.url, 6)
    store, model = ViewStore(database), Model(POSTS)
    steps: dict[int, int] = dict.fromkeys(accounts, 0)
    batches = []
    for _ in range(30):
        batch = {}
        for account in random_.sample(accounts, 8):
            hi = steps[account] + random_.randint(1, 30)
            batch[chat, AccountId(account)] = Span(1, hi)
            steps[account] = hi
            model.sees((chat, AccountId(account)), Span(1, hi))
        batches.append(batch)

    async def write(own: Sequence[dict[Reader, Span]]) -> None:
        for batch in own:
            await store.record(batch)

    parts = [batches[number::3] for number in range(3)]
    await asyncio.gather(*(write(part) for part in parts for _ in range(2)))
    views = await viewed(store, chat)
    await database.close()

    assert views == model.views(chat)


async def test_given_a_server_process_killed_in_a_call_then_a_retry_makes_it_exact(
    studio: Studio,
) -> None:
    """Cursor and counts are one transaction: both are there, or neither."""
    chat, accounts = await a_channel(studio, 40)
    batch = {(chat, AccountId(account)): Span(1, 300) for account in accounts}
    store = ViewStore(studio.db)
    for delay_ms in range(0, 12, 2):
        part = dict(list(batch.items())[: 6 * (delay_ms // 2 + 1)])
        victim = await Database.connect(studio.url, 1)
        task = asyncio.create_task(ViewStore(victim).record(part))
        await asyncio.sleep(delay_ms / 1_000)  # somewhere in the call: every place is as good
        await studio.run(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where query like '%record_views%' and pid <> pg_backend_pid()"
        )
        with suppress(Exception):
            await task
        await victim.close()

    await store.record(batch)

    assert await viewed(store, chat) == {
        seq: (40 if seq <= 300 else 0) for seq in range(1, POSTS + 1)
    }


async def test_given_two_devices_and_repeats_then_each_subscriber_counts_once(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    reader = await studio.a_subscriber(chat)
    for _ in range(3):
        await mina.posts(chat)

    await asyncio.gather(
        reader.views(chat, 1, 2), reader.other_device().views(chat, 1, 3), reader.views(chat, 2, 3)
    )

    posts = (await mina.call("channels.stats", chat=chat, seqs=[1, 2, 3, 4]))["posts"]
    assert [(post["seq"], post["views"]) for post in posts] == [(1, 1), (2, 1), (3, 1)]
    assert [post["views"] for post in await reader.history(chat)] == [1, 1, 1]


async def test_given_all_marked_read_then_nothing_counts_as_viewed(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    reader = await studio.a_subscriber(chat)
    for _ in range(3):
        await mina.posts(chat)

    await reader.call("messages.read", cursors=[{"chat": chat, "seq": 3}])

    posts = (await reader.call("channels.stats", chat=chat, seqs=[1, 2, 3]))["posts"]
    assert [post["views"] for post in posts] == [0, 0, 0]


async def test_given_a_newcomer_then_posts_from_before_are_not_counted(
    studio: Studio, mina: Person, reza: Person
) -> None:
    chat = await mina.founds()
    link = (await mina.call("chats.link_create", chat=chat))["link"]
    await mina.posts(chat)
    await reza.joins(link)
    await mina.posts(chat)

    await reza.views(chat, 1, 2)

    posts = (await reza.call("channels.stats", chat=chat, seqs=[1, 2]))["posts"]
    assert [post["views"] for post in posts] == [0, 1]


async def test_given_strangers_and_forwards_then_they_are_reach_and_never_views(
    studio: Studio, mina: Person, reza: Person
) -> None:
    chat = await mina.founds(username=a_name())
    private = await mina.founds()
    reader = await studio.a_subscriber(chat)
    await mina.posts(chat)
    await mina.posts(private)
    part = assemble(studio.db, studio.bus, None, studio.people, None, None)  # type: ignore[arg-type]  # not asked

    await reza.views(chat, 1, 1)
    await reza.views(private, 1, 1)
    await reader.call("channels.view", views=[{"chat": chat, "lo": 1, "hi": 1, "forwarded": True}])
    for person in (reza, reader):
        part.reach.seen(ChatId(int(chat)), person.account, Span(1, 9))
    part.reach.seen(ChatId(int(private)), reza.account, Span(1, 1))
    await part.reach.flush()
    await part.reach.copy()

    async def reached() -> list[int]:
        stats = await mina.call("channels.stats", chat=chat, seqs=[1])
        return [stats["posts"][0][name] for name in ("views", "reach")]

    await becomes(reached, [0, 2])
    hidden = await mina.call("channels.stats", chat=private, seqs=[1])
    assert hidden["posts"][0]["reach"] == 0


@pytest.mark.parametrize(
    ("views", "code"),
    [
        ([], ErrorCode.BAD_REQUEST),
        ([{"chat": "5", "lo": 0, "hi": 1}], ErrorCode.BAD_REQUEST),
        ([{"chat": "5", "lo": 1}], ErrorCode.BAD_REQUEST),
        ([{"chat": "5", "lo": 2, "hi": 1}], ErrorCode.INVALID),
        ([{"chat": "5", "lo": 1, "hi": 201}], ErrorCode.INVALID),
        ([{"chat": "5", "lo": 1, "hi": 2**31}], ErrorCode.BAD_REQUEST),
        ([{"chat": "9999999999999999999", "lo": 1, "hi": 1}], ErrorCode.NO_CHAT),
        ([{"chat": "5", "lo": 1, "hi": 1}] * 21, ErrorCode.BAD_REQUEST),
    ],
)
async def test_given_bad_views_then_they_are_refused(
    mina: Person, views: list[object], code: ErrorCode
) -> None:
    assert (await mina.refusal("channels.view", views=views)).code is code


async def test_given_views_of_what_is_no_channel_then_they_are_taken_and_count_nothing(
    studio: Studio, mina: Person
) -> None:
    group = await mina.groups()
    await mina.posts(group)

    await mina.views(group, 1, 1)
    await mina.views(an_id(), 1, 1)

    assert await studio.rows("select 1 from channel_view where chat_id = $1", int(group)) == []


async def test_given_somebody_banned_or_gone_then_their_views_do_not_count(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    banned, gone = await studio.a_subscriber(chat), await studio.a_subscriber(chat)
    await mina.posts(chat)
    await mina.call("chats.remove_member", chat=chat, account=banned.id, ban=True)
    await gone.call("chats.leave", chat=chat)

    for person in (banned, gone):
        await person.views(chat, 1, 1)

    stats = await mina.call("channels.stats", chat=chat, seqs=[1])
    assert stats["posts"][0]["views"] == 0


async def test_given_a_stranger_then_figures_of_posts_are_not_theirs(
    mina: Person, reza: Person
) -> None:
    chat = await mina.founds()

    refused = await reza.refusal("channels.stats", chat=chat, seqs=[1])

    assert refused.code is ErrorCode.NO_CHAT

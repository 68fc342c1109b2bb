"""What owners see of their channel, and who may see it."""

import json
import time

import pytest

from channels.feature import Channels, assemble
from channels.measuring import BOUNDS_MS, Delays, bound_of
from channels.statistics import AGES_S, age_of
from channels.views import Span
from messenger.ids import ChatId
from messenger.log.events import Right
from messenger.log.store import ChatStore
from messenger.wire.codes import ErrorCode
from tests.channels.studio import Person, Studio, a_name
from tests.support.people import becomes

MINUTE = 60_000


class Clock:
    """Milliseconds, moved on by hand."""

    def __init__(self) -> None:
        self.ms = time.time_ns() // 1_000_000

    def now_ms(self) -> int:
        return self.ms


def parts(studio: Studio, clock: Clock) -> Channels:
    """Channels beside the node's, on the same stores, with a clock of their own."""
    return assemble(
        studio.db,
        studio.bus,
        None,  # type: ignore[arg-type]  # nobody joins here
        studio.people,
        ChatStore(studio.db),
        lambda: 0,
        now_ms=clock.now_ms,
    )


async def test_given_joins_of_all_kinds_then_their_sources_and_losses_are_counted(
    studio: Studio, mina: Person
) -> None:
    name = a_name()
    chat = await mina.founds(username=name)
    link = (await mina.call("chats.link_create", chat=chat))["link"]
    asking = (await mina.call("chats.link_create", chat=chat, approval=True))["link"]
    by_name, by_link, asked, added, gone = await studio.people_of(5)
    await by_name.call("chats.join", username=name)
    await by_link.joins(link)
    await asked.joins(asking)
    await mina.call("chats.answer_request", chat=chat, account=asked.id, accept=True)
    await mina.call("chats.add_members", chat=chat, accounts=[added.id])
    await gone.joins(link)
    await gone.call("chats.leave", chat=chat)

    async def today() -> list[int]:
        figures = await mina.call("channels.statistics", chat=chat, days=1)
        names = ("members", "lost", "by_link", "by_name", "by_request", "by_admin")
        return [day[name] for day in figures["days"] for name in names]

    await becomes(today, [5, 1, 2, 1, 1, 1])
    assert (await mina.call("channels.statistics", chat=chat))["members"] == 5


async def test_given_views_over_time_then_the_curve_of_a_post_keeps_a_point_for_each_age(
    studio: Studio, mina: Person
) -> None:
    clock = Clock()
    channels = parts(studio, clock)
    chat = await mina.founds()
    number = ChatId(int(chat))
    await mina.posts(chat)

    for age_s in (30, 200, 250, 7_200, 10**6):
        reader = await studio.a_subscriber(chat)
        await channels.viewing._store.record({(number, reader.account): Span(1, 1)})
        clock.ms = time.time_ns() // 1_000_000 + age_s * 1_000
        channels.figuring.moved({(number, reader.account): Span(1, 1)})
        await channels.figuring.draw()

    [post] = (await mina.call("channels.statistics", chat=chat))["posts"]
    assert post["curve"] == [[60, 1], [300, 3], [3 * 3_600, 4]]
    assert post["views"] == 5


async def test_given_deliveries_then_the_post_says_how_soon_readers_had_it(
    studio: Studio, mina: Person
) -> None:
    clock = Clock()
    channels = parts(studio, clock)
    chat = await mina.founds()
    await mina.posts(chat)
    at = (await mina.history(chat))[0]["at"]
    number = ChatId(int(chat))
    new = json.dumps({"t": "message.new", "m": {"seq": 1, "at": at}}).encode()
    head = json.dumps({"t": "chat.dirty", "seq": 1, "at": at}).encode()

    clock.ms = at + 40
    channels.delays.delivered(number, new, 90)
    clock.ms = at + 900
    channels.delays.delivered(number, head, 9)
    clock.ms = at + 4_000
    channels.delays.delivered(number, head, 1)
    channels.delays.delivered(number, b'{"t":"message.edited","ev":3}', 50)
    channels.delays.delivered(number, new, 0)
    await channels.figuring.write()

    [post] = (await mina.call("channels.statistics", chat=chat))["posts"]
    assert post["delivered"] == {"readers": 100, "p50_ms": 50, "p95_ms": 1_000, "p99_ms": 1_000}


def test_given_a_room_that_leaves_in_slices_then_its_readers_are_spread_between_both_ends() -> None:
    now = [1_000]
    waiting = []
    delays = Delays(lambda: now[0])
    delays.after_bulk = waiting.append
    delays.delivered(ChatId(1), b'{"t":"chat.dirty","seq":4,"at":990}', 10_000)

    now[0] = 1_190
    for then in waiting:
        then()

    counts = delays.take()
    assert sum(counts.values()) == 10_000
    assert set(counts) == {(1, 4, bound) for bound in (10, 20, 50, 100, 200)}
    assert delays.take() == {}


def test_given_any_delay_or_age_then_it_falls_into_the_first_that_holds_it() -> None:
    assert [bound_of(ms) for ms in (0, 5, 6, 10**9)] == [5, 5, 10, BOUNDS_MS[-1]]
    assert [age_of(s) for s in (0, 60, 61, AGES_S[-1] + 1)] == [60, 60, 300, None]


async def test_given_an_admin_without_the_right_then_statistics_are_not_theirs(
    studio: Studio, mina: Person, reza: Person
) -> None:
    chat = await mina.founds()
    editor, analyst = await studio.person("ویراستار"), await studio.person("تحلیلگر")
    reader = await studio.a_subscriber(chat)
    await studio.seats(chat, editor, role=3, rights=int(Right.POST))
    await studio.seats(chat, analyst, role=3, rights=int(Right.STATISTICS))

    refused = [await who.refusal("channels.statistics", chat=chat) for who in (editor, reader)]
    stranger = await reza.refusal("channels.statistics", chat=chat)

    assert [one.details for one in refused] == [{"right": "statistics"}] * 2
    assert stranger.code is ErrorCode.NO_CHAT
    assert (await analyst.call("channels.statistics", chat=chat, posts=0))["posts"] == []


@pytest.mark.parametrize("fields", [{"days": 0}, {"days": 91}, {"posts": 51}, {"chat": "x"}])
async def test_given_a_bad_question_then_it_is_refused(
    mina: Person, fields: dict[str, object]
) -> None:
    chat = await mina.founds()

    refused = await mina.refusal("channels.statistics", **{"chat": chat, **fields})

    assert refused.code is ErrorCode.BAD_REQUEST

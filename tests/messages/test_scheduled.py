"""Scheduled messages: kept, listed, removed, sent exactly once."""

import asyncio
import time
from typing import Any

import pytest

from messenger.db.engine import Database
from messenger.feature import Refused
from messenger.log.rendering import DAY_MS
from messenger.messages.aside import Aside
from messenger.messages.scheduled import Schedule
from messenger.wire.codes import ErrorCode
from tests.conftest import Stores
from tests.messages.office import Office, Person, an_office
from tests.support.people import becomes


def in_ms(ms: int) -> int:
    return int(time.time() * 1000) + ms


async def make_due(office: Office, chat: int) -> None:
    await office.rows("update scheduled set due = 1 where chat_id = $1 returning 1", chat)


async def rows_left(office: Office, chat: int) -> int:
    return len(await office.rows("select 1 from scheduled where chat_id = $1", chat))


async def test_given_a_scheduled_message_when_it_is_due_then_members_hear_it_once(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    ents = [{"k": "bold", "at": 0, "n": 6}]

    later = await mina.sends(chat, "salaam", schedule_at=in_ms(300), silent=True, ents=ents)

    heard = await reza.hears("message.new", chat=str(chat))
    assert later.keys() == {"scheduled_id"}
    assert heard["m"] == (await reza.history(chat))["messages"][0]
    assert (heard["m"]["text"], heard["m"]["silent"], heard["m"]["ents"]) == ("salaam", True, ents)
    assert "rid" not in (await mina.hears("message.new"))["m"]


async def test_given_two_workers_and_a_dead_one_when_due_then_each_is_sent_once(
    stores: Stores, office: Office
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    for number in range(40):
        await mina.sends(chat, f"n{number}", schedule_at=in_ms(60_000 + number))
    async with an_office(stores) as other:
        workers = [
            Schedule(one.database, one.chats, one.committer, Aside()) for one in (office, other)
        ]
        await make_due(office, chat)
        kept = await office.rows("select * from scheduled where chat_id = $1", chat)

        await asyncio.gather(*(worker.fire() for worker in workers for _ in range(2)))
        while await rows_left(office, chat):
            await asyncio.gather(*(worker.fire() for worker in workers))
        # a worker that died after the commit left its row; the next one sends it again
        await _put_back(office, kept[:10])
        await asyncio.gather(*(worker.fire() for worker in workers))
        while await rows_left(office, chat):
            await asyncio.gather(*(worker.fire() for worker in workers))

    stored = (await mina.history(chat, limit=100))["messages"]
    assert sorted(message["text"] for message in stored) == sorted(f"n{n}" for n in range(40))


async def test_given_shards_when_messages_of_two_chats_are_due_then_one_pass_sends_both(
    stores: Stores, office: Office
) -> None:
    mina = await office.person()
    chats = [await office.chat([mina]) for _ in range(2)]
    for chat in chats:
        await mina.sends(chat, "sooner", schedule_at=in_ms(30_000))
        await mina.sends(chat, "later", schedule_at=in_ms(30_500))
    database = await Database.connect(stores.database_url, pool=1, rendering="one")
    ahead = Schedule(  # the office's own task has nothing to do yet
        database, office.chats, office.committer, Aside(), now_ms=lambda: in_ms(31_000)
    )

    finished = await ahead.fire()
    await database.close()

    assert finished == 4
    for chat in chats:
        assert await rows_left(office, chat) == 0
        texts = [message["text"] for message in (await mina.history(chat))["messages"]]
        assert sorted(texts) == ["later", "sooner"]


async def _put_back(office: Office, rows: list[Any]) -> None:
    for row in rows:
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await office.rows(
            f"insert into scheduled values ({places}) on conflict do nothing returning 1",  # noqa: S608
            *row,
        )


async def test_given_scheduled_messages_when_listed_then_one_sees_ones_own_soonest_first(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    await mina.sends(chat, "later", schedule_at=in_ms(90_000))
    await mina.sends(chat, "sooner", schedule_at=in_ms(60_000), reply=1)
    await reza.sends(chat, "his", schedule_at=in_ms(60_000))

    listed = (await mina.call("messages.scheduled", chat=str(chat)))["messages"]

    assert [one["text"] for one in listed] == ["sooner", "later"]
    assert (listed[0]["k"], listed[0]["reply"]) == ("text", 1)


async def test_given_a_scheduled_message_when_removed_then_it_is_never_sent(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    later = await mina.sends(chat, schedule_at=in_ms(60_000))
    asked = {"chat": str(chat), "id": later["scheduled_id"]}

    with pytest.raises(Refused) as not_his:
        await reza.call("messages.unschedule", **asked)
    assert await mina.call("messages.unschedule", **asked) == {}
    with pytest.raises(Refused) as gone:
        await mina.call("messages.unschedule", **asked)

    assert not_his.value.code == gone.value.code == ErrorCode.NOT_FOUND
    assert await rows_left(office, chat) == 0


async def test_given_a_lost_answer_when_scheduled_again_then_one_is_kept(office: Office) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    due = in_ms(60_000)

    first = await mina.sends(chat, "salaam", random_id="5", schedule_at=due)
    again = await mina.sends(chat, "salaam", random_id="5", schedule_at=due)
    with pytest.raises(Refused) as other:
        await mina.sends(chat, "dorood", random_id="5", schedule_at=due)

    assert first == again
    assert other.value.code == ErrorCode.IDEMPOTENCY_MISMATCH
    assert await rows_left(office, chat) == 1


async def test_given_a_hundred_when_one_more_is_scheduled_then_it_is_refused(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await asyncio.gather(*(mina.sends(chat, schedule_at=in_ms(60_000)) for _ in range(100)))

    with pytest.raises(Refused) as refused:
        await mina.sends(chat, schedule_at=in_ms(60_000))

    assert refused.value.code == ErrorCode.TOO_LARGE
    assert refused.value.details == {"field": "scheduled", "limit": 100}


async def test_given_nearly_a_hundred_when_two_nodes_schedule_more_then_none_is_beyond(
    stores: Stores, office: Office
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    for _ in range(98):
        await mina.sends(chat, schedule_at=in_ms(60_000))
    async with an_office(stores) as other:
        hers = [mina, Person(other, mina.account, mina.caller.device)]
        answers = await asyncio.gather(
            *(
                one.sends(chat, schedule_at=in_ms(60_000), random_id=str(900 + number))
                for number, one in enumerate(hers * 4)
            ),
            return_exceptions=True,
        )

    refused = [one.code for one in answers if isinstance(one, Refused)]
    assert refused == [ErrorCode.TOO_LARGE] * 6
    assert await rows_left(office, chat) == 100


async def test_given_a_sender_who_left_when_it_is_due_then_it_is_dropped(office: Office) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat, schedule_at=in_ms(60_000))
    await office.set_member(chat, mina, role=0)
    await make_due(office, chat)

    async with asyncio.timeout(5):
        while await rows_left(office, chat):
            continue

    assert await office.counts(chat) == (0, 0)


async def test_given_a_message_that_stays_refused_when_its_week_is_over_then_it_is_given_up(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat, schedule_at=in_ms(3_600_000))
    await office.set_chat(chat, slow_s=3_600)
    await mina.sends(chat)  # from here on slow mode refuses, again and again
    schedule = Schedule(office.database, office.chats, office.committer, Aside())

    async def comes_round(since: int) -> None:
        sql = "update scheduled set due = 1, waits_since = $2 where chat_id = $1 returning 1"
        await office.rows(sql, chat, since)
        await schedule.fire()

    await comes_round(in_ms(-6 * DAY_MS))
    assert await rows_left(office, chat) == 1
    await comes_round(in_ms(-8 * DAY_MS))

    await becomes(lambda: rows_left(office, chat), 0)  # the office's own task may be at it
    assert await office.counts(chat) == (1, 1)


async def test_given_a_message_that_must_wait_when_delayed_then_its_own_day_is_kept(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat, schedule_at=in_ms(3_600_000))
    await office.set_chat(chat, slow_s=3_600)
    await mina.sends(chat)

    async def since() -> list[int]:
        sql = "select waits_since from scheduled where chat_id = $1"
        return [row[0] for row in await office.rows(sql, chat)]

    await make_due(office, chat)

    await becomes(since, [1])


BAD: dict[str, tuple[dict[str, Any], ErrorCode]] = {
    "unknown chat": ({"chat": "5"}, ErrorCode.NO_CHAT),
    "reply to nothing": ({"reply": 7}, ErrorCode.REPLY_NOT_FOUND),
    "now": ({"schedule_at": 0}, ErrorCode.INVALID),
    "never": ({"schedule_at": 2**60}, ErrorCode.BAD_REQUEST),
    "media": ({"media": ["5"]}, ErrorCode.FEATURE_OFF),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
async def test_given_bad_input_when_scheduled_then_it_is_refused_and_nothing_kept(
    office: Office, case: str
) -> None:
    changes, code = BAD[case]
    mina = await office.person()
    chat = await office.chat([mina])
    data = {"chat": str(chat), "random_id": "1", "text": "x", "schedule_at": in_ms(60_000)}

    with pytest.raises(Refused) as refused:
        await mina.call("messages.send", **data | changes)

    assert refused.value.code == code
    assert await rows_left(office, chat) == 0


@pytest.mark.parametrize("method", ["messages.scheduled", "messages.unschedule"])
async def test_given_a_stranger_when_they_look_or_remove_then_they_learn_nothing(
    office: Office, method: str
) -> None:
    mina, stranger = await office.people(2)
    chat = await office.chat([mina])

    with pytest.raises(Refused) as refused:
        await stranger.call(method, chat=str(chat), id="5")

    assert refused.value.code in (ErrorCode.NO_CHAT, ErrorCode.NOT_FOUND)

"""`commit_messages`: dense numbers, one message a key, whatever runs beside it."""

import asyncio
import random
from collections import defaultdict

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from messenger.db.engine import Database
from messenger.log.rendering import DAY_MS
from messenger.log.sends import Send
from messenger.log.statuses import Status
from messenger.log.store import ChatStore
from tests.log.conftest import (
    BOTH_RENDERINGS,
    CHANNEL,
    NOW,
    AChat,
    a_send,
    commit,
    set_member,
)

pytestmark = BOTH_RENDERINGS

WRITERS = 6


async def test_given_six_writers_with_the_same_sends_when_all_commit_then_each_is_written_once(
    database: Database, store: ChatStore, a_chat: AChat
) -> None:
    chats = [await a_chat() for _ in range(5)]
    seed = 20_250_817
    sends = [a_send(chats[n % 5], n, account=n % 4 + 1, device=n % 3 + 1) for n in range(1, 301)]
    answers: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    refused: set[int] = set()

    async def writer(number: int) -> None:
        shuffle = random.Random(seed + number)  # noqa: S311 - order of a test
        mine = shuffle.sample(sends, len(sends))
        async with database.statement() as connection:
            while mine:
                batch, mine = mine[:37], mine[37:]
                # half of the writers live a second after midnight, half before
                rows = await commit(connection, batch, day=number % 2)
                for send, row in zip(batch, rows, strict=True):
                    if row[0] <= Status.REPEATED:
                        answers[send.random_id].append((row[1], row[2], row[3]))
                    else:
                        assert row[0] == Status.NOT_MEMBER
                        refused.add(send.random_id)

    async with asyncio.TaskGroup() as tasks:
        for number in range(WRITERS):
            tasks.create_task(writer(number))

    assert all(len(found) == WRITERS and len(set(found)) == 1 for found in answers.values())
    assert refused == {send.random_id for send in sends if send.account == 4}
    for chat in chats:
        rows = await store.history(chat, limit=1_000)
        assert [row.seq for row in rows] == [row.ev for row in rows] == [*range(1, len(rows) + 1)]
        assert [row.at for row in rows] == sorted(row.at for row in rows)
        head = await store.head(chat)
        assert head is not None
        assert (head.seq, head.ev) == (len(rows), len(rows))


async def test_given_a_send_before_midnight_when_repeated_after_then_it_is_the_same_message(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    async with database.statement() as connection:
        [first] = await commit(connection, [a_send(chat, 7)], day=-1)

        [again] = await commit(connection, [a_send(chat, 7)], day=0)
        [behind] = await commit(connection, [a_send(chat, 7)], day=-1)  # another clock

    assert first[0] == Status.WRITTEN
    assert again[0] == behind[0] == Status.REPEATED
    assert again[1:4] == behind[1:4] == first[1:4]


async def test_given_the_same_key_when_the_body_differs_then_the_first_seq_is_named(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    async with database.statement() as connection:
        [first] = await commit(connection, [a_send(chat, 7, "one")])

        [other] = await commit(connection, [a_send(chat, 7, "two")])

    assert (other[0], other[1]) == (Status.OTHER_BODY, first[1])


async def test_given_a_batch_with_a_copy_when_committed_then_the_copy_waits_for_the_next(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    async with database.statement() as connection:
        rows = await commit(connection, [a_send(chat, 1), a_send(chat, 1), a_send(chat, 2)])

    assert [row[0] for row in rows] == [Status.WRITTEN, Status.COPY_IN_BATCH, Status.WRITTEN]
    assert [row[1] for row in rows] == [1, None, 2]


async def test_given_members_of_all_kinds_when_they_send_then_only_those_who_may_are_written(
    database: Database, store: ChatStore, a_chat: AChat
) -> None:
    chat = await a_chat(range(1, 10))
    await set_member(database, chat, 2, role=-1, until=0)
    await set_member(database, chat, 3, role=-1, until=10**15)
    await set_member(database, chat, 4, role=-1, until=1)
    await set_member(database, chat, 5, role=0)
    await set_member(database, chat, 6, rights=1, until=0)
    await set_member(database, chat, 7, rights=1, until=1)
    async with database.statement() as connection:
        rows = await commit(connection, [a_send(chat, n, account=n) for n in range(1, 11)])

    expected = [
        Status.WRITTEN,
        Status.BANNED,
        Status.BANNED,
        Status.NOT_MEMBER,  # the ban is over, the membership too
        Status.NOT_MEMBER,
        Status.MAY_NOT_POST,
        Status.WRITTEN,  # the restriction is over
        Status.WRITTEN,
        Status.WRITTEN,
        Status.NOT_MEMBER,
    ]
    assert [row[0] for row in rows] == expected
    assert rows[2][5] == 10**15
    assert [row.seq for row in await store.history(chat, limit=20)] == [1, 2, 3, 4]


async def test_given_a_channel_when_written_then_only_its_admins_with_the_right_are(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat(kind=CHANNEL)
    await set_member(database, chat, 2, role=3, rights=1)
    await set_member(database, chat, 3, role=3, rights=4)
    async with database.statement() as connection:
        rows = await commit(connection, [a_send(chat, n, account=n) for n in (1, 2, 3)])

    assert [row[0] for row in rows] == [
        Status.MAY_NOT_POST,
        Status.WRITTEN,
        Status.MAY_NOT_POST,
    ]


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        ({"flags": 2}, Status.EMBARGO),
        ({"flags": 4}, Status.NO_CHAT),
        ({"rights": 1}, Status.MAY_NOT_POST),
    ],
    ids=["embargo", "deleted", "nobody may post"],
)
async def test_given_a_closed_chat_when_written_then_the_status_says_why(
    database: Database, a_chat: AChat, columns: dict[str, int], status: Status
) -> None:
    chat = await a_chat(**columns)
    async with database.statement() as connection:
        [row] = await commit(connection, [a_send(chat, 1)])

    assert row[0] == status


async def test_given_slow_mode_when_sending_twice_then_the_wait_is_told(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat(slow_s=10)
    async with database.statement() as connection:
        both = await commit(connection, [a_send(chat, 1), a_send(chat, 2)], NOW)
        [later] = await commit(connection, [a_send(chat, 3)], NOW + 4_000)
        [after] = await commit(connection, [a_send(chat, 4)], NOW + 10_000)

    assert [(row[0], row[4]) for row in both] == [(Status.WRITTEN, None), (6, 10_000)]
    assert (later[0], later[4]) == (Status.SLOW_MODE, 6_000)
    assert after[0] == Status.WRITTEN


async def test_given_a_clock_that_steps_back_when_sending_then_time_stands_still(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    async with database.statement() as connection:
        [first] = await commit(connection, [a_send(chat, 1)], NOW + 5_000)

        [second] = await commit(connection, [a_send(chat, 2)], NOW + 2_000)

    assert second[3] == first[3]


@pytest.mark.parametrize("reply", [0, -1, 2, 2**31 - 1])
async def test_given_a_reply_to_nothing_when_sent_then_no_number_is_used(
    database: Database, store: ChatStore, a_chat: AChat, reply: int
) -> None:
    chat = await a_chat()
    async with database.statement() as connection:
        await commit(connection, [a_send(chat, 1)])

        [row] = await commit(connection, [a_send(chat, 2, reply=reply)])

    assert row[0] == Status.REPLY_NOT_FOUND
    head = await store.head(chat)
    assert head is not None
    assert (head.seq, head.ev) == (1, 1)


async def test_given_an_unknown_chat_when_written_then_the_others_of_the_batch_are_stored(
    database: Database, a_chat: AChat
) -> None:
    chat = await a_chat()
    unknown = a_send(chat, 1)
    async with database.statement() as connection:
        rows = await commit(
            connection,
            [Send(*(2**62, *list_of(unknown)[1:])), a_send(chat, 2)],
        )

    assert [row[0] for row in rows] == [Status.NO_CHAT, Status.WRITTEN]
    assert rows[1][1] == 1


def list_of(send: Send) -> list[object]:
    return [getattr(send, name) for name in send.__struct_fields__]


ONE_STATEMENT = "commit_in_one_statement"
CALL = (
    "select status from $function($1, $2, $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],"
    " $7::int[], $8::smallint[], $9::int[], $10::int[], $11::bigint[], $12::text[], $13::jsonb[])"
)


async def race(database: Database, function: str, a_chat: AChat) -> list[object]:
    """Two calls with one key that wait for the chat's lock together; their statuses or errors."""
    chat = await a_chat()

    async def call() -> object:
        async with database.statement() as connection:
            await connection.execute(text("select ensure_dedup_partitions(20833)"))
            await connection.execute(text("set application_name = 'racer'"))
            try:
                return await status(connection, function, a_send(chat, 7))
            except DBAPIError as error:
                return getattr(error.orig, "sqlstate", None)
            finally:
                await connection.execute(text("set application_name = 'peyk'"))

    async with database.transaction() as holder:
        await holder.exec_driver_sql("select 1 from chat where chat_id = $1 for update", (chat,))
        racers = [asyncio.ensure_future(call()) for _ in range(2)]
        await both_wait(database)
    return sorted(await asyncio.gather(*racers), key=str)


async def status(connection: AsyncConnection, function: str, send: Send) -> object:
    """What the function says of one send; `now` is the one in use, of the test's rendering."""
    if function == "now":
        return (await commit(connection, [send], NOW))[0][0]
    values = (NOW, NOW // DAY_MS, *([value] for value in list_of(send)))
    return (await connection.exec_driver_sql(CALL.replace("$function", function), values)).one()[0]


async def both_wait(database: Database) -> None:
    sql = (
        "select count(*) from pg_stat_activity"
        " where application_name = 'racer' and wait_event_type = 'Lock'"
    )
    async with asyncio.timeout(5), database.statement() as connection:
        while (await connection.execute(text(sql))).scalar_one() < 2:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("function", ["commit_messages", "now"])
async def test_given_two_waiting_for_the_lock_when_it_is_free_then_one_writes_and_one_repeats(
    database: Database, a_chat: AChat, function: str
) -> None:
    assert await race(database, function, a_chat) == [Status.WRITTEN, Status.REPEATED]


async def test_given_lock_and_look_up_in_one_statement_when_raced_then_it_fails(
    database: Database, a_chat: AChat
) -> None:
    async with database.statement() as connection:
        source: str = (
            await connection.execute(text("select pg_get_functiondef('commit_messages'::regproc)"))
        ).scalar_one()
        lock_first = source[source.index("  perform 1 from") : source.index("  return query")]
        naive = source.replace(lock_first, "").replace("commit_messages", ONE_STATEMENT)
        naive = naive.replace(
            "with b as (",
            "with locked as materialized (select c.chat_id from chat c"
            " where c.chat_id = any(p_chat) order by c.chat_id for update), b as (",
        ).replace("from b\n", "from b join locked using (chat_id)\n", 1)
        await connection.exec_driver_sql(naive)

    try:
        # the second one's look-up does not see what the first committed while it waited
        assert await race(database, ONE_STATEMENT, a_chat) == [Status.WRITTEN, "23505"]
    finally:
        async with database.statement() as connection:
            await connection.exec_driver_sql(f"drop function {ONE_STATEMENT}")

"""`commit_messages_v2` says and writes what `commit_messages` does, plain sends or not."""

import itertools
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from messenger.db.engine import Database
from messenger.ids import ChatId
from messenger.log.held import ENSURE_DAY
from messenger.log.rendering import COMMIT, DAY_MS, Batch
from messenger.log.sends import Send
from messenger.log.statuses import Status
from tests.log.conftest import NOW, AChat, a_send, set_member

FIRST = (
    "select status, seq, ev, sent_at, retry_ms, banned_until, chat_kind, chat_flags, member_ver,"
    " badge_epoch, epoch from commit_messages($1, $2, $3::bigint[], $4::bigint[], $5::bigint[],"
    " $6::bigint[], $7::int[], $8::smallint[], $9::int[], $10::int[], $11::bigint[], $12::text[],"
    " $13::jsonb[])"
)
CONTENT = {
    "chat": "select kind, epoch, last_seq, last_ev, last_at, member_ver, rights, flags from chat"
    " where chat_id = $1",
    "message": "select seq, ev, sender_id, device_id, sent_at, kind, flags, edited_at, reply_seq,"
    " media_id, body, extra from message where chat_id = $1 order by seq",
    "dedup": "select device_id, random_id, day, seq, ev, sent_at, digest from dedup"
    " where chat_id = $1 order by seq",
    "membership": "select account_id, role, last_post_at from membership where chat_id = $1"
    " order by account_id",
}
ROLES: Sequence[dict[str, int]] = (
    {"role": 1},
    {"role": -1},
    {"role": 0},
    {"rights": 1},
    {"role": 3, "rights": 1},
    {"role": 3},
)
ENDED = {"rights": 1, "until": NOW - 1}
CHATS: Sequence[dict[str, int]] = (
    {},
    {},
    {"kind": 1},
    {"kind": 3},
    {"slow_s": 5},
    {"flags": 1, "member_ver": 7},
    {"flags": 2},
    {"flags": 4},
    {"rights": 1},
    {"epoch": 3, "badge_epoch": 4, "last_at": NOW + 60_000},
)


class Pair:
    """Chats of one make, twice: one set for each function."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection
        self.first: list[ChatId] = []
        self.second: list[ChatId] = []
        self.keys = itertools.count(1)
        self.made: list[Send] = []

    async def fill(self, database: Database, a_chat: AChat) -> None:
        for columns in CHATS:
            for chats in (self.first, self.second):
                chat = await a_chat(range(1, 9), **columns)
                for account, change in enumerate((*ROLES, ENDED), 2):
                    await set_member(database, chat, account, **change)
                chats.append(chat)

    def some(self, shuffle: random.Random, size: int, odd: float) -> list[Send]:
        """Sends to the first set; `odd`: the share of those that something is wrong with."""
        sends = []
        for _ in range(size):
            if self.made and shuffle.random() < odd / 2:
                again = shuffle.choice(self.made)
                sends.append(again if shuffle.random() < 0.7 else changed(again))
                continue
            place, account = shuffle.randrange(3), 1
            if shuffle.random() < odd:
                place, account = shuffle.randrange(len(self.first)), shuffle.randrange(1, 10)
            reply = shuffle.choice([None, None, 1, 2, 50]) if shuffle.random() < odd else None
            send = a_send(
                self.first[place], next(self.keys), f"text {shuffle.random()}", reply=reply,
                account=account, device=account * 10 + shuffle.randrange(2),
            )  # fmt: skip
            if shuffle.random() < odd:
                send = msgspec.structs.replace(
                    send, kind=2, flags=2, media=9, body=None, extra='{"a":[1]}'
                )
            self.made.append(send)
            sends.append(send)
        return sends

    def mirrored(self, sends: Sequence[Send]) -> list[Send]:
        other = dict(zip(self.first, self.second, strict=True))
        return [msgspec.structs.replace(send, chat=other[send.chat]) for send in sends]

    async def content(self, chat: ChatId) -> dict[str, list[Any]]:
        return {
            name: [tuple(row) for row in await self.connection.exec_driver_sql(sql, (chat,))]
            for name, sql in CONTENT.items()
        }


def changed(send: Send) -> Send:
    return msgspec.structs.replace(send, digest=send.digest ^ 1)


async def by_first(connection: AsyncConnection, sends: Sequence[Send], now: int, day: int) -> Any:
    columns = zip(*map(msgspec.structs.astuple, sends), strict=True)
    values = (now, day, *map(list, columns))
    return [tuple(row) for row in await connection.exec_driver_sql(FIRST, values)]


async def by_second(connection: AsyncConnection, sends: Sequence[Send], now: int, day: int) -> Any:
    batch = Batch(sends, now)
    values = (now, day, *batch.values()[2:])
    answer = (await connection.exec_driver_sql(COMMIT.sql, values)).one()
    return [tuple(row) for row in batch.rows(answer)]


@pytest.mark.parametrize("seed", range(6))
async def test_given_any_batches_when_both_functions_write_them_then_they_say_and_store_the_same(
    database: Database, a_chat: AChat, seed: int
) -> None:
    shuffle = random.Random(seed)  # noqa: S311 - a test's dice
    now = NOW + seed * DAY_MS
    async with database.statement() as connection:
        pair = Pair(connection)
        await pair.fill(database, a_chat)
        await connection.exec_driver_sql(ENSURE_DAY.sql, (now // DAY_MS,))
        for _ in range(12):
            now += shuffle.randrange(-2_000, 6_000)
            day = now // DAY_MS + shuffle.choice([0, 0, -1])
            sends = pair.some(shuffle, shuffle.randrange(1, 40), shuffle.choice([0, 0.1, 0.9]))

            first = await by_first(connection, sends, now, day)
            second = await by_second(connection, pair.mirrored(sends), now, day)

            # `Batch` keeps back every copy; the first function those whose key is not stored yet
            copies = {n for n, row in enumerate(second) if row[0] == Status.COPY_IN_BATCH}
            assert {n for n, row in enumerate(first) if row[0] == Status.COPY_IN_BATCH} <= copies
            assert [row for n, row in enumerate(first) if n not in copies] == [
                row for n, row in enumerate(second) if n not in copies
            ]
        for one, other in zip(pair.first, pair.second, strict=True):
            assert await pair.content(one) == await pair.content(other)


async def test_given_one_odd_send_when_written_then_only_its_chat_is_decided_by_the_first(
    database: Database, a_chat: AChat
) -> None:
    plain, odd = await a_chat(), await a_chat()
    async with database.statement() as connection:
        batch = Batch([a_send(odd, 1), a_send(plain, 2), a_send(odd, 3, account=7)], NOW)
        values = batch.values()
        await connection.exec_driver_sql(ENSURE_DAY.sql, (NOW // DAY_MS,))

        answer = (await connection.exec_driver_sql(COMMIT.sql, values)).one()

    others = answer[-1]
    assert [one[:2] for one in others] == [[1, Status.WRITTEN], [3, Status.NOT_MEMBER]]
    assert [row[0] for row in batch.rows(answer)] == [
        Status.WRITTEN,
        Status.WRITTEN,
        Status.NOT_MEMBER,
    ]

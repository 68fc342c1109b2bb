"""Facts of accounts: dense numbers, latest wins, cursors that only grow."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from messenger.db.engine import Database
from messenger.ids import AccountId, ChatId
from messenger.log.account_log import AccountFact, AccountHead, AccountKind, AccountLog, Move
from tests.log.conftest import BOTH_RENDERINGS, NOW, purge_facts

pytestmark = BOTH_RENDERINGS


@pytest.fixture
def account(ids: Iterator[int]) -> AccountId:
    return AccountId(next(ids))


async def joins(database: Database, account: AccountId, chats: int) -> None:
    async with database.statement() as connection:
        await connection.exec_driver_sql(
            "insert into member(account_id, chat_id, role) select $1, n, 1"
            " from generate_series(1, $2::int) n",
            (account, chats),
        )
        await connection.exec_driver_sql(
            "insert into account_head(account_id) values ($1) on conflict do nothing", (account,)
        )


async def cursors(database: Database, account: AccountId) -> dict[int, int]:
    async with database.statement() as connection:
        rows = await connection.exec_driver_sql(
            "select chat_id, read_seq from member where account_id = $1", (account,)
        )
        return {row[0]: row[1] for row in rows}


async def test_given_facts_when_appended_then_they_are_numbered_from_one(
    account_log: AccountLog, account: AccountId
) -> None:
    aevs = [
        await account_log.append(account, AccountKind.JOINED, 5, {"a": 1}),
        await account_log.append(account, AccountKind.PROFILE),
        await account_log.append(account, AccountKind.JOINED, 5, {"a": 2}),
    ]

    rows = await account_log.since(account, 0, 10)

    assert aevs == [1, 2, 3]
    assert [(row.aev, row.kind, row.chat) for row in rows] == [
        (1, 100, 5),
        (2, 105, 0),
        (3, 100, 5),
    ]
    assert rows[0].payload == {"a": 1}
    assert await account_log.head(account) == AccountHead(3, 0)


async def test_given_a_newer_fact_of_the_same_chat_when_its_kind_is_latest_wins_then_one_is_kept(
    account_log: AccountLog, account: AccountId
) -> None:
    await account_log.append(account, AccountKind.MUTE, 5, {"until": 1})
    await account_log.append(account, AccountKind.MUTE, 6, {"until": 2})
    await account_log.append(account, AccountKind.MUTE, 5, {"until": 3})

    rows = await account_log.since(account, 0, 10)

    assert [(row.aev, row.chat, row.payload) for row in rows] == [
        (2, 6, {"until": 2}),
        (3, 5, {"until": 3}),
    ]


async def test_given_many_accounts_when_written_side_by_side_then_each_is_dense(
    account_log: AccountLog, ids: Iterator[int]
) -> None:
    accounts = [AccountId(next(ids)) for _ in range(10)]

    async def writer(seed: int) -> list[int]:
        rng = random.Random(seed)  # noqa: S311 - a test's order
        facts = [AccountFact(one, AccountKind.CONTACT) for one in accounts * 3]
        rng.shuffle(facts)
        return await account_log.append_many(facts)

    await asyncio.gather(*(writer(seed) for seed in range(6)))

    for account in accounts:
        assert [row.aev for row in await account_log.since(account, 0, 100)] == [*range(1, 19)]


async def test_given_facts_when_written_at_once_then_their_numbers_come_in_their_order(
    account_log: AccountLog, ids: Iterator[int]
) -> None:
    one, two = AccountId(next(ids)), AccountId(next(ids))
    facts = [
        AccountFact(two, AccountKind.JOINED, 1),
        AccountFact(one, AccountKind.JOINED, 1),
        AccountFact(two, AccountKind.DRAFT, 1, {"text": "a"}),
        AccountFact(two, AccountKind.DRAFT, 1, {"text": "b"}),
    ]

    assert await account_log.append_many(facts) == [1, 1, 2, 3]


@pytest.mark.parametrize("seed", range(3))
async def test_given_random_moves_by_six_writers_when_done_then_each_cursor_is_the_greatest(
    database: Database, account_log: AccountLog, ids: Iterator[int], seed: int
) -> None:
    accounts = [AccountId(next(ids)) for _ in range(4)]
    for account in accounts:
        await joins(database, account, 6)
    rng = random.Random(seed)  # noqa: S311 - a test's moves
    moves = [
        Move(rng.choice(accounts), ChatId(rng.randint(1, 8)), rng.randint(0, 50))
        for _ in range(600)
    ]

    async def writer(number: int) -> list[Move]:
        mine = moves[number * 100 : number * 100 + 100]
        return [
            one
            for at in range(0, 100, 10)
            for one in await account_log.move_read(mine[at : at + 10])
        ]

    moved = [one for found in await asyncio.gather(*map(writer, range(6))) for one in found]

    for account in accounts:
        want = {
            chat: max((m.seq for m in moves if (m.account, m.chat) == (account, chat)), default=0)
            for chat in range(1, 7)
        }
        assert await cursors(database, account) == want
        aevs = sorted(one.aev for one in moved if one.account == account)
        assert aevs == [*range(1, len(aevs) + 1)]
        head = await account_log.head(account)
        assert head.aev == len(aevs)
        rows = await account_log.since(account, 0, 100)
        assert {row.chat: row.payload["read_seq"] for row in rows} == {
            chat: seq for chat, seq in want.items() if seq
        }


async def test_given_a_cursor_behind_or_a_strange_chat_when_moved_then_nothing_happens(
    database: Database, account_log: AccountLog, account: AccountId
) -> None:
    await joins(database, account, 1)
    await account_log.move_read([Move(account, ChatId(1), 9)])

    moved = await account_log.move_read(
        [Move(account, ChatId(1), 9), Move(account, ChatId(1), 3), Move(account, ChatId(77), 3)]
    )

    assert moved == []
    assert (await account_log.head(account)).aev == 1


async def test_given_old_facts_when_purged_then_the_head_says_up_to_where(
    database: Database, account: AccountId
) -> None:
    clock = iter(range(NOW, NOW + 100))
    log = AccountLog(database, lambda: next(clock))
    for _ in range(10):
        await log.append(account, AccountKind.PROFILE)

    by_count = await purge_facts(database, account, keep=7, before=0)
    by_age = await purge_facts(database, account, keep=7, before=NOW + 5)
    nothing = await purge_facts(database, account, keep=7, before=NOW + 5)

    assert (by_count, by_age, nothing) == (3, 5, 5)
    assert await log.head(account) == AccountHead(10, 5)
    assert [row.aev for row in await log.since(account, 5, 10)] == [6, 7, 8, 9, 10]


async def test_given_an_account_without_facts_when_read_then_it_stands_at_zero(
    database: Database, account_log: AccountLog, account: AccountId
) -> None:
    assert await account_log.head(account) == AccountHead(0, 0)
    assert await account_log.since(account, 0, 10) == []
    assert await purge_facts(database, account, keep=1, before=0) == 0

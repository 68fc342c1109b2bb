"""Leases of id generators: one holder a number, and no minting on an old lease."""

import asyncio

import pytest

from messenger.db.engine import Database
from messenger.db.generator import LeaseLostError, lease_generator
from messenger.db.migrate import migrate
from tests.conftest import Stores
from tests.db.conftest import EmptyDatabase


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def expire(database: Database, generator: int, ago_ms: int) -> None:
    async with database.statement() as connection:
        await connection.exec_driver_sql(
            "update generator set expires_at ="
            " (extract(epoch from clock_timestamp()) * 1000)::bigint - $2 where gen_id = $1",
            (generator, ago_ms),
        )


async def test_given_twenty_processes_when_they_lease_at_once_then_all_numbers_differ(
    database: Database,
) -> None:
    leases = await asyncio.gather(*(lease_generator(database, "node") for _ in range(20)))

    assert len({lease.generator for lease in leases}) == 20
    assert len({lease.minter.mint() for lease in leases}) == 20


async def test_given_a_lease_when_renewed_then_minting_goes_on(database: Database) -> None:
    clock = Clock()
    lease = await lease_generator(database, "node", clock)
    clock.now = 39.0
    await lease.renew()
    clock.now = 78.0

    assert lease.minter.mint() > 0


async def test_given_a_lease_that_was_not_renewed_when_minting_then_it_stops(
    database: Database,
) -> None:
    clock = Clock()
    lease = await lease_generator(database, "node", clock)
    clock.now = 41.0

    with pytest.raises(LeaseLostError):
        lease.minter.mint()


async def test_given_an_expired_lease_that_nobody_took_when_renewed_then_it_is_kept(
    database: Database,
) -> None:
    lease = await lease_generator(database, "node")
    await expire(database, lease.generator, 1)

    await lease.renew()

    assert lease.minter.mint() > 0


async def test_given_a_lease_that_another_took_when_renewed_then_its_holder_learns_that_it_is_lost(
    database: Database,
) -> None:
    lease = await lease_generator(database, "node")
    async with database.statement() as connection:
        await connection.exec_driver_sql(
            "update generator set owner = 'another' where gen_id = $1", (lease.generator,)
        )

    with pytest.raises(LeaseLostError):
        await lease.renew()


async def test_given_all_numbers_leased_but_one_long_expired_when_leasing_then_it_is_that_one(
    empty_database: EmptyDatabase,
) -> None:
    async with empty_database() as url:
        await migrate(url)
        database = await Database.connect(url)
        async with database.statement() as connection:
            await connection.exec_driver_sql(
                "insert into generator select n, 'full', 9e15 from generate_series(0, 1023) n"
            )
        await expire(database, 7, 4_000)
        with pytest.raises(LeaseLostError):  # 4 s ago is too fresh: clocks differ
            await lease_generator(database, "early")
        await expire(database, 7, 6_000)

        lease = await lease_generator(database, "next")

        await database.close()
    assert lease.generator == 7


async def test_given_a_running_lease_when_cancelled_then_the_number_is_given_back(
    database: Database,
) -> None:
    lease = await lease_generator(database, "node")
    task = asyncio.ensure_future(lease.run())
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait([task], timeout=5)

    with pytest.raises(LeaseLostError):
        await lease.renew()


async def test_given_a_database_that_is_away_when_renewed_then_minting_goes_on_for_a_while(
    stores: Stores,
) -> None:
    clock = Clock()
    database = await Database.connect(stores.database_url, pool=1, statement_timeout=0.05)
    lease = await lease_generator(database, "node", clock)
    async with database.statement():  # nothing is left in the pool
        clock.now = 30.0
        await lease.renew()
        minted = lease.minter.mint()
        clock.now = 41.0
        with pytest.raises(LeaseLostError):
            lease.minter.mint()
        running = asyncio.ensure_future(lease.run())
        await asyncio.sleep(0)
        running.cancel()
        await asyncio.wait([running], timeout=5)  # giving it back fails in silence

    assert minted > 0
    assert running.cancelled()
    await database.close()

"""Something breaks while a town talks: gateways, the Redis Cluster, its links, PostgreSQL.

One town for the whole module: three nodes on a Redis Cluster of six, people with one or two
devices at any node. Each journey ends with the books of `peyk demo`: nothing lost, doubled or
swapped, unread exact on every device and on the server.
"""

import time
from collections.abc import AsyncIterator

import pytest

from messenger.bus.keys import slot_of, user_key
from tests.support.cluster import Cluster
from tests.support.homes import temporary_home
from tests.support.people import until
from tests.support.processes import NodeProcess, Stores, clustered_stores, nodes
from tests.support.rows import Rows
from tests.support.town import Town, a_town

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
PEOPLE = 16
PACE_S = 0.25
BEFORE, DURING, AFTER = 30, 15, 30
"""Acks: the clock of every journey."""


@pytest.fixture(scope="module")
async def backing() -> AsyncIterator[tuple[Stores, Cluster]]:
    with temporary_home() as home:
        async with clustered_stores(home) as backing:
            yield backing


@pytest.fixture(scope="module")
def stores(backing: tuple[Stores, Cluster]) -> Stores:
    return backing[0]


@pytest.fixture(scope="module")
def cluster(backing: tuple[Stores, Cluster]) -> Cluster:
    return backing[1]


@pytest.fixture(scope="module")
async def doors(stores: Stores) -> AsyncIterator[list[NodeProcess]]:
    async with nodes(stores, 3, PEYK_PING="1") as doors:
        yield doors


@pytest.fixture(scope="module")
async def town(doors: list[NodeProcess]) -> AsyncIterator[Town]:
    async with a_town(11, PEOPLE, doors, PACE_S) as town:
        yield town


async def test_given_a_talking_town_when_a_gateway_hangs_then_its_devices_go_on_elsewhere(
    town: Town, doors: list[NodeProcess]
) -> None:
    first, hangs, third = doors
    async with town.talking():
        await town.acks(BEFORE)
        leaving = town.moves(hangs, [first, third])
        hangs.freezes()
        await town.acks(DURING)
        for device in leaving:  # by the ping that does not come
            await device.client.wait_until(lambda device=device: town.has_moved(device))
        await town.acks(AFTER)
        hangs.thaws()
        await town.acks(DURING)
    await town.books_are_right()


async def test_given_a_talking_town_when_a_primary_dies_then_its_replica_takes_over(
    town: Town, doors: list[NodeProcess], cluster: Cluster
) -> None:
    slot = slot_of(user_key(int(town.devices[0].account)))
    primary = await cluster.primary_of(slot)
    async with town.talking():
        await town.acks(BEFORE)
        await cluster.dies(primary)
        await town.acks(DURING)
        await cluster.passes_on(slot, primary)
        for door in doors:
            await until(door.has_its_stores)
        await town.acks(AFTER)
    await town.books_are_right()
    await cluster.is_whole()


@pytest.mark.proof
async def test_given_a_talking_town_when_a_primary_hangs_then_its_replica_takes_over(
    town: Town, doors: list[NodeProcess], cluster: Cluster
) -> None:
    slot = slot_of(user_key(int(town.devices[0].account)))
    primary = await cluster.primary_of(slot)
    async with town.talking():
        await town.acks(BEFORE)
        await cluster.freezes(primary)
        await town.acks(DURING)
        await cluster.passes_on(slot, primary)
        for door in doors:
            await until(door.has_its_stores)
        await town.acks(AFTER)
        await cluster.thaws(primary)
        await town.acks(DURING)
    await town.books_are_right()
    await cluster.is_whole()


async def test_given_a_talking_town_when_all_links_of_the_bus_are_cut_then_positions_are_compared(
    town: Town, cluster: Cluster
) -> None:
    async with town.talking():
        for _ in range(2):
            await town.acks(BEFORE)
            assert await cluster.cut_clients() > 0
        await town.acks(AFTER)
    await town.books_are_right()


@pytest.mark.parametrize("stall_s", [0.3, pytest.param(5.0, marks=pytest.mark.proof)])
async def test_given_a_talking_town_when_the_disk_is_slow_then_sends_wait_and_are_stored_once(
    town: Town, stores: Stores, stall_s: float
) -> None:
    async with town.talking():
        await town.acks(BEFORE)
        async with stores.stalled_postgres(stall_s):
            pass
        await town.acks(AFTER)
    await town.books_are_right()


async def test_given_one_hot_chat_when_devices_of_all_nodes_write_then_all_see_one_order(
    town: Town,
) -> None:
    places = town.crowd.population.places
    hot = max(places, key=lambda place: len(place.members))
    async with town.talking([hot.index]):
        await town.acks(BEFORE + DURING + AFTER)
    await town.books_are_right()


async def test_given_a_talking_town_when_a_clock_steps_then_order_and_counts_stay(
    town: Town, doors: list[NodeProcess], stores: Stores
) -> None:
    steps = doors[2]
    there = town.at(steps)[0]
    async with town.talking():
        await town.acks(BEFORE)
        for ahead, minutes in ((True, 10), (False, 0), (False, -10)):
            steps.steps(ahead=ahead)
            await town.acks(DURING)
            there.client.cut()
            await there.client.resume()
            now = (await there.client.rpc("system.hello"))["now"]
            assert round((now / 1_000 - time.time()) / 60) == minutes
        steps.steps(ahead=True)
        await town.acks(DURING)
    await town.books_are_right()
    assert await Rows(stores.servers.database_url).times_run_backwards() == 0

"""kill -9 in the middle of sending: PostgreSQL, Redis, a node. What was acked stays, once.

Real processes on stores of their own. Everyone who writes goes on writing through the outbox, so
every intention is answered in the end; then the tables, all devices and the answers must agree.
"""

import asyncio
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest

from messenger.bus.keys import meta_key, user_key
from messenger.client.errors import RpcError
from messenger.client.waiting import Disconnected
from messenger.client.websocket import Client
from messenger.wire.codes import CloseCode, ErrorCode
from tests.support.people import Person, becomes, people, until
from tests.support.processes import NodeProcess, Stores, nodes, own_stores
from tests.support.rows import Rows
from tests.support.traffic import reckoned, traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
NAMES = ("Mina", "رضا", "Sara")
REPAIR_S = 12.0  # a lease of 6 s, a look every 2 s, the rest for a slow machine


@pytest.fixture(scope="module")
async def stores() -> AsyncIterator[Stores]:
    async with own_stores() as stores:
        yield stores


@pytest.fixture(scope="module")
async def doors(stores: Stores) -> AsyncIterator[list[NodeProcess]]:
    async with nodes(stores, 2) as doors:
        yield doors


@pytest.fixture
async def persons(doors: list[NodeProcess]) -> AsyncIterator[list[Person]]:
    """Each with one device at either node."""
    for door in doors:
        await until(door.has_its_stores)
    async with people(NAMES, doors) as persons:
        yield persons


@pytest.fixture
def rows(stores: Stores) -> Rows:
    return Rows(stores.servers.database_url)


async def test_given_senders_when_postgres_is_killed_then_each_acked_message_is_there_once(
    stores: Stores, persons: list[Person], rows: Rows
) -> None:
    async with traffic(persons) as busy:
        await busy.acks(30)
        await stores.kill_postgres()
        await stores.are_back()
        await busy.acks(30)
    await reckoned(busy, rows)


async def test_given_senders_when_redis_is_killed_then_sends_go_on_and_devices_converge(
    stores: Stores, persons: list[Person], rows: Rows
) -> None:
    async with traffic(persons) as busy:
        await busy.acks(30)
        await stores.kill_redis()
        await busy.acks(10)
        await stores.are_back()
        await busy.acks(30)
    await reckoned(busy, rows)


async def test_given_last_words_while_redis_is_down_when_it_is_back_then_all_devices_have_them(
    stores: Stores, persons: list[Person], rows: Rows
) -> None:
    async with traffic(persons) as busy:
        await busy.acks(10)
        await stores.kill_redis()
        await busy.acks(10)
    await stores.are_back()
    await reckoned(busy, rows)


async def test_given_last_words_while_redis_hangs_when_it_goes_on_then_all_devices_have_them(
    stores: Stores, doors: list[NodeProcess], persons: list[Person], rows: Rows
) -> None:
    [redis] = stores.servers.redis
    try:
        async with traffic(persons) as busy:
            await busy.acks(10)
            redis.program.send(signal.SIGSTOP)
            for door in doors:
                await until(door.misses_redis)
            await busy.acks(10)
    finally:
        redis.program.send(signal.SIGCONT)
    await reckoned(busy, rows)


async def test_given_senders_when_redis_loses_its_data_then_devices_start_anew_and_converge(
    stores: Stores, doors: list[NodeProcess], persons: list[Person], rows: Rows
) -> None:
    async with traffic(persons) as busy:
        await busy.acks(30)
        await stores.kill_redis(lose_data=True)
        await stores.are_back()
        await busy.acks(30)

    for device in busy.devices:  # told where they are, without a new connection
        await device.client.wait_until(
            lambda device=device: any(update["t"] == "resync" for _, update in device.heard)
        )
        assert device.client.closed_with is None
    await reckoned(busy, rows)
    for device in busy.devices:
        device.goes()
        await device.returns(doors[0])
        assert device.recovered == [False], "nobody may continue what Redis has forgotten"
        await device.client.wait_until(lambda device=device: device.client.ready)
    await reckoned(busy, rows)


async def test_given_senders_when_their_node_is_killed_then_they_go_on_elsewhere(
    doors: list[NodeProcess], persons: list[Person], rows: Rows
) -> None:
    dead, alive = doors
    async with traffic(persons) as busy:
        await busy.acks(30)
        await dead.dies()
        for device in busy.devices:
            device.client.url = alive.ws_url
        await busy.acks(30)
        await dead.starts()
    await reckoned(busy, rows)


async def test_given_senders_when_a_node_is_told_to_stop_then_it_drains_and_ends_with_0(
    doors: list[NodeProcess], persons: list[Person], rows: Rows
) -> None:
    leaving, staying = doors
    closed: set[int | None] = set()
    async with traffic(persons) as busy:
        await busy.acks(30)
        leaving.program.send(signal.SIGTERM)
        for person in persons:
            device = person.devices[0]
            device.client.url = staying.ws_url
            closed.add((await device.client.wait_closed()).code)
            assert any(one["t"] == "system.go_away" for _, one in device.heard)
        await busy.acks(30)

    assert closed == {CloseCode.SHUTDOWN}
    assert await asyncio.wait_for(leaving.program.wait(), 15) == 0
    await reckoned(busy, rows)
    await leaving.starts()


async def test_given_a_stream_that_begins_anew_when_a_device_returns_then_it_starts_anew_too(
    stores: Stores, doors: list[NodeProcess], persons: list[Person], rows: Rows
) -> None:
    reza = persons[1]
    device = reza.devices[0]
    [redis] = stores.servers.redis
    async with traffic(persons) as busy:
        await busy.acks(5)
        device.goes()
        await busy.acks(10)
        client = redis.client()
        key = user_key(int(reza.account))
        await client.delete(key, meta_key(key))
        await client.aclose()
        await device.returns(doors[1])
        await busy.acks(10)

    assert device.recovered == [False]
    await reckoned(busy, rows)


async def test_given_a_revoked_device_when_redis_has_forgotten_it_then_its_token_stays_refused(
    stores: Stores, doors: list[NodeProcess]
) -> None:
    door = doors[0]
    kept = await door.signs_up("two devices")
    lost = await door.signs_up("two devices", phone=kept.phone)
    await door.post("accounts.revoke_session", {"device_id": lost.device}, kept.token)
    await stores.kill_redis(lose_data=True)
    await stores.are_back()

    async def refused() -> bool:
        """The set of revoked devices is written again as soon as Redis is back."""
        try:
            await door.post("system.hello", {}, lost.token)
        except RpcError as error:
            if error.code != ErrorCode.OVERLOADED:  # Redis may not be back for this node
                return error.code == ErrorCode.UNAUTHORIZED
        return False

    await until(refused)
    await until(door.has_its_stores)
    with pytest.raises(Disconnected) as ended:
        await Client.connect(door.ws_url, lost.token)
    assert ended.value.code == CloseCode.DEVICE_REVOKED
    client = await Client.connect(door.ws_url, kept.token)
    await client.close()


async def test_given_a_node_killed_between_commit_and_telling_then_another_tells_within_10_s(
    stores: Stores, doors: list[NodeProcess], persons: list[Person], rows: Rows
) -> None:
    dying, telling = doors
    sender, hearer = persons[0].devices[0], persons[1].devices[1]
    async with traffic(persons) as busy:
        await busy.acks(5)
    await reckoned(busy, rows)
    last_seq, last_ev = await rows.head(busy.chat)
    for person in persons:  # where they come back to
        person.devices[0].client.url = telling.ws_url

    connection = await asyncpg.connect(stores.servers.database_url.replace("+asyncpg", ""))
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("select 1 from chat where chat_id = $1 for update", int(busy.chat))
    sending = await busy.sends(sender, "committed, and nobody told")
    await until(lambda: rows.waits_for_lock("commit_messages"))
    dying.program.send(signal.SIGSTOP)
    try:
        await transaction.rollback()
        await connection.close()
        await becomes(lambda: rows.head(busy.chat), (last_seq + 1, last_ev + 1))
    finally:
        await dying.dies()

    assert hearer.client.state.chats[busy.chat].last_seq == last_seq
    await hearer.client.wait_until(
        lambda: hearer.client.state.chats[busy.chat].last_seq == last_seq + 1, REPAIR_S
    )
    await sender.client.wait_until(lambda: sending.result is not None)
    assert sending.result is not None
    assert (sending.result["seq"], sending.result["dup"]) == (last_seq + 1, True)
    await reckoned(busy, rows)
    await dying.starts()

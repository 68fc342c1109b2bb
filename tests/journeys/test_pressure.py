"""More than a node can take: readers that do not read, senders that send faster than the disk."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from messenger.client.errors import Json, RpcError
from messenger.client.websocket import Client
from messenger.wire.codes import ErrorCode
from tests.support.people import Person, people, until
from tests.support.processes import NodeProcess, Stores, nodes, own_stores
from tests.support.rows import Rows
from tests.support.stalling import metric, stalled_readers
from tests.support.traffic import reckoned, traffic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]
NAMES = ("Mina", "رضا", "Sara")
QUEUE = 20
"""`commit_queue` of these nodes."""
IN_FLIGHT = 16
"""Commands of a session: two of them fill the queue."""
LONG = "س" * 4_000
"""8 KB: sixty of them pass any bound of a session that does not read."""
KIB_PER_STALLED = 200
"""64 in the transport, 128 behind it, and the session itself."""
KIB_IN_TRANSPORT = 74
LAG_TOTAL_MIB = 256
"""`lag_total`: what waits behind the transports of all sessions of a node."""
SLACK_MIB = 32
REFUSED = 'peyk_rpc_refused_total{code="OVERLOADED",method="messages.send"}'
SLOW, SILENT = (f'peyk_closes_total{{code="{code}"}}' for code in (3008, 3012))

log = logging.getLogger(__name__)


@pytest.fixture(scope="module")
async def stores() -> AsyncIterator[Stores]:
    async with own_stores() as stores:
        yield stores


@pytest.fixture(scope="module")
async def doors(stores: Stores) -> AsyncIterator[list[NodeProcess]]:
    async with nodes(stores, 2, PEYK_COMMIT_QUEUE=str(QUEUE)) as doors:
        yield doors


@pytest.fixture
async def persons(doors: list[NodeProcess]) -> AsyncIterator[list[Person]]:
    """Each with one device at either node."""
    async with people(NAMES, doors) as persons:
        yield persons


@pytest.mark.parametrize(
    "count",
    [300, pytest.param(10_000, marks=[pytest.mark.proof, pytest.mark.timeout(600)])],
)
async def test_given_readers_that_stall_when_others_talk_then_memory_is_bound_and_they_are_cut_off(
    doors: list[NodeProcess], stores: Stores, persons: list[Person], count: int
) -> None:
    door = doors[1]
    slow_before = await metric(door.ops_port, SLOW)
    silent_before = await metric(door.ops_port, SILENT)
    async with stalled_readers(door, persons[2].account, count):
        before, most = door.rss_mib(), 0.0
        async with traffic(persons) as busy:
            for _ in range(60):
                await busy.sends(persons[0].devices[0], LONG)
                await busy.acks(1)
                most = max(most, door.rss_mib())

            async def all_gone() -> bool:
                return await metric(door.ops_port, "peyk_sessions") <= len(persons)

            await until(all_gone, 100)
            most = max(most, door.rss_mib())
            await busy.acks(20)
        slow = await metric(door.ops_port, SLOW) - slow_before
        silent = await metric(door.ops_port, SILENT) - silent_before
        figures = count, before, most, slow, silent
        log.info("%d stalled: RSS %.0f MiB, then %.0f; %d slow, %d without pong", *figures)
        assert slow > 0
        assert slow + silent >= count, "for what they did, and by nothing else"
        bound = min(count * KIB_PER_STALLED, count * KIB_IN_TRANSPORT + 1024 * LAG_TOTAL_MIB)
        assert most - before < bound / 1024 + SLACK_MIB
    for device in busy.devices:
        assert device.client.closed_with is None, "nobody who reads is cut off"
    await reckoned(busy, Rows(stores.servers.database_url))


async def test_given_a_full_queue_when_more_is_sent_then_it_is_refused_and_later_stored_once(
    doors: list[NodeProcess], stores: Stores, persons: list[Person]
) -> None:
    rows = Rows(stores.servers.database_url)
    one, other = (person.devices[0].client for person in persons[1:])
    direct = await one.rpc("chats.open_direct", {"account": persons[2].account})
    requests = [
        {"chat": direct["chat"]["id"], "random_id": f"{number}", "text": f"{number}"}
        for number in range(1, 2 * IN_FLIGHT)
    ]
    async with traffic(persons) as busy, asyncio.TaskGroup() as tasks:
        await busy.acks(5)
        async with locked(stores, requests[0]["chat"]):
            sending = [
                tasks.create_task(repeated((one, other)[number % 2], request))
                for number, request in enumerate(requests)
            ]

            async def is_full() -> bool:
                return await metric(doors[0].ops_port, REFUSED) > 0

            await until(is_full)
            with pytest.raises(RpcError) as refused:
                await persons[0].devices[0].client.rpc("messages.send", requests[0])
            assert refused.value.code == ErrorCode.OVERLOADED
            assert refused.value.retry_after_s
        await busy.acks(30)
    await reckoned(busy, rows)
    stored = {
        task.result()["seq"]: sent["text"] for task, sent in zip(sending, requests, strict=True)
    }
    assert len(stored) == len(requests)
    assert await rows.texts(requests[0]["chat"]) == stored


async def repeated(client: Client, request: Json) -> Json:
    """The same request until the node takes it, as it said."""
    while True:
        try:
            return await client.rpc("messages.send", request)
        except RpcError as error:
            if error.retry_after_s is None:
                raise
            await asyncio.sleep(error.retry_after_s)


@asynccontextmanager
async def locked(stores: Stores, chat: str) -> AsyncIterator[None]:
    """Somebody holds the chat's row: every commit that has a send to it waits."""
    connection = await asyncpg.connect(stores.servers.database_url.replace("+asyncpg", ""))
    try:
        async with connection.transaction():
            sql = "select 1 from chat where chat_id = $1 for update"
            await connection.execute(sql, int(chat))
            yield
    finally:
        await connection.close()

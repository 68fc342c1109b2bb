"""Intent records and the sweep: what a dead node wrote is told by another."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from messenger.bus.bus import Bus
from messenger.bus.keys import intent_key, node_key
from messenger.db.engine import Database, StoreDownError
from messenger.ids import AccountId, ChatId
from messenger.log.events import EventKind, EventLog
from messenger.log.intents import NODES_KEY, NodeIntents, pack_chats, unpack_chats
from messenger.log.repair import Repair, Untold
from messenger.log.store import ChatStore
from messenger.metrics import Metrics
from messenger.settings import Settings
from tests.conftest import Stores
from tests.log.conftest import AChat, a_send, commit
from tests.support.people import until


@pytest.fixture(scope="session")
async def bus(stores: Stores, settings: Settings) -> AsyncIterator[Bus]:
    bus = Bus(stores.redis_url, lambda _t, _p: None, settings=settings, metrics=Metrics())
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
def node() -> str:
    return uuid4().hex


async def start(bus: Bus, node: str) -> tuple[NodeIntents, asyncio.Task[None]]:
    intents = NodeIntents(bus, node)
    running = asyncio.ensure_future(intents.run())
    await asyncio.sleep(0)
    return intents, running


async def stop(running: "asyncio.Task[None]") -> None:
    running.cancel()
    await asyncio.wait([running], timeout=5)


async def test_given_a_dead_node_when_swept_then_its_chats_are_told_and_its_records_go(
    database: Database, store: ChatStore, bus: Bus, node: str, a_chat: AChat
) -> None:
    small, big, empty = await a_chat(), await a_chat(flags=1), await a_chat()
    async with database.statement() as connection:
        await commit(connection, [a_send(small, 1), a_send(small, 2, account=2), a_send(big, 3)])
    intents, running = await start(bus, node)
    intents.begin(1, [small, big])
    intents.begin(2, [small, empty])
    intents.begin(3, [ChatId(5)])
    intents.end(3)
    await stop(running)
    told: list[Untold] = []
    metrics = Metrics()

    count = await Repair(bus, store, told.append, metrics).sweep()

    assert count == 3
    found = {one.chat: one for one in told}
    assert set(found) == {small, big, empty}
    assert (found[small].head.ev, list(found[small].members)) == (2, [1, 2, 3])
    assert sorted(found[small].senders) == [(1, 1), (2, 2)]
    assert list(found[big].members) == []
    assert metrics.repaired_heads.labels("dead").value == 3
    assert await bus.ask("EXISTS", intent_key(node)) == 0
    assert await Repair(bus, store, told.append, metrics).sweep() == 0


async def test_given_a_living_node_when_swept_then_it_is_left_alone(
    store: ChatStore, bus: Bus, node: str, a_chat: AChat
) -> None:
    chat = await a_chat()
    intents, running = await start(bus, node)
    intents.begin(1, [chat])
    told: list[Untold] = []

    await Repair(bus, store, told.append, Metrics()).sweep()

    assert told == []
    assert 0 < await bus.ask("PTTL", node_key(node)) <= 6_000
    await stop(running)


async def test_given_two_sweepers_when_a_node_is_dead_then_one_of_them_tells(
    store: ChatStore, bus: Bus, node: str, a_chat: AChat
) -> None:
    chat = await a_chat()
    intents, running = await start(bus, node)
    intents.begin(1, [chat])
    await stop(running)
    told: list[Untold] = []

    await asyncio.gather(*(Repair(bus, store, told.append, Metrics()).sweep() for _ in range(3)))

    assert [one.chat for one in told if one.chat == chat] == [chat]


async def test_given_old_messages_when_swept_then_their_senders_cursors_are_left_alone(
    database: Database, store: ChatStore, bus: Bus, node: str, a_chat: AChat
) -> None:
    chat = await a_chat()
    async with database.statement() as connection:
        await commit(connection, [a_send(chat, 1)], int(time.time() * 1000) - 120_000)
    intents, running = await start(bus, node)
    intents.begin(1, [chat])
    await stop(running)
    told: list[Untold] = []

    await Repair(bus, store, told.append, Metrics()).sweep()

    assert list(told[0].senders) == []


async def test_given_a_database_that_is_away_when_running_then_the_next_look_tells(
    stores: Stores, bus: Bus, node: str, a_chat: AChat, caplog: pytest.LogCaptureFixture
) -> None:
    chat = await a_chat()
    intents, lease = await start(bus, node)
    intents.begin(1, [chat])
    await stop(lease)
    told = asyncio.Event()
    own = await Database.connect(stores.database_url, pool=1, statement_timeout=0.5)
    repair = Repair(
        bus,
        ChatStore(own),
        lambda one: told.set() if one.chat == chat else None,
        Metrics(),
        look_s=0.01,
    )
    caplog.set_level(logging.INFO)
    async with own.statement():  # every look finds the pool empty
        running = asyncio.ensure_future(repair.run())
        await until(lambda: said("no sweep", caplog))
        assert not told.is_set()
    await bus.ask("DEL", f"{intent_key(node)}:lock")  # as after its ten seconds

    async with asyncio.timeout(5):
        await told.wait()

    await stop(running)
    await own.close()


async def said(event: str, caplog: pytest.LogCaptureFixture) -> bool:
    return event in caplog.text


def test_given_chats_when_packed_then_unpacking_gives_them_back() -> None:
    chats = [ChatId(1), ChatId(2**63 - 1)]

    assert unpack_chats(pack_chats(chats)) == chats


async def test_given_chats_in_doubt_when_their_lease_is_over_then_they_are_told_once(
    database: Database,
    store: ChatStore,
    bus: Bus,
    node: str,
    a_chat: AChat,
    caplog: pytest.LogCaptureFixture,
) -> None:
    chat = await a_chat()
    async with database.statement() as connection:
        await commit(connection, [a_send(chat, 1)])
    intents, running = await start(bus, node)
    told: list[Untold] = []
    metrics = Metrics()
    repair = Repair(bus, store, told.append, metrics)

    intents.doubt(7, [chat])
    await repair.sweep()
    assert not [one for one in told if one.chat == chat]  # the statement may still be running
    await bus.ask("DEL", node_key(f"{node}.7"))  # its six seconds are over
    await repair.sweep()
    await repair.sweep()

    assert [one.head.ev for one in told if one.chat == chat] == [1]
    heads = metrics.repaired_heads  # nobody is to look for a node that died
    assert (heads.labels("doubt").value, heads.labels("dead").value) == (1, 0)
    assert caplog.messages == ["told sends in doubt"]
    await stop(running)


async def test_given_a_record_that_cannot_be_read_when_swept_then_other_nodes_are_swept(
    store: ChatStore, bus: Bus, node: str, a_chat: AChat, caplog: pytest.LogCaptureFixture
) -> None:
    chat = await a_chat()
    for name, record in ((f"{node}.a", b"x"), (f"{node}.b", pack_chats([chat])), (node, b"x")):
        await bus.ask("HSET", intent_key(name), 1, record)
        await bus.ask("SADD", NODES_KEY, name)
    told: list[Untold] = []

    await Repair(bus, store, told.append, Metrics()).sweep()

    assert [one.chat for one in told] == [chat]
    assert "node not swept" in caplog.text
    for name in (f"{node}.a", node):
        await bus.ask("SREM", NODES_KEY, name)


async def test_given_a_node_that_dies_after_an_event_when_swept_then_the_chat_is_told(
    database: Database, store: ChatStore, bus: Bus, node: str, a_chat: AChat
) -> None:
    chat, told = await a_chat(), list[Untold]()
    intents = NodeIntents(bus, node)
    await bus.ask("SADD", NODES_KEY, node)  # it has no lease: it is dead before it could tell

    await EventLog(database, on_record=intents.event).append_event(
        chat, EventKind.INFO, None, AccountId(1), {"set": {}}
    )
    await Repair(bus, store, told.append, Metrics()).sweep()

    assert [(one.chat, one.head.ev) for one in told] == [(chat, 1)]


async def test_given_an_event_when_its_statement_fails_then_its_chat_is_left_in_doubt(
    store: ChatStore, bus: Bus, node: str, a_chat: AChat
) -> None:
    chat, told = await a_chat(), list[Untold]()
    intents, running = await start(bus, node)
    with pytest.raises(StoreDownError):
        async with intents.event(chat):
            raise StoreDownError("nobody knows")

    await bus.ask("DEL", node_key(f"{node}.-1"))  # its six seconds are over
    await Repair(bus, store, told.append, Metrics()).sweep()

    assert [one.chat for one in told if one.chat == chat] == [chat]
    await stop(running)
    assert await bus.ask("HLEN", intent_key(node)) == 0


async def test_given_events_when_their_node_leaves_in_order_then_nothing_is_on_record(
    bus: Bus, node: str, a_chat: AChat
) -> None:
    intents, running = await start(bus, node)
    async with intents.event(await a_chat()):
        assert await bus.ask("HLEN", intent_key(node)) == 1

    assert await bus.ask("HLEN", intent_key(node)) == 1  # a second, for the telling
    await stop(running)

    assert await bus.ask("HLEN", intent_key(node)) == 0
    await bus.ask("SREM", NODES_KEY, node)


async def test_given_a_batch_that_ended_when_somebody_is_owed_then_its_record_stays_until_told(
    bus: Bus, node: str, a_chat: AChat
) -> None:
    owed = [True]
    intents = NodeIntents(bus, node, lambda: bool(owed), told_s=0.0)
    intents.begin(1, [await a_chat()])
    intents.end(1)
    running = asyncio.ensure_future(intents.run())
    await asyncio.sleep(0)
    assert await bus.ask("HLEN", intent_key(node)) == 1
    await stop(running)
    assert await bus.ask("HLEN", intent_key(node)) == 1
    assert await bus.ask("EXISTS", node_key(node)) == 1, "its lease runs out, then it is swept"

    owed.clear()
    again = asyncio.ensure_future(intents.run())
    await asyncio.sleep(0)
    await stop(again)

    assert await bus.ask("HLEN", intent_key(node)) == 0
    await bus.ask("SREM", NODES_KEY, node)


async def test_given_a_node_taken_for_dead_when_it_commits_on_then_its_records_are_found(
    store: ChatStore, bus: Bus, node: str, a_chat: AChat
) -> None:
    chat, told = await a_chat(), list[Untold]()
    intents, running = await start(bus, node)
    await bus.ask("DEL", node_key(node))  # Redis lost the lease; it is renewed within two seconds
    await Repair(bus, store, told.append, Metrics()).sweep()
    await bus.ask("DEL", f"{intent_key(node)}:lock")

    intents.begin(1, [chat])
    running.cancel()  # before that: killed

    await Repair(bus, store, told.append, Metrics()).sweep()

    assert [one.chat for one in told] == [chat]

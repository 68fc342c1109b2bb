"""What every feature stands on: stores, log, delivery. Opened once, built by plain calls."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

from msgspec import Struct

import messenger.accounts.feature
import messenger.chats.feature
import messenger.gateway.system
import messenger.messages.feature
import messenger.sync.feature
from messenger.accounts.store.devices import DeviceStore
from messenger.bus.bus import Bus
from messenger.bus.link import BusDown
from messenger.bus.shard import BusRefused
from messenger.bus.streams import Streams
from messenger.db.engine import Database, StoreDown
from messenger.db.generator import Lease, lease_generator
from messenger.db.migrate import newest, schema_version
from messenger.delivery.fanout import Delivery
from messenger.delivery.ladder import Ladder
from messenger.delivery.members import MemberLists
from messenger.delivery.soles import SoleDevices
from messenger.feature import Background
from messenger.gateway.dirty import DirtyHeads
from messenger.limits import Limits
from messenger.log.committer import Committer
from messenger.log.events import EventLog
from messenger.log.intents import NodeIntents
from messenger.log.one_chat import One
from messenger.log.partitions import DedupPartitions
from messenger.log.rendering import Many, Rendering
from messenger.log.repair import Repair, Untold
from messenger.log.retention import Retention
from messenger.log.sends import Written
from messenger.log.store import ChatStore
from messenger.logs import node_name
from messenger.messages.feed import ChatFeed
from messenger.messages.indexing import Indexer
from messenger.messages.reading import Cursors
from messenger.messages.sending import own_copy, written_update
from messenger.metrics import Metrics
from messenger.preflight import StartRefusedError
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens

START_RETRY_S = 30.0


class Stores(Struct, frozen=True):
    """What outlives a request: connections and the lease of an id generator."""

    database: Database
    bus: Bus
    lease: Lease


async def open_stores(
    settings: Settings, metrics: Metrics, name: str, stack: AsyncExitStack
) -> Stores:
    if settings.database_url is None or settings.redis_url is None:
        raise StartRefusedError(
            "a node needs DATABASE_URL and REDIS_URL; `peyk serve` starts its own"
        )
    database = await _open_database(settings)
    stack.push_async_callback(database.close)
    database.watched(metrics)
    bus = Bus(settings.redis_url, _nobody_listens, settings=settings, metrics=metrics)
    try:
        await bus.start(START_RETRY_S)
    except (BusRefused, BusDown) as error:
        raise StartRefusedError(str(error)) from None
    stack.push_async_callback(bus.close)
    return Stores(database, bus, await lease_generator(database, name))


async def _open_database(settings: Settings) -> Database:
    url = settings.database_url or ""
    deadline = time.monotonic() + START_RETRY_S
    while True:
        try:
            database = await Database.connect(
                url,
                settings.db_pool,
                settings.statement_timeout,
                settings.rendering,
                node=node_name(settings.host, settings.port),
            )
            version = await schema_version(url)
        except StoreDown as error:
            if time.monotonic() > deadline:
                raise StartRefusedError(f"DATABASE_URL: {error}") from None
            await asyncio.sleep(0.2)
            continue
        if version is None or version < newest():
            await database.close()
            raise StartRefusedError(
                f"the database is at revision {version}, this version needs {newest()}:"
                " run `peyk migrate`"
            )
        return database


class Trunk(Struct, frozen=True):
    """What every feature stands on."""

    settings: Settings
    stores: Stores
    streams: Streams
    limits: Limits
    tokens: ConnectionTokens
    chats: ChatStore
    events: EventLog
    delivery: Delivery
    ladder: Ladder
    soles: SoleDevices
    committer: Committer
    cursors: Cursors
    indexer: Indexer
    feed: ChatFeed
    dirty: DirtyHeads
    background: Sequence[Background]


def build_trunk(settings: Settings, stores: Stores, metrics: Metrics, name: str) -> Trunk:
    database, bus = stores.database, stores.bus
    streams = Streams(bus, settings)
    chats = ChatStore(database)
    members = MemberLists(chats.members)
    soles = SoleDevices(DeviceStore(database).sole)
    delivery = Delivery(bus, streams, members, soles, (written_update, own_copy), metrics)
    ladder = Ladder(lambda: committer.waiting, bus, settings, metrics)
    cursors = messenger.messages.feature.cursors(
        database, chats, delivery, ladder.sheds, ladder.is_shedding
    )
    indexer = Indexer(database)
    intents = NodeIntents(bus, name, lambda: delivery.owes)

    def on_batch(batch: list[Written]) -> None:
        delivery.messages_written(batch)
        cursors.own_sends(batch)
        indexer.written(batch)

    def tell(untold: Untold) -> None:
        delivery.repaired(untold)
        cursors.sent_before(untold.chat, untold.senders)
        indexer.repaired(untold.chat)

    committer = Committer(
        _rendering(database, settings), settings, on_batch, metrics, intents=intents
    )
    return Trunk(
        settings=settings,
        stores=stores,
        streams=streams,
        limits=Limits(settings.limits, bus, metrics, development=settings.env == "development"),
        tokens=ConnectionTokens(
            settings.client.token.keys, settings.client.token.audience, settings.client.token.issuer
        ),
        chats=chats,
        events=EventLog(database, on_record=intents.event),
        delivery=delivery,
        ladder=ladder,
        soles=soles,
        committer=committer,
        cursors=cursors,
        indexer=indexer,
        feed=ChatFeed(database, chats),
        dirty=DirtyHeads(bus),
        background=[
            Background("bus", bus.run),
            Background("lease", stores.lease.run),
            Background("members", members.run),
            Background("soles", soles.run),
            Background("delivery", delivery.run),
            Background("ladder", ladder.run),
            Background("intents", intents.run),
            Background("repair", Repair(bus, chats, tell, metrics).run, worker=True),
            Background("partitions", DedupPartitions(database).run, worker=True),
            Background("retention", Retention(database, settings, metrics).run, worker=True),
        ],
    )


def _rendering(database: Database, settings: Settings) -> Rendering:
    """With one chat a call, half of the pool writes at a time."""
    if settings.rendering == "one":
        return One(database, max(1, settings.db_pool // 2))
    return Many(database)


def _nobody_listens(_topic: str, _payload: bytes) -> None:
    """Until the hub is there."""

"""The composition root: the only place that knows every part, and builds them by plain calls.

Nothing here decides anything. The order of construction is the order of the layers: stores, log,
delivery, features, catalogue, gateway, HTTP. `serving.py` puts the node on its sockets.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from msgspec import Struct
from starlette.applications import Starlette
from starlette.middleware import Middleware

import messenger.accounts.feature
import messenger.chats.feature
import messenger.gateway.system
import messenger.messages.feature
import messenger.sync.feature
from messenger.accounts.feature import Accounts
from messenger.bus.bus import Bus
from messenger.bus.keys import revoked_key
from messenger.bus.link import BusDown
from messenger.bus.shard import BusRefused
from messenger.bus.streams import Streams
from messenger.chats.feature import Chats
from messenger.db.engine import Database, StoreDown
from messenger.db.generator import Lease, lease_generator
from messenger.db.migrate import newest, schema_version
from messenger.delivery.fanout import Delivery
from messenger.delivery.members import MemberLists
from messenger.feature import Background, Caller, Feature
from messenger.gateway.connecting import Connecting
from messenger.gateway.dirty import DirtyHeads
from messenger.gateway.gateway import Gateway
from messenger.gateway.hub import Hub
from messenger.gateway.positions import TopicPositions
from messenger.gateway.presence import TopicPresence
from messenger.gateway.subscribing import Subscribing
from messenger.gateway.topics import Topics
from messenger.http.operations import Health, Operations
from messenger.http.publish_api import PublishApi
from messenger.http.rpc_api import RpcApi
from messenger.http.security import SecurityHeaders
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.limits import Limits
from messenger.log.account_log import AccountLog
from messenger.log.committer import Committer, Written
from messenger.log.events import EventLog
from messenger.log.intents import NodeIntents
from messenger.log.partitions import DedupPartitions
from messenger.log.repair import Repair, Untold
from messenger.log.store import ChatStore
from messenger.messages.feed import ChatFeed
from messenger.messages.history import HistoryReader
from messenger.messages.indexing import Indexer
from messenger.messages.reading import Cursors
from messenger.messages.sending import written_updates
from messenger.messages.store import MessageStore
from messenger.metrics import CollectorPauses, Metrics
from messenger.namespaces import Namespaces
from messenger.preflight import StartRefusedError
from messenger.rpc import Rpcs
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens, SubscriptionTokens

START_RETRY_S = 30.0
LEAVE_S = 10.0  # for the committer's last batches


class Stores(Struct, frozen=True):
    """What outlives a request: connections and the lease of an id generator."""

    database: Database
    bus: Bus
    lease: Lease


class Node(Struct, frozen=True):
    """A running node, for whoever serves it."""

    name: str
    app: Starlette
    gateway: Gateway
    committer: Committer
    delivery: Delivery
    metrics: Metrics
    rpcs: Rpcs
    tasks: Sequence[Background]


@asynccontextmanager
async def open_node(settings: Settings) -> AsyncIterator[Node]:
    """A node whose tasks run inside the block; if one of them dies, the block dies with it."""
    metrics = Metrics()
    name = secrets.token_hex(4)  # new at every start: what a dead one left must be found
    async with AsyncExitStack() as stack:
        stores = await _open_stores(settings, metrics, name, stack)
        node = _compose(settings, stores, metrics, name)
        stack.enter_context(CollectorPauses(metrics))
        async with asyncio.TaskGroup() as tasks:
            committing = tasks.create_task(node.committer.run(), name="committer")
            others = [tasks.create_task(task.run(), name=task.name) for task in node.tasks]
            try:
                yield node
                node.committer.close()
                async with asyncio.timeout(LEAVE_S):
                    await asyncio.wait([committing])
            finally:
                committing.cancel()
                for task in others:
                    task.cancel()


async def _open_stores(
    settings: Settings, metrics: Metrics, name: str, stack: AsyncExitStack
) -> Stores:
    if settings.database_url is None or settings.redis_url is None:
        raise StartRefusedError(
            "a node needs DATABASE_URL and REDIS_URL; `peyk serve` starts its own"
        )
    database = await _open_database(settings)
    stack.push_async_callback(database.close)
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
            database = await Database.connect(url, settings.db_pool, settings.statement_timeout)
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


def _counted_later(_chat: ChatId, _seq: int) -> None:
    """Late counts of reactions are told when somebody reads the history, not the pins."""


def _nobody_listens(_topic: str, _payload: bytes) -> None:
    """Until the hub is there."""


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
    committer: Committer
    cursors: Cursors
    indexer: Indexer
    feed: ChatFeed
    dirty: DirtyHeads
    background: Sequence[Background]


def _compose(settings: Settings, stores: Stores, metrics: Metrics, name: str) -> Node:
    sessions: SessionTable = SessionTable()
    trunk = _trunk(settings, stores, metrics, name)
    accounts, chats = _people_and_chats(trunk)
    features = _features(trunk, accounts, chats, sessions)
    rpcs = Rpcs(features, trunk.limits, metrics, enabled=settings.rpc.enabled)
    gateway, topics, namespaces, gateway_tasks = _gateway(trunk, accounts, rpcs, metrics)
    sessions.gateway = gateway
    app = Starlette(
        routes=[
            *RpcApi(
                rpcs, trunk.tokens, trunk.limits, _is_revoked(stores.bus), settings.trusted_proxies
            ).routes,
            *PublishApi(
                topics, namespaces, settings.api_key, insecure=settings.api.insecure
            ).routes,
            *Operations(_health(gateway, stores), metrics.registry, settings.ops_port).routes,
            *(route for feature in features for route in feature.routes),
        ],
        middleware=[Middleware(SecurityHeaders)],
    )
    tasks = [
        *trunk.background,
        *(task for feature in features for task in feature.tasks),
        *gateway_tasks,
    ]
    return Node(name, app, gateway, trunk.committer, trunk.delivery, metrics, rpcs, tasks)


def _trunk(settings: Settings, stores: Stores, metrics: Metrics, name: str) -> Trunk:
    database, bus = stores.database, stores.bus
    streams = Streams(bus, settings)
    chats = ChatStore(database)
    members = MemberLists(chats.members)
    delivery = Delivery(bus, streams, members, written_updates, metrics)
    cursors = messenger.messages.feature.cursors(database, chats, delivery)
    indexer = Indexer(database)
    intents = NodeIntents(bus, name)

    def on_batch(batch: list[Written]) -> None:
        delivery.messages_written(batch)
        cursors.own_sends(batch)
        indexer.written(batch)

    def tell(untold: Untold) -> None:
        delivery.repaired(untold)
        cursors.sent_before(untold.chat, untold.senders)

    return Trunk(
        settings=settings,
        stores=stores,
        streams=streams,
        limits=Limits(settings.limits, bus, metrics, development=settings.env == "development"),
        tokens=ConnectionTokens(
            settings.client.token.keys, settings.client.token.audience, settings.client.token.issuer
        ),
        chats=chats,
        events=EventLog(database),
        delivery=delivery,
        committer=Committer(database, settings, on_batch, metrics, intents=intents),
        cursors=cursors,
        indexer=indexer,
        feed=ChatFeed(database, chats),
        dirty=DirtyHeads(bus),
        background=[
            Background("bus", bus.run),
            Background("lease", stores.lease.run),
            Background("members", members.run),
            Background("delivery", delivery.run),
            Background("intents", intents.run),
            Background("repair", Repair(bus, chats, tell, metrics).run),
            Background("partitions", DedupPartitions(database).run),
        ],
    )


def _people_and_chats(trunk: Trunk) -> tuple[Accounts, Chats]:
    """Each shows the other's objects, so one of the two ties is closed late."""
    database, mint = trunk.stores.database, trunk.stores.lease.minter.mint

    async def show_chat(account: AccountId, chat: ChatId) -> Any:
        return await chats.views.public(account, chat)

    accounts = messenger.accounts.feature.assemble(
        trunk.settings,
        database,
        trunk.stores.bus,
        trunk.delivery,
        trunk.limits,
        trunk.tokens,
        mint,
        show_chat=show_chat,
    )
    chats = messenger.chats.feature.assemble(
        trunk.settings,
        database,
        trunk.delivery,
        trunk.limits,
        accounts,
        mint,
        messages_of=HistoryReader(MessageStore(database), trunk.chats, _counted_later).shown,
    )
    return accounts, chats


class SessionTable:
    """Finds a caller's session; filled once the gateway is there, which needs the features."""

    gateway: Gateway | None = None

    async def watch_big(self, caller: Caller, chats: Collection[ChatId], dirty: DirtyHeads) -> None:
        session = self.gateway.session(caller.session) if self.gateway is not None else None
        if session is not None:
            await dirty.watch(session, chats)


def _features(
    trunk: Trunk, accounts: Accounts, chats: Chats, sessions: SessionTable
) -> list[Feature]:
    database = trunk.stores.database

    async def watch_big(caller: Caller, chats: Collection[ChatId]) -> None:
        await sessions.watch_big(caller, chats, trunk.dirty)

    features = [
        messenger.accounts.feature.create(accounts),
        messenger.chats.feature.create(chats),
        messenger.messages.feature.create(
            database,
            trunk.committer,
            trunk.chats,
            trunk.events,
            trunk.delivery,
            trunk.limits,
            trunk.cursors,
            trunk.indexer,
        ),
        messenger.sync.feature.create(
            database,
            trunk.chats,
            AccountLog(database),
            trunk.feed,
            watch_big,
            trunk.settings.difference_slice,
        ),
    ]
    names = ["system", *(feature.name for feature in features)]
    return [messenger.gateway.system.create(trunk.settings, names), *features]


def _gateway(
    trunk: Trunk, accounts: Accounts, rpcs: Rpcs, metrics: Metrics
) -> tuple[Gateway, Topics, Namespaces, list[Background]]:
    settings, bus = trunk.settings, trunk.stores.bus
    namespaces = Namespaces(settings.topics)
    presence = TopicPresence(trunk.streams)
    positions = TopicPositions(trunk.streams, trunk.feed)
    hub = Hub(bus, positions, metrics, settings.recovery_max)
    hub.on_dirty = trunk.dirty.heard
    bus.on_message = hub.on_message

    def on_back() -> None:
        hub.check_all()
        accounts.devices.redis_lost()

    bus.on_back = on_back
    sub_token = settings.client.sub_token or settings.client.token
    subscribing = Subscribing(
        settings,
        namespaces,
        SubscriptionTokens(sub_token.keys, sub_token.audience, sub_token.issuer),
        hub,
        trunk.feed,
        presence,
        metrics,
    )
    connecting = Connecting(
        settings, trunk.tokens, namespaces, subscribing, bus, accounts.presence, metrics
    )
    topics = Topics(settings, namespaces, trunk.streams, metrics)
    gateway = Gateway(
        settings,
        rpcs,
        trunk.limits,
        hub,
        connecting,
        subscribing,
        topics,
        presence,
        trunk.dirty,
        accounts.presence,
        metrics,
    )
    return gateway, topics, namespaces, [Background("gateway", gateway.run)]


def _is_revoked(bus: Bus) -> Callable[[AccountId, DeviceId], Awaitable[bool]]:
    async def is_revoked(account: AccountId, device: DeviceId) -> bool:
        until = await bus.ask("HGET", revoked_key(account), device)
        return until is not None and int(until) > time.time()

    return is_revoked


def _health(gateway: Gateway, stores: Stores) -> Health:
    def health() -> tuple[bool, Mapping[str, Any]]:
        return not gateway.draining, {
            "draining": gateway.draining,
            "sessions": gateway.sessions,
            "bus": "up" if stores.bus.up else "down",
        }

    return health

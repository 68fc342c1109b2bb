"""The composition root: the only place that knows every part, and builds them by plain calls.

Nothing here decides anything. The order of construction is the order of the layers: stores, log,
delivery, features, catalogue, gateway, HTTP. `serving.py` puts the node on its sockets.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct
from starlette.applications import Starlette
from starlette.middleware import Middleware

import channels.feature
import messenger.accounts.feature
import messenger.chats.feature
import messenger.gateway.system
import messenger.messages.feature
import messenger.sync.feature
from channels.feature import Channels
from messenger.accounts.feature import Accounts
from messenger.bus.bus import Bus
from messenger.bus.keys import revoked_key
from messenger.chats.feature import Chats
from messenger.chats.pinning import MessagesOf
from messenger.delivery.fanout import Delivery
from messenger.delivery.ladder import Ladder
from messenger.feature import Background, Caller, Feature, Refused
from messenger.gateway.admission import Admission
from messenger.gateway.connecting import Connecting
from messenger.gateway.dirty import DirtyHeads
from messenger.gateway.gateway import Gateway
from messenger.gateway.hub import Hub
from messenger.gateway.positions import TopicPositions
from messenger.gateway.presence import TopicPresence
from messenger.gateway.recheck import Recheck
from messenger.gateway.subscribing import Subscribing
from messenger.gateway.topics import Topics
from messenger.http.drills import Drills
from messenger.http.health import Health
from messenger.http.operations import Operations
from messenger.http.publish_api import PublishApi
from messenger.http.rpc_api import RpcApi
from messenger.http.security import SecurityHeaders
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.log.account_log import AccountLog
from messenger.log.committer import Committer
from messenger.messages.history import HistoryReader
from messenger.messages.leaving import Leaving
from messenger.messages.protocol import GetMessages
from messenger.messages.store import MessageStore
from messenger.messages.texts import TextBounds
from messenger.metrics import CollectorPauses, Metrics
from messenger.namespaces import Namespaces
from messenger.rpc import Rpcs
from messenger.settings import Settings
from messenger.tokens import SubscriptionTokens
from messenger.trunk import Stores, Trunk, build_trunk, open_stores
from messenger.watchdog import Watchdog
from messenger.wire.codes import ErrorCode

LEAVE_S = 10.0  # for the committer's last batches


class Node(Struct, frozen=True):
    """A running node, for whoever serves it."""

    name: str
    app: Starlette
    gateway: Gateway
    committer: Committer
    delivery: Delivery
    ladder: Ladder
    metrics: Metrics
    rpcs: Rpcs
    tasks: Sequence[Background]
    watchdog: Watchdog


@asynccontextmanager
async def open_node(settings: Settings) -> AsyncIterator[Node]:
    """A node whose tasks run inside the block; if one of them dies, the block dies with it."""
    metrics = Metrics()
    name = secrets.token_hex(4)  # new at every start: what a dead one left must be found
    async with AsyncExitStack() as stack:
        stores = await open_stores(settings, metrics, name, stack)
        node = _compose(settings, stores, metrics, name)
        stack.enter_context(CollectorPauses(metrics))
        stack.enter_context(node.watchdog)
        async with asyncio.TaskGroup() as tasks:
            committing = tasks.create_task(node.committer.run(), name="committer")
            others = [tasks.create_task(task.run(), name=task.name) for task in node.tasks]
            _count_alive(metrics, [committing, *others])
            try:
                yield node
                node.committer.close()
                async with asyncio.timeout(LEAVE_S):
                    await asyncio.wait([committing])
                    await node.delivery.flush()
            finally:
                committing.cancel()
                for task in others:
                    task.cancel()


def _count_alive(metrics: Metrics, running: Sequence[asyncio.Task[None]]) -> None:
    metrics.loop_tasks.set_function(lambda: float(len(asyncio.all_tasks())))
    for task in running:
        metrics.tasks.labels(task.get_name()).set_function(partial(_is_alive, task))


def _is_alive(task: asyncio.Task[None]) -> float:
    return float(not task.done())


def _counted_later(_chat: ChatId, _seq: int) -> None:
    """Late counts of reactions are told when somebody reads the history, not the pins."""


def _pinned(history: HistoryReader) -> MessagesOf:
    async def messages_of(
        account: AccountId, chat: ChatId, seqs: Sequence[int]
    ) -> Sequence[msgspec.Raw]:
        """Message objects for a member; those that are gone are left out."""
        try:
            found = await history.get(
                GetMessages(str(chat), tuple(seqs)), Caller(account, DeviceId(0), "")
            )
        except Refused as refused:
            if refused.code is not ErrorCode.NO_MESSAGE:
                raise
            return []
        newest_first = reversed(found.messages)
        return [msgspec.Raw(msgspec.json.encode(one)) for one in newest_first if not one.deleted]

    return messages_of


def _compose(settings: Settings, stores: Stores, metrics: Metrics, name: str) -> Node:
    sessions: SessionTable = SessionTable()
    trunk = build_trunk(settings, stores, metrics, name)
    accounts, chats, posts = _people_and_chats(trunk)
    features = _features(trunk, accounts, chats, posts, sessions, metrics)
    rpcs = Rpcs(
        features, trunk.limits, metrics, enabled=settings.rpc.enabled, sheds=trunk.ladder.sheds
    )
    gateway, topics, namespaces, gateway_tasks = _gateway(trunk, accounts, posts, rpcs, metrics)
    sessions.gateway = gateway
    health = _health(gateway, trunk)
    own = [
        *Operations(health, metrics.registry, settings.ops_port).routes,
        *Drills(settings, gateway, name, lambda: trunk.committer.waiting, metrics).routes,
    ]
    public = [
        *RpcApi(
            rpcs, trunk.tokens, trunk.limits, _is_revoked(stores.bus), settings.trusted_proxies
        ).routes,
        *PublishApi(topics, namespaces, settings.api_key, insecure=settings.api.insecure).routes,
        *(route for feature in features for route in feature.routes),
    ]
    routes = [*own, *public] if "gateway" in settings.roles else own
    app = Starlette(routes=routes, middleware=[Middleware(SecurityHeaders)])
    watchdog = Watchdog()
    tasks = [
        *trunk.background,
        *(task for feature in features for task in feature.tasks),
        *gateway_tasks,
        Background("health", health.run),
        Background("watchdog", watchdog.run),
    ]
    if "worker" not in settings.roles:
        tasks = [task for task in tasks if not task.worker]
    return Node(
        name,
        app,
        gateway,
        trunk.committer,
        trunk.delivery,
        trunk.ladder,
        metrics,
        rpcs,
        tasks,
        watchdog,
    )


def _people_and_chats(trunk: Trunk) -> tuple[Accounts, Chats, Channels | None]:
    """Each shows the other's objects, so one of the two ties is closed late."""
    database, mint = trunk.stores.database, trunk.stores.lease.minter.mint

    async def show_chat(account: AccountId, chat: ChatId) -> Any:
        return await chats.views.public(account, chat)

    async def leave_chats(account: AccountId) -> None:
        await chats.departing.depart(account)

    accounts = messenger.accounts.feature.assemble(
        trunk.settings,
        database,
        trunk.stores.bus,
        trunk.delivery,
        trunk.limits,
        trunk.tokens,
        mint,
        show_chat=show_chat,
        on_closed=Leaving(database).drop_scheduled,
        on_gone=leave_chats,
        sheds=trunk.ladder.sheds,
    )
    posts = None
    if "channels" in trunk.settings.features:
        posts = channels.feature.assemble(
            database, trunk.stores.bus, trunk.limits, accounts.people, trunk.chats, mint
        )
        trunk.delivery.audience = posts.facts.audience
    chats = messenger.chats.feature.assemble(
        trunk.settings,
        database,
        trunk.delivery,
        trunk.limits,
        accounts,
        mint,
        messages_of=_pinned(HistoryReader(MessageStore(database), _counted_later)),
        on_record=trunk.events.on_record,
        channels=posts.rules if posts is not None else None,
    )
    return accounts, chats, posts


class SessionTable:
    """Finds a caller's session; filled once the gateway is there, which needs the features."""

    gateway: Gateway | None = None

    async def watch_big(self, caller: Caller, chats: Collection[ChatId], dirty: DirtyHeads) -> None:
        session = self.gateway.session(caller.session) if self.gateway is not None else None
        if session is not None:
            await dirty.watch(session, chats)


def _features(
    trunk: Trunk,
    accounts: Accounts,
    chats: Chats,
    posts: Channels | None,
    sessions: SessionTable,
    metrics: Metrics,
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
            TextBounds(trunk.settings.message_chars, trunk.settings.message_bytes),
            gate=posts.gate if posts is not None else None,
            posts=posts.posts if posts is not None else None,
            sheds=trunk.ladder.sheds,
        ),
        messenger.sync.feature.create(
            database,
            trunk.chats,
            AccountLog(database),
            trunk.feed,
            watch_big,
            trunk.settings.difference_slice,
            metrics.difference,
        ),
    ]
    if posts is not None:
        features.append(channels.feature.create(posts, chats.groups, chats.views))
    names = ["system", *(feature.name for feature in features)]
    return [messenger.gateway.system.create(trunk.settings, names), *features]


def _gateway(
    trunk: Trunk, accounts: Accounts, posts: Channels | None, rpcs: Rpcs, metrics: Metrics
) -> tuple[Gateway, Topics, Namespaces, list[Background]]:
    settings, bus = trunk.settings, trunk.stores.bus
    namespaces = Namespaces(settings.topics)
    presence = TopicPresence(trunk.streams, sheds=trunk.ladder.sheds)
    positions = TopicPositions(trunk.streams, trunk.feed)
    hub = Hub(bus, positions, metrics, settings.recovery_max, trunk.soles)
    hub.on_dirty = trunk.dirty.heard
    bus.on_message = hub.on_message

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
    admission = Admission(settings.upgrade_rate, settings.upgrade_burst, time.monotonic())
    trunk.ladder.on_load = admission.observe
    connecting = Connecting(
        settings, trunk.tokens, namespaces, subscribing, bus, accounts.presence, metrics, admission
    )
    topics = Topics(settings, namespaces, trunk.streams, metrics, trunk.ladder.sheds)
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
        Recheck(bus, trunk.feed),
        accounts.presence,
        metrics,
    )

    if posts is not None:
        hub.on_delivered = posts.on_delivered
        trunk.dirty.on_told = posts.delays.delivered
        posts.delays.after_bulk = gateway.turn.after_bulk

    def on_back() -> None:
        accounts.devices.redis_lost()
        gateway.bus_is_back()
        trunk.delivery.link_back()

    bus.on_back = on_back
    return gateway, topics, namespaces, [Background("gateway", gateway.run)]


def _is_revoked(bus: Bus) -> Callable[[AccountId, DeviceId], Awaitable[bool]]:
    async def is_revoked(account: AccountId, device: DeviceId) -> bool:
        until = await bus.ask("HGET", revoked_key(account), device)
        return until is not None and int(until) > time.time()

    return is_revoked


def _health(gateway: Gateway, trunk: Trunk) -> Health:
    stores, soles, bus = trunk.stores, trunk.soles, trunk.stores.bus

    async def probe() -> None:
        async with stores.database.statement() as connection:
            await connection.exec_driver_sql("select 1")

    health = Health(
        gateway,
        lambda: any(shard.up for shard in bus.shards),
        probe,
        lambda: trunk.ladder.step,
        lambda: {one.name: one.up for one in bus.shards},
    )
    told = bus.on_back

    def on_back() -> None:
        told()
        health.bus_changed()

    def on_lost() -> None:
        soles.forget_all()
        health.bus_changed()

    bus.on_lost, bus.on_back = on_lost, on_back
    return health

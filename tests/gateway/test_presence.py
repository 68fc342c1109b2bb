"""Leases of presence on a node with many sessions."""

import asyncio

from messenger.bus.keys import presence_key
from messenger.gateway.presence import TopicPresence
from messenger.gateway.room import Room, Subscription
from messenger.sections import NamespaceOptions
from messenger.settings import Settings
from messenger.wire.messages import ClientInfo
from tests.bus.conftest import running
from tests.gateway.test_room import Outlet

TOPIC = "room:leases"
MANY = 3_000


class Someone:
    """A session, as far as presence sees it."""

    def __init__(self, number: int) -> None:
        self.client = str(number)
        self.info: ClientInfo | None = None


async def test_given_more_leases_than_a_link_holds_when_renewed_then_none_ends_and_the_link_stays(
    settings: Settings,
) -> None:
    room = Room(TOPIC, NamespaceOptions(presence=True), 1)
    async with running(settings.redis_url or "", bus_queue=100_000, redis_timeout=5) as node:
        presence = TopicPresence(node.streams, renew_s=1)
        subscriptions = [
            Subscription(None, Outlet(), room, binary=False, server_side=False) for _ in range(MANY)
        ]
        for number, subscription in enumerate(subscriptions):
            subscription.chan_info = b'"%b"' % (b"x" * 4_000)
            presence.joined(Someone(number), subscription)
            if number % 100 == 99:
                await node.bus.ask("PING", key=TOPIC)
        gone = Someone(MANY - 1)
        presence.left(gone, subscriptions[-1])
        await node.bus.ask("DEL", presence_key(TOPIC))

        renewing = asyncio.ensure_future(presence.run())
        async with asyncio.timeout(8):
            while await node.bus.ask("HLEN", presence_key(TOPIC)) < MANY - 1:
                assert not node.ear.lost.is_set()
        renewing.cancel()
        await asyncio.wait([renewing])

        assert await node.bus.ask("HEXISTS", presence_key(TOPIC), gone.client) == 0
        await node.bus.ask("DEL", presence_key(TOPIC))

"""Who is in a topic: entries in Redis with a lease, join and leave over the topic itself."""

import asyncio
import itertools
from typing import Protocol

import msgspec
from msgspec import Raw

from messenger.bus.streams import Streams
from messenger.feature import Caller, Shed, Sheds, sheds_nothing
from messenger.gateway.room import Subscription
from messenger.wire.messages import NOTHING, ClientInfo

RENEW_S = 25.0  # of a lease of 60: one renewal may be lost
SLICES = 100  # renewed one by one over RENEW_S: all in one turn would hold up the node and its bus


_Entries = dict[Subscription, tuple[str, str, bytes]]
"""(topic, client, info) of each."""


class DeviceHooks(Protocol):
    """Told of every product session that opens or closes on this node."""

    def opened(self, caller: Caller) -> None: ...

    def closed(self, caller: Caller) -> None: ...


class Peer(Protocol):
    """A session, as far as presence sees it."""

    client: str
    info: ClientInfo | None


class TopicPresence:
    """Presence and join/leave of generic topics."""

    def __init__(
        self, streams: Streams, renew_s: float = RENEW_S, sheds: Sheds = sheds_nothing
    ) -> None:
        self._streams = streams
        self._renew_s = renew_s
        self._sheds = sheds
        self._slices: list[_Entries] = [{} for _ in range(SLICES)]
        self._slice_of: dict[Subscription, _Entries] = {}
        self._turns = itertools.cycle(self._slices)

    def joined(self, session: Peer, subscription: Subscription) -> None:
        """Call once the subscription is live, so that it hears of its own join."""
        options = subscription.room.options
        if not (options.presence or options.join_leave):
            return
        topic = subscription.room.topic
        info = info_json(session, subscription)
        if options.presence:
            entries = self._slice_of[subscription] = next(self._turns)
            entries[subscription] = topic, session.client, info
            self._streams.presence_renew(topic, session.client, info)
        if options.join_leave and not self._sheds(Shed.PRESENCE):
            self._streams.publish_join(topic, info)

    def left(self, session: Peer, subscription: Subscription) -> None:
        options = subscription.room.options
        topic = subscription.room.topic
        entries = self._slice_of.pop(subscription, None)
        if entries is not None:
            del entries[subscription]
            self._streams.presence_remove(topic, session.client)
        told = options.join_leave and subscription.buffer is None
        if told and not self._sheds(Shed.PRESENCE):
            self._streams.publish_leave(topic, info_json(session, subscription))

    async def run(self) -> None:
        """Renew the leases until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        for entries in itertools.cycle(self._slices):
            due += self._renew_s / SLICES
            await asyncio.sleep(due - loop.time())
            for topic, client, info in entries.values():
                self._streams.presence_renew(topic, client, info)


def info_json(session: Peer, subscription: Subscription | None) -> bytes:
    """Who the session is to others on the topic."""
    info = session.info or ClientInfo("", session.client)
    chan_info = subscription.chan_info if subscription is not None else b""
    return msgspec.json.encode(
        ClientInfo(
            info.user,
            session.client,
            info.conn_info,
            Raw(chan_info) if chan_info else NOTHING,
        )
    )

"""The store behind each kind of topic: hot windows in Redis, chats in PostgreSQL.

`chat:<id>` has no window of its own: its offsets are the chat's `ev`, its epoch the chat's epoch,
and what a client missed is read from the chat log.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from messenger.bus.streams import Streams
from messenger.gateway.room import Heard
from messenger.ids import AccountId, ChatId
from messenger.settings import NamespaceOptions
from messenger.wire.messages import Publication

_publication = msgspec.json.Decoder(Publication).decode


class ChatDoor(Protocol):
    """What the gateway needs to know of chats."""

    async def may_open(self, chat: ChatId, account: AccountId) -> bool:
        """Is the account a member; False also for a chat that does not exist."""
        ...

    async def head(self, chat: ChatId) -> tuple[int, int]:
        """(epoch, ev)."""
        ...

    async def since(
        self, chat: ChatId, ev: int, limit: int, account: AccountId | None = None
    ) -> Sequence[tuple[int, bytes]]:
        """(ev, update) of the events after `ev`; empty where they are no longer kept.

        As `account` may see them; None: as everybody may who has the chat open.
        """
        ...


class TopicPositions:
    """Positions and publications of topics that have them."""

    def __init__(self, streams: Streams, chats: ChatDoor) -> None:
        self._streams = streams
        self._chats = chats

    async def position(self, topic: str, options: NamespaceOptions) -> tuple[str, int]:
        if options.source == "chat":
            epoch, ev = await self._chats.head(chat_of(topic))
            return str(epoch), ev
        if options.source == "user":
            attached = await self._streams.attach_user(account_of(topic))
            return attached.epoch, attached.offset
        position = await self._streams.topic_position(topic, options.history_meta_ttl_s)
        return position.epoch, position.offset

    async def since(
        self, topic: str, source: str, offset: int, limit: int, account: AccountId | None = None
    ) -> list[Heard]:
        if source == "chat":
            events = await self._chats.since(chat_of(topic), offset, limit, account)
            return [Heard(ev, update) for ev, update in events]
        entries = await self._streams.since(topic, offset, limit)
        if source == "user":
            return [Heard(at, update) for at, update in entries]
        return [heard_of(at, body) for at, body in entries]


def heard_of(offset: int, body: bytes) -> Heard:
    """A publication of a generic topic, as its stream keeps it."""
    publication = _publication(body)
    return Heard(offset, bytes(publication.data), publication.info, publication.tags or None)


def chat_of(topic: str) -> ChatId:
    return ChatId(int(topic.partition(":")[2]))


def account_of(topic: str) -> AccountId:
    return AccountId(int(topic.partition(":")[2]))

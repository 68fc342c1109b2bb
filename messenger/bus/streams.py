"""Hot windows: append and publish in one script, so that the order of offsets is the order of
delivery; positions, history and presence beside them.

All of it is a cache. Epochs are random and never used twice, so that a Redis that lost data is
noticed (another epoch) instead of being believed.
"""

import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from messenger.bus.bus import Bus
from messenger.bus.keys import (
    idempotency_key,
    meta_key,
    presence_key,
    topic_key,
    user_key,
)
from messenger.bus.link import packed_parts
from messenger.bus.scripts import APPEND, ATTACH, HISTORY, PRESENCE, PRESENT, PUBLISH
from messenger.settings import Settings

STREAM_OUTLIVES_S = 60  # so that numbering never restarts under one epoch
PRESENCE_LEASE_S = 60
IDEMPOTENCY_S = 300


class Position(Struct, frozen=True, gc=False):
    """A place in the life of a stream; epoch "" where the topic keeps no history."""

    epoch: str
    offset: int


# Packed by hand: one append per recipient of a message, a third of the cost of a general packer.
_APPEND = b"*%%d\r\n%b%b" % (
    packed_parts("EVALSHA", APPEND.sha, 2),
    b"$%d\r\n%b:m\r\n$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b%b",
)
_APPEND_PARTS = 9  # besides the updates: EVALSHA, hash, 2, two keys, four arguments

Publications = list[tuple[int, bytes]]
"""(offset, bytes), in the order asked for."""
Appended = Callable[[Position | Exception | None], None]


class Streams:
    """The one place that knows how topics are stored."""

    def __init__(self, bus: Bus, settings: Settings) -> None:
        self._bus = bus
        self._ttl = int(settings.hot_window_ttl)
        self._recovery_max = settings.recovery_max
        self._append_window = packed_parts(settings.hot_window)
        self._lives = "", b""
        self._process = secrets.token_hex(4).encode()
        self._epochs = itertools.count()

    def append_user(self, account: int, *updates: bytes, done: Appended | None = None) -> None:
        """Append to the account's hot window and publish, in one step; nothing if it is inactive.

        At most once. On `user:<account>` goes b"<epoch> <offset> <update>", where several follow
        each other by newlines, under consecutive offsets; they hold no newline themselves. `done`
        gets the last position, None for an inactive account, or the exception.
        """
        key = b"user:{%d}" % account
        shard = self._bus.shard_of(key)
        epoch = b"%b%x" % (self._process, next(self._epochs))
        length = len(key)
        packed = _APPEND % (
            _APPEND_PARTS + len(updates), length + 2, key, length, key,
            self._append_lives(shard.run8), len(epoch), epoch, self._append_window,
            b"$%d\r\n%b\r\n" % (len(updates[0]), updates[0])
            if len(updates) == 1
            else packed_parts(*updates),
        )  # fmt: skip
        shard.send_packed(packed, None if done is None else lambda reply: done(_appended(reply)))

    async def attach_user(self, account: int) -> Position:
        """Keep the account's hot window alive for another hour; its epoch and top."""
        key = user_key(account)
        return _position(
            await self._bus.ask(
                "EVALSHA", ATTACH.sha, 2, meta_key(key), key,
                self._bus.run8(key), self._new_epoch(), self._ttl, self._ttl + STREAM_OUTLIVES_S,
            )
        )  # fmt: skip

    async def since(self, topic: str, offset: int, limit: int) -> Publications:
        """What followed `offset`, oldest first, at most `limit`."""
        key = topic_key(topic)
        entries = await self._bus.ask("XRANGE", key, f"(0-{offset}", "+", "COUNT", limit)
        return _publications(entries)

    async def publish_topic(
        self,
        topic: str,
        publication: bytes,
        size: int = 0,
        ttl: float = 0,
        meta_ttl: float = 0,
        idempotency: str | None = None,
    ) -> Position:
        """Publish on a generic topic, kept where `size` and `ttl` are above 0.

        Epoch and top are kept for `meta_ttl`, and at least until the stream has ended. On
        the topic goes b"p <epoch> <offset> <publication>" ("-" and 0 without history). With an
        `idempotency` key a repeat within 5 minutes publishes nothing and answers the same.
        """
        key = topic_key(topic)
        if ttl <= 0:
            size = 0
        if not size and idempotency is None:
            self._bus.publish(topic, b"p - 0 " + publication)
            return Position("", 0)
        keys = [meta_key(key), key]
        if idempotency is not None:
            keys.append(idempotency_key(topic, idempotency))
        meta_ttl = max(meta_ttl, ttl + STREAM_OUTLIVES_S)
        return _position(
            await self._bus.ask(
                "EVALSHA", PUBLISH.sha, len(keys), *keys,
                publication, self._bus.run8(key), size, _seconds(ttl), _seconds(meta_ttl),
                self._new_epoch(), IDEMPOTENCY_S,
            )
        )  # fmt: skip

    async def topic_position(self, topic: str, meta_ttl: float) -> Position:
        """Epoch and top of a generic topic with history; begins its life if it has none."""
        _, position = await self.topic_history(topic, None, 0, meta_ttl=meta_ttl)
        return position

    async def topic_history(
        self,
        topic: str,
        since: int | None,
        limit: int,
        *,
        meta_ttl: float,
        reverse: bool = False,
    ) -> tuple[Publications, Position]:
        """Publications and the position of the same instant.

        After `since`, or before it if `reverse`; None = from the beginning, or from the end.
        `limit` 0 = the position alone; one reply holds at most `recovery_max`. Epoch and top are
        kept for at least another `meta_ttl`.
        """
        key = topic_key(topic)
        limit = min(limit, self._recovery_max)
        edge = "" if since is None else f"(0-{since}"
        bounds = (edge or "+", "-") if reverse else (edge or "-", "+")
        reply = await self._bus.ask(
            "EVALSHA", HISTORY.sha, 2, meta_key(key), key,
            self._bus.run8(key), self._new_epoch(), _seconds(meta_ttl),
            *bounds, limit, "XREVRANGE" if reverse else "XRANGE",
        )  # fmt: skip
        return _publications(reply[2]), _position(reply)

    def publish_join(self, topic: str, info: bytes) -> None:
        """`info` is the joining client's ClientInfo as JSON."""
        self._bus.publish(topic, b"j " + info)

    def publish_leave(self, topic: str, info: bytes) -> None:
        self._bus.publish(topic, b"l " + info)

    def presence_renew(self, topic: str, client: str, info: bytes) -> None:
        """Begin or renew a lease of 60 s, without waiting; a lost one is made good by the next."""
        key = presence_key(topic)
        self._bus.call("EVALSHA", PRESENT.sha, 1, key, client, info, PRESENCE_LEASE_S)

    def presence_remove(self, topic: str, client: str) -> None:
        self._bus.call("HDEL", presence_key(topic), client)

    async def presence_get(self, topic: str) -> dict[str, bytes]:
        """client -> info of all whose lease runs."""
        flat = await self._bus.ask("EVALSHA", PRESENCE.sha, 1, presence_key(topic))
        return {flat[at].decode(): flat[at + 1] for at in range(0, len(flat), 2)}

    def _append_lives(self, run8: str) -> bytes:
        """The first arguments, which change only with the server's run."""
        if self._lives[0] != run8:
            parts = packed_parts(run8, self._ttl + STREAM_OUTLIVES_S)
            self._lives = run8, parts
        return self._lives[1]

    def _new_epoch(self) -> str:
        """A candidate, used by Redis only where a life begins; cheaper than fresh randomness."""
        return f"{self._process.decode()}{next(self._epochs):x}"


def _seconds(duration: float) -> int:
    return max(1, int(duration))


def _position(reply: Sequence[bytes]) -> Position:
    epoch = reply[0].decode()
    return Position("" if epoch == "-" else epoch, int(reply[1]))


def _appended(reply: Any) -> Position | Exception | None:
    return _position(reply) if isinstance(reply, list) else reply


def _publications(entries: Sequence[tuple[bytes, list[bytes]]]) -> Publications:
    return [(int(entry[0][2:]), entry[1][1]) for entry in entries]

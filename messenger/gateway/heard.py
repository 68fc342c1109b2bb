"""What comes over the bus for a topic, by the kind of topic; the formats are ours.

user:   epoch offset update; more of them follow after newlines, under the next offsets
chat:   ev update | x account (an expulsion)
eph:    update | x close device code | x replaced device client started
others: p epoch offset publication | j client-info | l client-info
"""

import msgspec
from msgspec import Struct

from messenger.gateway.room import Heard
from messenger.wire.messages import ClientInfo, Publication


class Appended(Struct, frozen=True, gc=False):
    """One or more publications with the life they belong to."""

    epoch: str
    heard: tuple[Heard, ...]


class Joined(Struct, frozen=True):
    """Somebody joined the topic."""

    info: ClientInfo


class Left(Struct, frozen=True):
    """Somebody left the topic."""

    info: ClientInfo


class Expelled(Struct, frozen=True):
    """The account is no longer a member of the chat."""

    account: int


class Order(Struct, frozen=True):
    """To the sessions of an account: close, or give way to a newer session of the device."""

    do: str
    device: int
    code: int = 0
    client: str = ""
    started: int = 0


Parsed = Heard | Appended | Joined | Left | Expelled | Order | None

_info = msgspec.json.Decoder(ClientInfo).decode
_publication = msgspec.json.Decoder(Publication).decode


def parse(source: str, payload: bytes) -> Parsed:
    """The payload as what it says; None if it is none of ours."""
    try:
        return _PARSERS[source](payload)
    except (ValueError, IndexError, msgspec.DecodeError):
        return None


def _user(payload: bytes) -> Parsed:
    epoch, at, updates = payload.split(b" ", 2)
    offset = int(at)
    if b"\n" not in updates:
        return Appended(epoch.decode(), (Heard(offset, updates),))
    each = enumerate(updates.split(b"\n"), offset)
    return Appended(epoch.decode(), tuple(Heard(number, update) for number, update in each))


def _chat(payload: bytes) -> Parsed:
    head, rest = payload.split(b" ", 1)
    return Expelled(int(rest)) if head == b"x" else Heard(int(head), rest)


def _eph(payload: bytes) -> Parsed:
    if not payload.startswith(b"x "):
        return Heard(0, payload)
    do, device, *rest = payload[2:].decode().split(" ")
    if do == "close":
        return Order(do, int(device), code=int(rest[0]))
    return Order(do, int(device), client=rest[0], started=int(rest[1]))


def _other(payload: bytes) -> Parsed:
    kind, rest = payload.split(b" ", 1)
    if kind == b"j":
        return Joined(_info(rest))
    if kind == b"l":
        return Left(_info(rest))
    epoch, offset, body = rest.split(b" ", 2)
    publication = _publication(body)
    heard = Heard(int(offset), bytes(publication.data), publication.info, publication.tags or None)
    return Appended(epoch.decode(), (heard,))


_PARSERS = {"user": _user, "chat": _chat, "eph": _eph, "stream": _other, "live": _other}

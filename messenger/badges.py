"""The blue tick as a plain fact on an account or chat, and the rule that reads it.

Verification alone writes facts; everyone reads them. Whether a badge is valid is computed at
every read from the subject's own row and the clock, never by a sweeper that might be late.
"""

import hashlib
import unicodedata
from enum import StrEnum

from msgspec import UNSET, Struct, UnsetType


class BadgeStatus(StrEnum):
    NONE = "none"
    PENDING = "pending"
    EXPIRED = "expired"
    SUSPENDED = "suspended"
    NAME_CHANGED = "name_changed"
    OWNER_CHANGED = "owner_changed"
    VALID = "valid"
    """The tick is drawn for this value only."""


class BadgeFact(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The column `badge`: a small copy of the badge's record. Times are ms since 1970."""

    id: str
    kind: str
    authority: str
    label: str
    icon: str
    not_before: int
    not_after: int
    name_hash: str
    """Of handle and title at the time of issue: another name ends the badge."""
    owner_id: str
    """Of a channel its owner, of an account itself: another owner ends the badge."""
    idx: int
    suspended_until: int | UnsetType = UNSET
    election_id: str | UnsetType = UNSET
    constituency_id: str | UnsetType = UNSET


class Subject(Struct, frozen=True):
    """What a badge is bound to, from the subject's own row."""

    handle: str | None
    title: str
    owner_id: int
    deleted: bool = False


class Badge(Struct, frozen=True):
    """What objects on the wire carry, and only where the badge is valid."""

    kind: str
    label: str
    until: int
    ver: int


def name_hash(handle: str | None, title: str) -> str:
    """16 bytes as hex. The zero byte keeps handle and title from sliding into each other."""
    handle_nfc = unicodedata.normalize("NFC", handle or "")
    title_nfc = unicodedata.normalize("NFC", title)
    return hashlib.sha256(f"{handle_nfc}\0{title_nfc}".encode()).digest()[:16].hex()


def status(fact: BadgeFact | None, subject: Subject, now_ms: int) -> BadgeStatus:
    """The first reason in this order why the tick is not drawn, else VALID."""
    if fact is None or subject.deleted:
        return BadgeStatus.NONE
    by_time = _status_by_time(fact, now_ms)
    if by_time is not BadgeStatus.VALID:
        return by_time
    if name_hash(subject.handle, subject.title) != fact.name_hash:
        return BadgeStatus.NAME_CHANGED
    if str(subject.owner_id) != fact.owner_id:
        return BadgeStatus.OWNER_CHANGED
    return BadgeStatus.VALID


def shown(fact: BadgeFact | None, epoch: int, subject: Subject, now_ms: int) -> Badge | None:
    """The badge of an Account or Chat object, or None where no tick may be drawn."""
    if fact is None or status(fact, subject, now_ms) is not BadgeStatus.VALID:
        return None
    return Badge(fact.kind, fact.label, fact.not_after, epoch)


def _status_by_time(fact: BadgeFact, now_ms: int) -> BadgeStatus:
    if now_ms < fact.not_before:
        return BadgeStatus.PENDING
    if now_ms >= fact.not_after:
        return BadgeStatus.EXPIRED
    if fact.suspended_until is not UNSET and now_ms < fact.suspended_until:
        return BadgeStatus.SUSPENDED
    return BadgeStatus.VALID

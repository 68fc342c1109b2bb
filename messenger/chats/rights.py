"""Who may do what in a chat, and to whom: tables, without clock, socket or await.

The SQL function `may` applies the first half once more under the chat's lock; a test compares the
two for every combination. What is not in a table is refused.
"""

from collections.abc import Iterable
from enum import Enum, IntEnum, StrEnum, unique
from typing import cast

from msgspec import Struct

from messenger.chats.protocol import RightName, RoleName
from messenger.feature import Refused
from messenger.log.events import Right
from messenger.wire.codes import ErrorCode


@unique
class Kind(IntEnum):
    """`chat.kind`."""

    DIRECT = 1
    GROUP = 2
    CHANNEL = 3


@unique
class Role(IntEnum):
    """`membership.role` as it is stored; above LEFT one is a member."""

    BANNED = -1
    LEFT = 0
    MEMBER = 1
    ADMIN = 3
    OWNER = 4


@unique
class Standing(StrEnum):
    """A role as it counts now: restrictions and bans end by themselves."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    RESTRICTED = "restricted"
    BANNED = "banned"
    LEFT = "left"


class Seat(Struct, frozen=True):
    """What a chat holds of one account. `rights`: denied to a member, granted to an admin."""

    role: int = Role.LEFT
    rights: int = 0
    until: int = 0
    """End of the restriction or ban, 0 = none."""


NO_SEAT = Seat()

ALL_RIGHTS = sum(Right)
MEMBER_RIGHTS = Right.POST | Right.MEDIA | Right.INVITE | Right.PIN | Right.CHANGE_INFO
"""What plain members of a group may have at all; the rest is for admins."""
DENIED_IN_NEW_GROUPS = Right.PIN | Right.CHANGE_INFO


def standing(seat: Seat, now_ms: int) -> Standing:
    lasts = seat.until == 0 or seat.until > now_ms
    match seat.role:
        case Role.OWNER:
            return Standing.OWNER
        case Role.ADMIN:
            return Standing.ADMIN
        case Role.MEMBER:
            return Standing.RESTRICTED if seat.rights and lasts else Standing.MEMBER
        case Role.BANNED if lasts:
            return Standing.BANNED
        case _:
            return Standing.LEFT


def may(kind: int, denied: int, seat: Seat, now_ms: int, right: Right) -> bool:
    """May who sits here do what needs `right`? `denied`: the chat's rights column."""
    match standing(seat, now_ms):
        case Standing.OWNER:
            return True
        case Standing.ADMIN:
            return bool(seat.rights & right) or (right is Right.POST and kind != Kind.CHANNEL)
        case Standing.MEMBER:
            own = 0
        case Standing.RESTRICTED:
            own = seat.rights
        case _:
            return False
    return kind != Kind.CHANNEL and bool(right & MEMBER_RIGHTS & ~denied & ~own)


@unique
class Act(Enum):
    """What one member does to another account of the chat."""

    REMOVE = "remove"
    """Removing a banned account lifts the ban."""
    BAN = "ban"
    PROMOTE = "promote"
    DEMOTE = "demote"
    RESTRICT = "restrict"
    TRANSFER = "transfer"


_O, _A, _M, _R, _B, _L = Standing

NEEDS: dict[tuple[Act, Standing, Standing], Right | None] = {
    (Act.REMOVE, _O, _A): None,
    (Act.REMOVE, _O, _M): None,
    (Act.REMOVE, _O, _R): None,
    (Act.REMOVE, _O, _B): None,
    (Act.REMOVE, _A, _M): Right.RESTRICT_MEMBERS,
    (Act.REMOVE, _A, _R): Right.RESTRICT_MEMBERS,
    (Act.REMOVE, _A, _B): Right.RESTRICT_MEMBERS,
    (Act.BAN, _O, _A): None,
    (Act.BAN, _O, _M): None,
    (Act.BAN, _O, _R): None,
    (Act.BAN, _O, _B): None,  # a new end
    (Act.BAN, _O, _L): None,  # before they come
    (Act.BAN, _A, _M): Right.RESTRICT_MEMBERS,
    (Act.BAN, _A, _R): Right.RESTRICT_MEMBERS,
    (Act.BAN, _A, _B): Right.RESTRICT_MEMBERS,
    (Act.BAN, _A, _L): Right.RESTRICT_MEMBERS,
    (Act.PROMOTE, _O, _A): None,  # other rights
    (Act.PROMOTE, _O, _M): None,
    (Act.PROMOTE, _A, _M): Right.ADD_ADMINS,
    (Act.DEMOTE, _O, _A): None,
    (Act.DEMOTE, _O, _M): None,  # is so already
    (Act.DEMOTE, _A, _M): Right.ADD_ADMINS,
    (Act.RESTRICT, _O, _M): None,
    (Act.RESTRICT, _O, _R): None,
    (Act.RESTRICT, _A, _M): Right.RESTRICT_MEMBERS,
    (Act.RESTRICT, _A, _R): Right.RESTRICT_MEMBERS,
    (Act.TRANSFER, _O, _A): None,
    (Act.TRANSFER, _O, _M): None,
}
"""(act, actor, target) -> the right an admin needs for it; None: the role is enough.

Admins do nothing to admins, nobody anything to the owner, nobody anything to oneself.
"""


def check_act(act: Act, actor: Seat, target: Seat, now_ms: int) -> None:
    """Refused(FORBIDDEN, {right}) unless `NEEDS` allows it. The caller excludes acting on oneself.

    Members of a direct chat are plain members, so nothing of this is theirs.
    """
    pair = act, standing(actor, now_ms), standing(target, now_ms)
    if pair not in NEEDS:
        raise forbidden(act.value)
    right = NEEDS[pair]
    if right is not None and not actor.rights & right:
        raise forbidden(right)


def check_granted(actor: Seat, rights: int) -> None:
    """Nobody grants what they do not have."""
    beyond = 0 if actor.role == Role.OWNER else rights & ~actor.rights
    if beyond:
        raise forbidden(Right(beyond & -beyond))


def forbidden(right: Right | str) -> Refused:
    name = right.name.lower() if isinstance(right, Right) else right
    return Refused(ErrorCode.FORBIDDEN, {"right": name})


def bits(names: Iterable[RightName]) -> int:
    """The bits of names from the wire."""
    total = 0
    for name in names:
        total |= Right[name.upper()]
    return total


def names(rights: int) -> list[RightName]:
    return [cast(RightName, right.name.lower()) for right in Right if rights & right]


def role_name(seat: Seat, now_ms: int) -> RoleName:
    return standing(seat, now_ms).value


def counting(seat: Seat, now_ms: int) -> int:
    """The rights as the wire shows them: a restriction that ended is none."""
    return 0 if standing(seat, now_ms) in (Standing.MEMBER, Standing.LEFT) else seat.rights

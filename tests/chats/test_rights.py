"""The rights: every pair of the table, and the SQL twin of `may` for every combination."""

import itertools

import pytest

from messenger.chats.rights import (
    ALL_RIGHTS,
    MEMBER_RIGHTS,
    NEEDS,
    Act,
    Kind,
    Role,
    Seat,
    Standing,
    bits,
    check_act,
    check_granted,
    counting,
    may,
    names,
    role_name,
    standing,
)
from messenger.feature import Refused
from messenger.log.events import Right
from messenger.wire.codes import ErrorCode
from tests.chats.world import World

NOW = 1_000
SEATS = {
    Standing.OWNER: Seat(Role.OWNER),
    Standing.ADMIN: Seat(Role.ADMIN, ALL_RIGHTS),
    Standing.MEMBER: Seat(Role.MEMBER),
    Standing.RESTRICTED: Seat(Role.MEMBER, Right.POST),
    Standing.BANNED: Seat(Role.BANNED),
    Standing.LEFT: Seat(Role.LEFT),
}
EVERYBODY = list(Standing)


def refusal(act: Act, actor: Seat, target: Seat) -> Refused | None:
    try:
        check_act(act, actor, target, NOW)
    except Refused as refused:
        return refused
    return None


def allowed(act: Act, actor: Seat, target: Seat) -> bool:
    refused = refusal(act, actor, target)
    assert refused is None or refused.code is ErrorCode.FORBIDDEN
    assert refused is None or refused.details["right"]
    return refused is None


@pytest.mark.parametrize(
    ("act", "actor", "target"), list(itertools.product(Act, EVERYBODY, EVERYBODY))
)
def test_given_every_pair_then_the_table_alone_decides(
    act: Act, actor: Standing, target: Standing
) -> None:
    assert allowed(act, SEATS[actor], SEATS[target]) is ((act, actor, target) in NEEDS)


@pytest.mark.parametrize(("pair", "right"), list(NEEDS.items()))
def test_given_an_admin_without_the_right_then_the_pair_is_refused(
    pair: tuple[Act, Standing, Standing], right: Right | None
) -> None:
    act, actor, target = pair
    if actor is Standing.OWNER:
        assert right is None
        return
    assert right is not None
    assert allowed(act, Seat(Role.ADMIN, right), SEATS[target])
    assert not allowed(act, Seat(Role.ADMIN, ALL_RIGHTS & ~right), SEATS[target])


@pytest.mark.parametrize("act", Act)
def test_given_the_owner_or_another_admin_then_no_admin_does_anything_to_them(act: Act) -> None:
    for target in (Standing.OWNER, Standing.ADMIN):
        assert not allowed(act, SEATS[Standing.ADMIN], SEATS[target])


@pytest.mark.parametrize("act", Act)
def test_given_who_is_no_admin_then_they_do_nothing_to_anybody(act: Act) -> None:
    for actor in (Standing.MEMBER, Standing.RESTRICTED, Standing.BANNED, Standing.LEFT):
        assert not any(allowed(act, SEATS[actor], target) for target in SEATS.values())


def test_given_ends_then_restrictions_and_bans_are_over_by_themselves() -> None:
    assert standing(Seat(Role.MEMBER, 1, NOW + 1), NOW) is Standing.RESTRICTED
    assert standing(Seat(Role.MEMBER, 1, NOW), NOW) is Standing.MEMBER
    assert standing(Seat(Role.BANNED, 0, NOW + 1), NOW) is Standing.BANNED
    assert standing(Seat(Role.BANNED, 0, NOW), NOW) is Standing.LEFT
    assert role_name(Seat(Role.ADMIN, 1), NOW) == "admin"
    assert counting(Seat(Role.MEMBER, 1, NOW), NOW) == 0
    assert counting(Seat(Role.MEMBER, 1, NOW + 1), NOW) == 1


def test_given_what_an_admin_lacks_then_it_cannot_be_granted() -> None:
    check_granted(Seat(Role.OWNER), ALL_RIGHTS)
    check_granted(Seat(Role.ADMIN, Right.PIN), Right.PIN)
    with pytest.raises(Refused) as refused:
        check_granted(Seat(Role.ADMIN, Right.PIN), Right.PIN | Right.INVITE)
    assert refused.value.details == {"right": "invite"}


def test_given_names_of_rights_then_bits_and_names_are_inverse() -> None:
    for value in range(ALL_RIGHTS + 1):
        assert bits(names(value)) == value & ALL_RIGHTS


def test_given_a_channel_then_plain_members_have_no_right_and_admins_post_only_if_granted() -> None:
    for right in Right:
        assert not may(Kind.CHANNEL, 0, SEATS[Standing.MEMBER], NOW, right)
    assert not may(Kind.CHANNEL, 0, Seat(Role.ADMIN), NOW, Right.POST)
    assert may(Kind.GROUP, 0, Seat(Role.ADMIN), NOW, Right.POST)


async def test_given_every_combination_then_the_database_decides_as_the_table_does(
    world: World,
) -> None:
    combinations = [
        (right, kind, denied, role, own, until)
        for right in Right
        for kind in Kind
        for denied in (0, right, MEMBER_RIGHTS & ~right)
        for role in Role
        for own in (0, right, ALL_RIGHTS & ~right)
        for until in (0, NOW - 1, NOW, NOW + 1)
    ]
    columns = [list(map(int, column)) for column in zip(*combinations, strict=True)]
    sql = (
        "select may($1, r, k::smallint, d, o::smallint, w, u) from unnest($2::int[], $3::int[],"
        " $4::int[], $5::int[], $6::int[], $7::bigint[]) with ordinality"
        " as t(r, k, d, o, w, u, n) order by n"
    )
    async with world.db.statement() as connection:
        decided = (await connection.exec_driver_sql(sql, (NOW, *columns))).scalars().all()

    for combination, yes in zip(combinations, decided, strict=True):
        right, kind, denied, role, own, until = combination
        assert may(kind, denied, Seat(role, own, until), NOW, right) is yes, combination

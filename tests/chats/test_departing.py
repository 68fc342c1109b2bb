"""An account that is gone for good leaves its chats; somebody comes after an owner."""

import pytest

from messenger.accounts.housekeeping import UNDO_DAYS
from messenger.feature import Refused
from tests.chats.world import Person, World


async def goes_for_good(world: World, *persons: Person) -> None:
    """As if they had deleted their accounts a month ago."""
    for person in persons:
        await world.run(
            "update account set status = 1, deleted_at = $2 where account_id = $1",
            person.account,
            world.clock.now_ms() - (UNDO_DAYS + 1) * 86_400_000,
        )
    await world.accounts.housekeeping.round()


async def roles(asker: Person, chat: str) -> dict[str, str]:
    members = (await asker.call("members", chat=chat))["members"]
    return {one["account"]: one["role"] for one in members}


async def test_given_a_member_when_they_are_gone_for_good_then_they_leave_their_groups(
    world: World, mina: Person, reza: Person
) -> None:
    chat, other = await mina.creates(reza), await mina.creates(reza)

    await goes_for_good(world, reza)

    for one in (chat, other):
        changed = await mina.hears("member.changed", chat=one)
        assert (changed["account"], changed["role"]) == (reza.id, "left")
        assert await roles(mina, one) == {mina.id: "owner"}
    assert await world.count("member", "account_id = $1 and flags & 4 = 0", reza.account) == 0


async def test_given_an_owner_when_gone_for_good_then_the_longest_admin_comes_after_them(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    world.clock.passes(seconds=5)
    await mina.call("add_members", chat=chat, accounts=[reza.id])
    await mina.call("set_role", chat=chat, account=reza.id, role="admin", rights=[])

    await goes_for_good(world, mina)

    assert await roles(reza, chat) == {reza.id: "owner", sara.id: "member"}
    assert await world.count("chat", "chat_id = $1 and owner_id = $2", int(chat), reza.account)


async def test_given_an_owner_without_admins_when_gone_then_the_longest_member_is_owner(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    world.clock.passes(seconds=5)
    await mina.call("add_members", chat=chat, accounts=[reza.id])

    await goes_for_good(world, mina)

    assert await roles(reza, chat) == {sara.id: "owner", reza.id: "member"}


async def test_given_all_of_a_group_when_gone_for_good_then_the_group_is_gone_too(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)

    await goes_for_good(world, mina, reza)

    assert await world.count("chat", "chat_id = $1 and flags & 4 <> 0", int(chat)) == 1
    assert await world.count("membership", "chat_id = $1 and role > 0", int(chat)) == 0


async def test_given_a_direct_chat_when_one_is_gone_for_good_then_the_other_keeps_it(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.opens(reza)
    await reza.sends(chat)

    await goes_for_good(world, reza)

    seen = await mina.sees(chat)
    assert seen is not None
    assert seen["last"]["seq"] == 1


@pytest.mark.parametrize("admins", [1, 0])
async def test_given_a_channel_when_its_owner_is_gone_then_an_admin_owns_it_or_nobody(
    world: World, mina: Person, reza: Person, admins: int
) -> None:
    chat = await mina.creates(reza)
    if admins:
        await mina.call("set_role", chat=chat, account=reza.id, role="admin", rights=[])
    await world.run("update chat set kind = 3 where chat_id = $1", int(chat))

    await goes_for_good(world, mina)

    owners = await world.count("membership", "chat_id = $1 and role = 4", int(chat))
    mine = await world.count(
        "membership", "chat_id = $1 and role = 4 and account_id = $2", int(chat), reza.account
    )
    assert (owners, mine) == (1, admins)  # without an admin it stays as it is, to be read


async def test_given_a_house_cut_off_before_the_chats_when_kept_again_then_they_are_left(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    await world.run(
        "update account set status = 2, deleted_at = 1 where account_id = $1", reza.account
    )

    await world.accounts.housekeeping.round()
    await world.accounts.housekeeping.round()

    assert await roles(mina, chat) == {mina.id: "owner"}
    assert await world.count("account", "account_id = $1 and deleted_at is null", reza.account) == 1
    with pytest.raises(Refused):
        await reza.call("members", chat=chat)

"""Contacts, blocks and the privacy matrix."""

import asyncio
from typing import Any

import pytest

from messenger.accounts.blocking import OLD_MS
from messenger.accounts.protocol import Audience
from messenger.ids import AccountId, ChatId
from messenger.wire.codes import ErrorCode
from tests.accounts.world import Person, World, new_phone


async def knows(world: World, owner: Person, other: Person) -> None:
    await world.call(owner, "accounts.import_contacts", phones=[other.phone])


async def opens_direct(world: World, one: Person, other: Person) -> ChatId:
    """The rows of a direct chat, as the chats package leaves them."""
    lo, hi = sorted((one.account, other.account))
    chat = ChatId(world.accounts.devices._mint())
    await world.run("insert into chat(chat_id, kind) values ($1, 1)", chat)
    await world.run("insert into direct(lo_id, hi_id, chat_id) values ($1, $2, $3)", lo, hi, chat)
    for account in (lo, hi):
        await world.run(
            "insert into membership(chat_id, account_id, role) values ($1, $2, 1)", chat, account
        )
    return chat


async def may_post(world: World, chat: ChatId, person: Person) -> bool:
    where = "chat_id = $1 and account_id = $2 and rights & 1 = 0"
    return await world.count("membership", where, chat, person.account) == 1


async def test_given_an_address_book_when_imported_then_only_matches_are_kept(
    world: World, mina: Person, reza: Person
) -> None:
    book = [reza.phone, new_phone(), "*100#", mina.phone, "0" + reza.phone[3:]]
    await world.hears(mina)

    answer = await world.call(
        mina, "accounts.import_contacts", phones=book, names=["رضا", "x", "y", "z", "w"]
    )

    assert [match["phone"] for match in answer["matched"]] == [book[0], book[4]]
    assert {match["account"]["id"] for match in answer["matched"]} == {reza.id}
    contacts = await world.call(mina, "accounts.contacts")
    assert contacts["contacts"] == [{"account": answer["matched"][0]["account"], "name": "رضا"}]
    fact = await world.fact(mina)
    assert fact == {"t": "contact", "aev": fact["aev"], "accounts": [reza.id], "on": True}
    assert await world.count("contact", "account_id = $1", mina.account) == 1


async def test_given_the_same_book_when_imported_again_then_only_a_new_name_is_a_fact(
    world: World, mina: Person, reza: Person
) -> None:
    await world.call(mina, "accounts.import_contacts", phones=[reza.phone], names=["رضا"])
    where = "account_id = $1 and kind = 104"
    await world.call(mina, "accounts.import_contacts", phones=[reza.phone])
    await world.call(mina, "accounts.import_contacts", phones=[reza.phone], names=["رضا"])
    before = await world.count("account_event", where, mina.account)

    await world.call(mina, "accounts.import_contacts", phones=[reza.phone], names=["رضا جان"])

    assert before == 1
    assert await world.count("account_event", where, mina.account) == 2


async def test_given_a_contact_when_removed_then_it_is_gone_and_told_once(
    world: World, mina: Person, reza: Person
) -> None:
    await knows(world, mina, reza)
    await world.hears(mina)

    first = await world.call(mina, "accounts.remove_contact", account=reza.id)
    again = await world.call(mina, "accounts.remove_contact", account=reza.id)

    fact = await world.fact(mina)
    assert fact == {"t": "contact", "aev": first["aev"], "accounts": [reza.id], "on": False}
    assert again == first
    assert await world.call(mina, "accounts.contacts") == {"contacts": []}


async def test_given_many_contacts_when_listed_then_pages_hold_each_once(
    world: World, mina: Person
) -> None:
    peers = range(1_000_001, 1_000_251)
    await world.run(
        "insert into account(account_id, name) select n, 'x'"
        " from generate_series($1::bigint, $2::bigint) n on conflict do nothing",
        peers[0],
        peers[-1],
    )
    await world.run(
        "insert into contact(account_id, peer_id)"
        " select $1, n from generate_series($2::bigint, $3::bigint) n",
        mina.account,
        peers[0],
        peers[-1],
    )

    seen: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = await world.call(mina, "accounts.contacts", **after)
        seen += [contact["account"]["id"] for contact in page["contacts"]]
        if "next" not in page:
            break
        after = {"after": page["next"]}

    assert seen == [str(peer) for peer in peers]


@pytest.mark.parametrize(
    ("audience", "is_contact", "found"),
    [
        ("everyone", False, True),
        ("contacts", False, False),
        ("contacts", True, True),
        ("nobody", True, False),
    ],
)
async def test_given_find_by_phone_when_a_book_is_imported_then_who_hides_is_not_found(
    world: World,
    mina: Person,
    reza: Person,
    audience: Audience,
    is_contact: bool,  # noqa: FBT001 - a row of the table
    found: bool,  # noqa: FBT001
) -> None:
    if is_contact:
        await knows(world, reza, mina)
    await world.call(reza, "accounts.privacy", set={"find_by_phone": audience})

    answer = await world.call(mina, "accounts.import_contacts", phones=[reza.phone])

    assert bool(answer["matched"]) is found


async def test_given_somebody_who_blocks_me_when_i_import_the_number_then_it_is_nobodys(
    world: World, mina: Person, reza: Person
) -> None:
    await world.call(reza, "accounts.block", account=mina.id, on=True)

    assert await world.call(mina, "accounts.import_contacts", phones=[reza.phone]) == {
        "matched": []
    }


async def test_given_nothing_chosen_when_asked_then_the_defaults_are_told(
    world: World, mina: Person
) -> None:
    assert await world.call(mina, "accounts.privacy") == {
        "last_seen": "everyone",
        "add_to_groups": "everyone",
        "find_by_phone": "everyone",
        "who_may_call": "contacts",
        "hide_ip": "never",
        "call_waiting": True,
    }


async def test_given_settings_when_some_are_set_then_the_others_stay(
    world: World, mina: Person
) -> None:
    await world.call(mina, "accounts.privacy", set={"last_seen": "nobody", "hide_ip": "always"})

    answer = await world.call(mina, "accounts.privacy", set={"call_waiting": False})

    assert (answer["last_seen"], answer["hide_ip"], answer["call_waiting"]) == (
        "nobody",
        "always",
        False,
    )
    assert await world.call(mina, "accounts.privacy", set={}) == answer


@pytest.mark.parametrize("matter", ["add_to_groups", "who_may_call", "find_by_phone"])
async def test_given_every_audience_when_contact_and_stranger_ask_then_the_matrix_holds(
    world: World, mina: Person, reza: Person, matter: Any
) -> None:
    contact = await world.person("آشنا")
    await knows(world, mina, contact)
    privacy = world.accounts.privacy

    allowed = {}
    for audience in ("everyone", "contacts", "nobody"):
        await world.call(mina, "accounts.privacy", set={matter: audience})
        allowed[audience] = (
            await privacy.allows(mina.account, matter, contact.account),
            await privacy.allows(mina.account, matter, reza.account),
            await privacy.allows(mina.account, matter, mina.account),
        )

    assert allowed == {
        "everyone": (True, True, True),
        "contacts": (True, False, True),
        "nobody": (False, False, True),
    }


async def test_given_several_owners_when_one_blocks_then_only_the_others_allow(
    world: World, mina: Person, reza: Person
) -> None:
    other = await world.person("سارا")
    await world.call(reza, "accounts.block", account=mina.id, on=True)
    owners = [reza.account, other.account, AccountId(999)]

    allowed = await world.accounts.privacy.allowing(owners, "add_to_groups", mina.account)

    assert allowed == {other.account}


async def test_given_a_block_when_set_then_only_its_maker_is_told(
    world: World, mina: Person, reza: Person
) -> None:
    await world.hears(mina)
    await world.hears(reza)

    answer = await world.call(mina, "accounts.block", account=reza.id, on=True)
    again = await world.call(mina, "accounts.block", account=reza.id, on=True)

    fact = await world.fact(mina)
    assert fact == {"t": "blocked", "aev": answer["aev"], "account": reza.id, "on": True}
    assert again == answer
    blocked = await world.call(mina, "accounts.blocked")
    assert [account["id"] for account in blocked["accounts"]] == [reza.id]
    assert await world.call(reza, "accounts.blocked") == {"accounts": []}
    assert world.heard[f"user:{reza.id}"].empty()
    assert world.heard[f"eph:{reza.id}"].empty()


async def test_given_a_direct_chat_when_one_side_blocks_then_the_other_may_not_post(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await opens_direct(world, mina, reza)

    await world.call(mina, "accounts.block", account=reza.id, on=True)
    blocked = await may_post(world, chat, reza), await may_post(world, chat, mina)
    await world.call(mina, "accounts.block", account=reza.id, on=False)

    assert blocked == (False, True)
    assert await may_post(world, chat, reza)
    assert await world.count("chat", "chat_id = $1 and member_ver = 2", chat) == 1
    assert await world.count("outbox_a", "account_id = $1", mina.account) == 0


async def test_given_both_sides_blocking_when_one_unblocks_then_only_that_right_returns(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await opens_direct(world, mina, reza)
    await world.call(mina, "accounts.block", account=reza.id, on=True)
    await world.call(reza, "accounts.block", account=mina.id, on=True)

    await world.call(mina, "accounts.block", account=reza.id, on=False)

    assert await may_post(world, chat, reza)
    assert not await may_post(world, chat, mina)


async def test_given_a_block_older_than_the_chat_when_the_chat_is_made_then_settling_applies_it(
    world: World, mina: Person, reza: Person
) -> None:
    await world.call(mina, "accounts.block", account=reza.id, on=True)
    chat = await opens_direct(world, mina, reza)

    await world.accounts.blocks.settle_both(reza.account, mina.account)

    assert not await may_post(world, chat, reza)
    assert await may_post(world, chat, mina)


async def test_given_a_crash_between_the_halves_when_the_poller_comes_then_the_second_follows(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await opens_direct(world, mina, reza)
    relations = world.accounts.blocks._relations
    await relations.set_block(mina.account, reza.account, world.clock.now_ms(), on=True, most=10)
    young = await world.accounts.blocks.settle_left()
    before = await may_post(world, chat, reza)
    world.clock.passes(seconds=OLD_MS / 1_000 + 1)

    repeated = await world.accounts.blocks.settle_left()

    assert (young, before, repeated) == (0, True, 1)
    assert not await may_post(world, chat, reza)
    assert await world.accounts.blocks.settle_left() == 0


async def test_given_blocks_and_unblocks_at_once_when_all_are_acked_then_chat_and_row_agree(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await opens_direct(world, mina, reza)

    await asyncio.gather(
        *(world.call(mina, "accounts.block", account=reza.id, on=bool(n % 2)) for n in range(10))
    )

    where = "account_id = $1 and peer_id = $2"
    blocked = await world.count("block", where, mina.account, reza.account) == 1
    assert await may_post(world, chat, reza) is not blocked


@pytest.mark.parametrize("account", ["own", "9223372036854775808", "123456"])
async def test_given_nobody_to_block_when_blocked_then_it_is_refused_and_nothing_is_stored(
    world: World, mina: Person, account: str
) -> None:
    wanted = mina.id if account == "own" else account

    refusal = await world.refusal(mina, "accounts.block", account=wanted, on=True)

    expected = ErrorCode.NOT_FOUND if account == "123456" else ErrorCode.INVALID
    assert refusal.code is expected
    assert await world.count("block", "account_id = $1", mina.account) == 0

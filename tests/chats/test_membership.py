"""Seats: who gets, loses and changes one, who hears of it, and what is refused."""

import asyncio

import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.chats.world import SMALL, Person, World, an_id

MEMBER, ROLE, BIG = 7, 8, 9


# Adding


async def test_given_a_group_when_one_is_added_then_all_members_and_the_new_one_hear_of_it(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza)

    added = await mina.call("add_members", chat=chat, accounts=[sara.id])

    assert added == {"added": [sara.id], "skipped": [], "ev": 1}
    # sara's is a fact of her account and an event of the chat: no order between two lines
    hers = await sara.hears_each("member.changed", "chat.joined", chat=chat)
    for changed in [
        await mina.hears("member.changed", chat=chat),
        await reza.hears("member.changed", chat=chat),
        hers["member.changed"],
    ]:
        assert changed == {
            "t": "member.changed",
            "chat": chat,
            "ev": 1,
            "account": sara.id,
            "role": "member",
            "by": mina.id,
        }
    assert hers["chat.joined"]["info"]["last"]["ev"] == 1
    seen = await sara.sees(chat)
    assert seen is not None
    assert seen["members"] == 3
    assert await world.events(chat) == [(1, MEMBER, {"account": sara.id, "role": "member"})]


async def test_given_messages_before_when_one_is_added_then_none_of_them_is_unread(
    mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    for _ in range(3):
        await mina.sends(chat)

    await mina.call("add_members", chat=chat, accounts=[sara.id])

    seen = await sara.sees(chat)
    assert seen is not None
    assert (seen["me"]["joined_seq"], seen["me"]["read_seq"], seen["last"]["seq"]) == (3, 3, 3)


async def test_given_some_who_cannot_be_added_then_the_others_are_and_each_has_a_reason(
    world: World, mina: Person, reza: Person
) -> None:
    banned, fine, shy = await world.people(3)
    await world.call(shy.caller, "accounts.privacy", b'{"set":{"add_to_groups":"contacts"}}')
    chat = await mina.creates(reza)
    await mina.call("remove_member", chat=chat, account=banned.id, ban=True)
    unknown = an_id()

    accounts = [banned.id, fine.id, reza.id, shy.id, unknown, fine.id]
    added = await mina.call("add_members", chat=chat, accounts=accounts)

    assert added["added"] == [fine.id]
    assert {one["account"]: one["why"] for one in added["skipped"]} == {
        banned.id: "banned",
        reza.id: "member",
        shy.id: "privacy",
        unknown: "unknown",
    }
    again = await mina.call("add_members", chat=chat, accounts=accounts)
    assert (again["added"], again["ev"]) == ([], added["ev"])


async def test_given_the_same_account_added_by_many_at_once_then_it_joins_once(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()

    added = await asyncio.gather(
        *(mina.call("add_members", chat=chat, accounts=[sara.id]) for _ in range(8))
    )

    assert [one["added"] for one in added].count([sara.id]) == 1
    assert len(await world.events(chat)) == 1
    assert [update["t"] for update in sara.heard_of(chat)].count("chat.joined") == 1


async def test_given_a_small_group_when_it_passes_the_limit_then_it_becomes_big_for_ever(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza, *await world.people(SMALL - 2))
    heard = await world.topic(f"chat:{chat}")
    extra, other = await world.people(2)

    added = await mina.call("add_members", chat=chat, accounts=[extra.id])

    assert await reza.hears("chat.big", chat=chat) == {"t": "chat.big", "chat": chat, "ev": 2}
    assert added["ev"] == 2
    for person in (mina, reza, extra):
        seen = await person.sees(chat)
        assert seen is not None
        assert seen["big"]
    assert await world.count("member", "chat_id = $1 and flags & 1 = 0", int(chat)) == 0
    assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0
    reza.heard_of(chat)
    await mina.call("add_members", chat=chat, accounts=[other.id])
    await heard.says(b"3 ")
    assert reza.heard_of(chat) == []  # it came on the chat's topic alone
    await mina.call("remove_member", chat=chat, account=extra.id)
    await mina.call("remove_member", chat=chat, account=other.id)
    seen = await mina.sees(chat)
    assert seen is not None
    assert (seen["big"], seen["members"]) == (True, SMALL)
    assert [kind for _, kind, _ in await world.events(chat)] == [
        MEMBER,
        BIG,
        MEMBER,
        MEMBER,
        MEMBER,
    ]


async def test_given_plain_members_then_they_may_add_unless_it_is_denied_to_them(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    one, other = await world.people(2)

    await reza.call("add_members", chat=chat, accounts=[one.id])
    await mina.call("update", chat=chat, rights=["invite"])

    refused = await reza.refusal("add_members", chat=chat, accounts=[other.id])
    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "invite"})
    await mina.call("update", chat=chat, rights=[])
    await mina.call("restrict", chat=chat, account=reza.id, deny=["invite"])
    refused = await reza.refusal("add_members", chat=chat, accounts=[other.id])
    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "invite"})


# Removing and banning


async def test_given_a_removal_then_the_removed_hears_only_that_and_the_others_who_did_it(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza, sara)
    await sara.hears("chat.joined", chat=chat)
    topic = await world.topic(f"chat:{chat}")

    done = await mina.call("remove_member", chat=chat, account=sara.id)

    changed = await reza.hears("member.changed", chat=chat)
    assert (changed["ev"], changed["role"], changed["by"]) == (done["ev"], "left", mina.id)
    left = await sara.hears("chat.left", chat=chat)
    assert left["why"] == "removed"
    await mina.call("update", chat=chat, title="بی سارا")
    await reza.hears("chat.updated", chat=chat)
    assert sara.heard_of(chat) == []
    await topic.says(b"x %d" % sara.account)  # her subscriptions end
    assert await sara.sees(chat) is None
    assert (await sara.refusal("members", chat=chat)).code is ErrorCode.NO_CHAT
    assert (await sara.call("list"))["chats"] == []


async def test_given_a_removed_member_when_removed_again_then_nothing_changes(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    first = await mina.call("remove_member", chat=chat, account=sara.id)

    again = await mina.call("remove_member", chat=chat, account=sara.id)
    never = await mina.call("remove_member", chat=chat, account=an_id())

    assert again == never == first
    assert len(await world.events(chat)) == 1


async def test_given_a_ban_then_its_end_lets_the_account_in_again(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    until = world.clock.now_ms() + 60_000

    await mina.call("remove_member", chat=chat, account=sara.id, ban=True, until=until)

    assert (await sara.hears("chat.left", chat=chat))["why"] == "banned"
    listed = await mina.call("members", chat=chat, role="banned")
    assert [one["account"] for one in listed["members"]] == [sara.id]
    added = await mina.call("add_members", chat=chat, accounts=[sara.id])
    assert added["skipped"] == [{"account": sara.id, "why": "banned"}]
    world.clock.passes(seconds=61)
    added = await mina.call("add_members", chat=chat, accounts=[sara.id])
    assert added["added"] == [sara.id]
    assert (await mina.members(chat))[sara.id] == "member"


async def test_given_a_ban_when_the_account_is_removed_without_one_then_it_is_lifted(
    mina: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    await mina.call("remove_member", chat=chat, account=sara.id, ban=True)

    await mina.call("remove_member", chat=chat, account=sara.id)

    added = await mina.call("add_members", chat=chat, accounts=[sara.id])
    assert added["added"] == [sara.id]


async def test_given_somebody_who_never_came_when_banned_then_the_door_is_shut(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza)

    await mina.call("remove_member", chat=chat, account=sara.id, ban=True)

    added = await reza.call("add_members", chat=chat, accounts=[sara.id])
    assert added["skipped"] == [{"account": sara.id, "why": "banned"}]
    assert sara.heard_of(chat) == []
    refused = await mina.refusal("remove_member", chat=chat, account=an_id(), ban=True)
    assert (refused.code, refused.details) == (ErrorCode.NOT_FOUND, {"what": "account"})
    assert await world.count("membership", "chat_id = $1", int(chat)) == 3


async def test_given_a_banned_member_then_they_cannot_write_after_the_ack(
    mina: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    await sara.sends(chat)

    await mina.call("remove_member", chat=chat, account=sara.id, ban=True)

    with pytest.raises(Refused) as refused:
        await sara.sends(chat)
    assert refused.value.code is ErrorCode.BANNED


# Leaving


async def test_given_a_member_when_leaving_then_repeating_it_answers_the_same(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza, sara)

    left = await sara.call("leave", chat=chat)
    again = await sara.call("leave", chat=chat)

    assert again == left
    fact = await sara.hears("chat.left", chat=chat)
    assert (fact["aev"], fact["why"]) == (left["aev"], "left")
    changed = await reza.hears("member.changed", chat=chat)
    assert (changed["account"], changed["role"], changed["by"]) == (sara.id, "left", sara.id)
    assert len(await world.events(chat)) == 1
    assert await sara.sees(chat) is None


async def test_given_the_owner_then_leaving_is_refused_until_somebody_else_owns_it(
    mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)

    assert (await mina.refusal("leave", chat=chat)).code is ErrorCode.LAST_OWNER
    await mina.call("transfer", chat=chat, account=reza.id)
    await mina.call("leave", chat=chat)

    assert await reza.members(chat) == {reza.id: "owner"}


async def test_given_a_member_who_left_when_added_again_then_cursors_go_on_from_there(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    await mina.sends(chat)
    await sara.call("leave", chat=chat)
    await mina.sends(chat)

    await mina.call("add_members", chat=chat, accounts=[sara.id])

    seen = await sara.sees(chat)
    assert seen is not None
    assert seen["me"]["read_seq"] == seen["me"]["joined_seq"] == 2
    assert await world.count("member", "account_id = $1", sara.account) == 1

"""Seats: who gets, loses and changes one, who hears of it, and what is refused."""

import asyncio
from typing import Any

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
    for person in (mina, reza, sara):
        changed = await person.hears("member.changed", chat=chat)
        assert changed == {
            "t": "member.changed",
            "chat": chat,
            "ev": 1,
            "account": sara.id,
            "role": "member",
            "by": mina.id,
        }
    joined = await sara.hears("chat.joined", chat=chat)
    assert joined["info"]["last"]["ev"] == 1
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


# Roles


async def test_given_a_member_when_promoted_then_the_granted_rights_count_and_no_others(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza, sara)

    await mina.call(
        "set_role", chat=chat, account=reza.id, role="admin", rights=["restrict_members"]
    )

    changed = await sara.hears("member.changed", chat=chat)
    assert (changed["account"], changed["role"]) == (reza.id, "admin")
    seen = await reza.sees(chat)
    assert seen is not None
    assert (seen["me"]["role"], seen["me"]["rights"]) == ("admin", ["restrict_members"])
    await reza.call("restrict", chat=chat, account=sara.id, deny=["media"])
    refused = await reza.refusal("update", chat=chat, title="x")
    assert refused.details == {"right": "change_info"}
    refused = await reza.refusal("set_role", chat=chat, account=sara.id, role="admin")
    assert refused.code is ErrorCode.FORBIDDEN
    assert await world.count("member", "chat_id = $1 and role = 3", int(chat)) == 1


async def test_given_an_admin_when_granting_more_than_they_have_then_it_is_refused(
    mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza, sara)
    rights = ["add_admins", "pin"]
    await mina.call("set_role", chat=chat, account=reza.id, role="admin", rights=rights)

    refused = await reza.refusal(
        "set_role", chat=chat, account=sara.id, role="admin", rights=["pin", "change_info"]
    )

    assert refused.details == {"right": "change_info"}
    await reza.call("set_role", chat=chat, account=sara.id, role="admin", rights=["pin"])
    demoted = await reza.refusal("set_role", chat=chat, account=sara.id, role="member")
    assert demoted.code is ErrorCode.FORBIDDEN  # admins do nothing to admins
    await mina.call("set_role", chat=chat, account=sara.id, role="member")
    assert (await mina.members(chat))[sara.id] == "member"


async def test_given_the_role_one_has_already_then_no_event_is_made(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    admin = {"chat": chat, "account": reza.id, "role": "admin", "rights": ["pin"]}

    first = await mina.call("set_role", **admin)
    again = await mina.call("set_role", **admin)

    assert again == first == {"ev": 1}
    assert len(await world.events(chat)) == 1


async def test_given_a_restriction_then_it_denies_until_its_end_and_survives_leaving(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    until = world.clock.now_ms() + 3_600_000

    await mina.call("restrict", chat=chat, account=sara.id, deny=["post"], until=until)

    with pytest.raises(Refused):
        await sara.sends(chat)
    seen = await sara.sees(chat)
    assert seen is not None
    assert (seen["me"]["role"], seen["me"]["rights"]) == ("restricted", ["post"])
    await sara.call("leave", chat=chat)
    await mina.call("add_members", chat=chat, accounts=[sara.id])
    assert (await mina.members(chat))[sara.id] == "restricted"
    restricted = await mina.call("members", chat=chat, role="restricted")
    assert [one["account"] for one in restricted["members"]] == [sara.id]
    world.clock.passes(seconds=3_601)
    assert (await mina.members(chat))[sara.id] == "member"


async def test_given_a_restriction_when_nothing_is_denied_then_it_is_lifted(
    mina: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    await mina.call("restrict", chat=chat, account=sara.id, deny=["post", "add_admins"])
    assert (await mina.call("members", chat=chat, role="restricted"))["members"][0]["rights"] == [
        "post"
    ]

    await mina.call("restrict", chat=chat, account=sara.id, deny=[])

    assert (await sara.sends(chat)).seq == 1


async def test_given_two_admins_who_act_on_one_member_at_once_then_both_are_answered(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza, sara)
    rights = ["restrict_members"]
    await mina.call("set_role", chat=chat, account=reza.id, role="admin", rights=rights)

    done = await asyncio.gather(
        mina.call("restrict", chat=chat, account=sara.id, deny=["post"]),
        reza.call("restrict", chat=chat, account=sara.id, deny=["media"]),
        mina.call("restrict", chat=chat, account=sara.id, deny=["pin"]),
        reza.call("remove_member", chat=chat, account=sara.id),
        return_exceptions=True,
    )

    refused = [one for one in done if isinstance(one, Refused)]
    assert all(one.code is ErrorCode.FORBIDDEN for one in refused)  # she was gone by then
    assert sara.id not in await mina.members(chat)
    assert len(await world.events(chat)) == 1 + len(done) - len(refused)


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


# Refusals


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("add_members", {"accounts": ["7"]}),
        ("remove_member", {"account": "7"}),
        ("remove_member", {"account": "7", "ban": True}),
        ("set_role", {"account": "7", "role": "admin", "rights": ["pin"]}),
        ("set_role", {"account": "7", "role": "member"}),
        ("restrict", {"account": "7", "deny": ["post"]}),
        ("transfer", {"account": "7"}),
        ("delete", {}),
        ("leave", {}),
        ("update", {"title": "x"}),
        ("members", {}),
        ("log", {}),
        ("links", {}),
        ("link_create", {}),
        ("requests", {}),
        ("answer_request", {"account": "7", "accept": True}),
        ("mute", {"until": 5}),
        ("pin", {"rank": 1}),
        ("folder", {"n": 1}),
        ("draft", {"text": "x"}),
        ("clear", {"up_to_seq": 1}),
        ("pin_message", {"seq": 1, "on": True}),
        ("pins", {}),
        ("report", {"reason": "spam"}),
    ],
)
async def test_given_no_member_then_a_chat_answers_as_if_it_did_not_exist(
    world: World, mina: Person, sara: Person, method: str, fields: dict[str, Any]
) -> None:
    chat = await mina.creates()

    for unknown in (chat, an_id(), "9999999999999999999"):
        refused = await sara.refusal(method, chat=unknown, **fields)
        assert (refused.code, refused.details) == (ErrorCode.NO_CHAT, {})

    assert await world.events(chat) == []
    assert await world.count("membership", "chat_id = $1", int(chat)) == 1


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("remove_member", {}),
        ("remove_member", {"ban": True}),
        ("set_role", {"role": "admin"}),
        ("set_role", {"role": "member"}),
        ("restrict", {"deny": ["post"]}),
        ("transfer", {}),
    ],
)
async def test_given_oneself_or_a_plain_member_who_acts_then_it_is_refused_without_an_event(
    world: World, mina: Person, reza: Person, sara: Person, method: str, fields: dict[str, Any]
) -> None:
    chat = await mina.creates(reza, sara)

    for actor, target in ((mina, mina), (reza, sara), (reza, mina), (reza, reza)):
        refused = await actor.refusal(method, chat=chat, account=target.id, **fields)
        assert refused.code is ErrorCode.FORBIDDEN
        assert refused.details["right"]

    assert await world.events(chat) == []


async def test_given_an_end_in_the_past_then_bans_and_restrictions_are_refused(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)

    for method, fields in (("remove_member", {"ban": True}), ("restrict", {"deny": ["post"]})):
        refused = await mina.refusal(method, chat=chat, account=reza.id, until=1, **fields)
        assert (refused.code, refused.details["field"]) == (ErrorCode.INVALID, "until")
    assert await world.events(chat) == []


async def test_given_a_full_group_then_adding_names_the_limit(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    await world.run("update chat set member_count = 200000 where chat_id = $1", int(chat))

    refused = await mina.refusal("add_members", chat=chat, accounts=[sara.id])

    assert (refused.code, refused.details) == (ErrorCode.CHAT_FULL, {"limit": 200_000})
    assert await world.count("membership", "chat_id = $1", int(chat)) == 1

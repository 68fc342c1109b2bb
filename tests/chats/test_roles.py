"""Roles and restrictions: what they let one do, and what is refused to whom."""

import asyncio
from typing import Any

import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World, an_id


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

"""chats.open_direct: one chat for each pair, whoever opens it and however often."""

import asyncio

import pytest

from messenger.accounts.store.relations import RelationStore
from messenger.feature import Refused
from messenger.ids import ChatId
from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World, an_id


async def test_given_two_people_when_one_opens_a_direct_chat_then_both_have_it(
    mina: Person, reza: Person
) -> None:
    opened = await mina.call("open_direct", account=reza.id)

    assert opened["created"]
    chat = opened["chat"]["id"]
    for person, peer in ((mina, reza), (reza, mina)):
        joined = await person.hears("chat.joined", chat=chat)
        assert joined["info"]["kind"] == "direct"
        assert joined["info"]["peer"] == peer.id
        seen = await person.sees(chat)
        assert seen is not None
        assert (seen["peer"], seen["peer_read"], seen["me"]["role"]) == (peer.id, 0, "member")
        assert "title" not in seen


async def test_given_a_direct_chat_when_either_opens_it_again_then_it_is_the_same(
    mina: Person, reza: Person
) -> None:
    chat = await mina.opens(reza)

    again = await reza.call("open_direct", account=mina.id)

    assert (again["chat"]["id"], again["created"]) == (chat, False)
    assert await mina.opens(reza) == chat


async def test_given_both_sides_at_once_on_many_devices_then_there_is_one_chat(
    world: World, mina: Person, reza: Person
) -> None:
    tries = [mina.call("open_direct", account=reza.id) for _ in range(3)]
    tries += [reza.call("open_direct", account=mina.id) for _ in range(3)]

    opened = await asyncio.gather(*tries)

    [chat] = {one["chat"]["id"] for one in opened}
    assert [one["created"] for one in opened].count(True) == 1
    assert await world.count("membership", "account_id = $1", mina.account) == 1
    assert await world.count("member", "chat_id = $1", int(chat)) == 2
    for person in (mina, reza):
        assert [update["t"] for update in person.heard_of(chat)] == ["chat.joined"]


async def test_given_ones_own_id_then_it_is_the_saved_messages(mina: Person) -> None:
    opened = await mina.call("open_direct", account=mina.id)

    assert opened["created"]
    assert opened["chat"]["peer"] == mina.id
    assert opened["chat"]["members"] == 1
    assert await mina.opens(mina) == opened["chat"]["id"]


async def test_given_a_reservation_that_a_crash_left_then_opening_finishes_that_chat(
    world: World, mina: Person, reza: Person
) -> None:
    chat = int(an_id())
    pair = min(mina.account, reza.account), max(mina.account, reza.account)
    await world.run("insert into direct(lo_id, hi_id, chat_id) values ($1, $2, $3)", *pair, chat)

    opened = await reza.call("open_direct", account=mina.id)

    assert (opened["chat"]["id"], opened["created"]) == (str(chat), True)


async def test_given_somebody_who_blocks_me_then_a_first_chat_opens_like_any_other(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    await world.call(reza.caller, "accounts.block", b'{"account":"%d","on":true}' % mina.account)

    opened = await mina.call("open_direct", account=reza.id)
    other = await mina.call("open_direct", account=sara.id)

    assert opened["created"]
    told = {**other["chat"], "id": opened["chat"]["id"], "peer": reza.id}  # a block is never told
    assert {**opened["chat"], "last": told["last"]} == told
    with pytest.raises(Refused) as refused:
        await mina.sends(opened["chat"]["id"])
    assert refused.value.code is ErrorCode.FORBIDDEN
    assert (await reza.sends(opened["chat"]["id"])).seq == 1


async def test_given_somebody_i_block_when_i_open_a_chat_then_only_i_may_write_in_it(
    world: World, mina: Person, reza: Person
) -> None:
    await world.call(mina.caller, "accounts.block", b'{"account":"%d","on":true}' % reza.account)

    chat = await mina.opens(reza)

    assert (await mina.sends(chat)).seq == 1
    with pytest.raises(Refused) as refused:
        await reza.sends(chat)
    assert refused.value.code is ErrorCode.FORBIDDEN
    seen = await reza.sees(chat)
    assert seen is not None
    assert (seen["me"]["role"], seen["me"]["rights"]) == ("member", [])
    assert await reza.members(chat) == {mina.id: "member", reza.id: "member"}


async def test_given_a_chat_when_the_other_side_blocks_me_then_opening_it_still_answers(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.opens(reza)
    await world.call(reza.caller, "accounts.block", b'{"account":"%d","on":true}' % mina.account)

    assert await mina.opens(reza) == chat


async def test_given_nobody_with_that_id_then_it_is_refused(world: World, mina: Person) -> None:
    for account in (an_id(), "9999999999999999999"):
        refused = await mina.refusal("open_direct", account=account)
        assert refused.code in (ErrorCode.NOT_FOUND, ErrorCode.INVALID)
    assert await world.count("direct", "$1 in (lo_id, hi_id)", mina.account) == 0


@pytest.mark.parametrize(
    ("days", "rule", "most"), [(0, "msg.stranger_new", 3), (2, "msg.stranger", 4)]
)
async def test_given_many_first_chats_with_strangers_then_the_limit_names_itself(
    world: World, mina: Person, days: int, rule: str, most: int
) -> None:
    strangers = await world.people(most + 1)
    world.clock.passes(seconds=days * 86_400)
    for stranger in strangers[:most]:
        await mina.opens(stranger)

    refused = await mina.refusal("open_direct", account=strangers[most].id)

    assert refused.code is ErrorCode.RATE_LIMITED
    assert refused.details["rule"] == rule
    assert refused.details["retry_after_ms"] > 0
    assert await mina.opens(strangers[0])  # what is open is not counted again
    assert await world.count("direct", "$1 in (lo_id, hi_id)", strangers[most].account) == 0


async def test_given_people_who_have_me_as_a_contact_then_they_are_no_strangers(
    world: World, mina: Person
) -> None:
    friends = await world.people(5)
    for friend in friends:
        contacts = {mina.account: "مینا"}
        await RelationStore(world.db).put_contacts(
            friend.account, contacts, world.clock.now_ms(), 100
        )

    for friend in friends:
        await mina.opens(friend)


async def test_given_a_direct_chat_then_what_belongs_to_groups_is_refused(
    mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.opens(reza)

    for method, more in (
        ("update", {"title": "x"}),
        ("update", {"slow_s": 5}),
        ("update", {"username": "somebody"}),
        ("add_members", {"accounts": [sara.id]}),
        ("remove_member", {"account": reza.id}),
        ("remove_member", {"account": reza.id, "ban": True}),
        ("set_role", {"account": reza.id, "role": "admin"}),
        ("restrict", {"account": reza.id, "deny": ["post"]}),
        ("transfer", {"account": reza.id}),
        ("delete", {}),
        ("leave", {}),
        ("link_create", {}),
        ("links", {}),
        ("requests", {}),
        ("log", {}),
    ):
        refused = await mina.refusal(method, chat=chat, **more)
        assert refused.code is ErrorCode.FORBIDDEN, method
    assert (await mina.sees(chat) or {})["last"]["ev"] == 0


async def test_given_a_chat_of_two_then_nobody_else_sees_that_it_exists(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.opens(reza)

    assert await sara.sees(chat) is None
    assert await world.chats.views.public(sara.account, ChatId(int(chat))) is None
    refused = await sara.refusal("members", chat=chat)
    assert refused.code is ErrorCode.NO_CHAT

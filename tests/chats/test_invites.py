"""Links, requests and usernames: who comes in, how often, and who only asks."""

import asyncio
import hashlib
from typing import Any

import pytest

from messenger.feature import Refused
from messenger.ids import ChatId
from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World, an_id


async def a_link(owner: Person, chat: str, **more: Any) -> str:
    return str((await owner.call("link_create", chat=chat, **more))["link"])


# Links


async def test_given_a_link_when_somebody_joins_by_it_then_they_are_in_and_all_hear_it(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza)
    link = await a_link(mina, chat)

    joined = await sara.call("join", link=link)

    assert joined["state"] == "member"
    assert joined["chat"]["id"] == chat
    assert joined["chat"]["me"]["role"] == "member"
    changed = await reza.hears("member.changed", chat=chat)
    assert (changed["account"], changed["role"], changed["by"]) == (sara.id, "member", sara.id)
    assert (await sara.hears("chat.joined", chat=chat))["info"]["kind"] == "group"
    again = await sara.call("join", link=link)
    assert again["state"] == "member"
    assert len(await world.events(chat)) == 1
    assert (await mina.call("links", chat=chat))["links"][0]["uses"] == 1


async def test_given_a_link_then_only_its_hash_is_kept(world: World, mina: Person) -> None:
    chat = await mina.creates()

    link = await a_link(mina, chat, max_uses=3, approval=True)

    secret = link.partition(".")[2]
    assert len(secret) >= 32
    kept = hashlib.sha256(secret.encode()).digest()
    assert await world.count("invite_link", "chat_id = $1 and link_hash = $2", int(chat), kept) == 1
    [listed] = (await mina.call("links", chat=chat))["links"]
    at = listed.pop("at")
    assert at > 0
    assert listed == {
        "id": f"{chat}.{kept.hex()}",
        "creator": mina.id,
        "uses": 0,
        "approval": True,
        "max_uses": 3,
    }
    assert secret not in str(listed)


async def test_given_a_link_for_three_when_ten_join_at_once_then_three_are_in(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()
    link = await a_link(mina, chat, max_uses=3)
    crowd = await world.people(10)

    done = await asyncio.gather(
        *(person.call("join", link=link) for person in crowd), return_exceptions=True
    )

    refused = [one for one in done if isinstance(one, Refused)]
    assert len(refused) == 7
    assert {one.code for one in refused} == {ErrorCode.LINK_DEAD}
    assert len(await mina.members(chat)) == 4
    assert (await mina.call("links", chat=chat))["links"][0]["uses"] == 3
    assert len(await world.events(chat)) == 3
    assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0


async def test_given_a_link_with_an_end_then_it_is_dead_after_it(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    link = await a_link(mina, chat, expires_at=world.clock.now_ms() + 60_000)
    world.clock.passes(seconds=61)

    refused = await sara.refusal("join", link=link)

    assert refused.code is ErrorCode.LINK_DEAD
    assert await world.events(chat) == []


@pytest.mark.parametrize("by_id", [False, True])
async def test_given_a_revoked_link_then_nobody_comes_in_and_who_came_stays(
    mina: Person, reza: Person, sara: Person, *, by_id: bool
) -> None:
    chat = await mina.creates()
    link = await a_link(mina, chat)
    await reza.call("join", link=link)
    listed = (await mina.call("links", chat=chat))["links"][0]["id"]

    await mina.call("link_revoke", link=listed if by_id else link)
    await mina.call("link_revoke", link=listed)

    assert (await sara.refusal("join", link=link)).code is ErrorCode.LINK_DEAD
    assert (await mina.call("links", chat=chat))["links"] == []
    assert reza.id in await mina.members(chat)


async def test_given_what_is_no_link_then_all_answers_are_alike(mina: Person, sara: Person) -> None:
    chat = await mina.creates()
    link = await a_link(mina, chat)
    listed = (await mina.call("links", chat=chat))["links"][0]["id"]
    other = f"{an_id()}.{link.partition('.')[2]}"

    for text in (link[:-1] + "~", link[:-1], "", "x", listed, other, f"{'9' * 19}.{'a' * 43}"):
        refused = await sara.refusal("join", link=text)
        assert (refused.code, refused.details) == (ErrorCode.LINK_DEAD, {})
        revoking = await sara.refusal("link_revoke", link=text)
        assert revoking.code in (ErrorCode.LINK_DEAD, ErrorCode.NO_CHAT)
    for fields in ({}, {"link": link, "username": "somebody"}):
        assert (await sara.refusal("join", **fields)).code is ErrorCode.INVALID


async def test_given_a_banned_account_then_a_link_tells_it_until_when(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    link = await a_link(mina, chat)
    until = world.clock.now_ms() + 60_000
    await mina.call("remove_member", chat=chat, account=sara.id, ban=True, until=until)

    refused = await sara.refusal("join", link=link)

    assert (refused.code, refused.details) == (ErrorCode.BANNED, {"until": until})
    world.clock.passes(seconds=61)
    assert (await sara.call("join", link=link))["state"] == "member"


async def test_given_a_full_group_then_joining_names_the_limit(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    link = await a_link(mina, chat)
    await world.run("update chat set member_count = 200000 where chat_id = $1", int(chat))

    refused = await sara.refusal("join", link=link)

    assert (refused.code, refused.details) == (ErrorCode.CHAT_FULL, {"limit": 200_000})
    assert (await mina.call("links", chat=chat))["links"][0]["uses"] == 0


async def test_given_as_many_links_as_allowed_then_the_next_is_refused(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()
    await world.run(
        "insert into invite_link(chat_id, link_hash, creator_id)"
        " select $1, int4send(n), 1 from generate_series(1, 100) n",
        int(chat),
    )

    refused = await mina.refusal("link_create", chat=chat)

    assert (refused.code, refused.details) == (
        ErrorCode.TOO_LARGE,
        {"field": "links", "limit": 100},
    )


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"expires_at": 1}, ErrorCode.INVALID),
        ({"expires_at": -1}, ErrorCode.BAD_REQUEST),
        ({"max_uses": 0}, ErrorCode.BAD_REQUEST),
        ({"max_uses": 100_001}, ErrorCode.BAD_REQUEST),
        ({"approval": "yes"}, ErrorCode.BAD_REQUEST),
    ],
)
async def test_given_a_bad_link_then_it_is_refused_and_nothing_is_stored(
    world: World, mina: Person, fields: dict[str, Any], code: ErrorCode
) -> None:
    chat = await mina.creates()

    assert (await mina.refusal("link_create", chat=chat, **fields)).code is code

    assert await world.count("invite_link", "chat_id = $1", int(chat)) == 0


async def test_given_a_plain_member_then_links_and_requests_are_not_theirs(
    mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza)
    link = await a_link(mina, chat)
    await mina.call("set_role", chat=chat, account=reza.id, role="admin", rights=["pin"])

    for _ in range(2):  # first as an admin without that right, then as a plain member
        for method, fields in (
            ("link_create", {"chat": chat}),
            ("links", {"chat": chat}),
            ("link_revoke", {"link": link}),
            ("requests", {"chat": chat}),
            ("answer_request", {"chat": chat, "account": sara.id, "accept": True}),
        ):
            refused = await reza.refusal(method, **fields)
            assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "invite"})
        await mina.call("set_role", chat=chat, account=reza.id, role="member")
    assert (await sara.call("join", link=link))["state"] == "member"


# Requests


async def test_given_a_link_with_approval_then_one_is_in_only_after_the_answer(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    link = await a_link(mina, chat, approval=True, max_uses=1)

    asked = await sara.call("join", link=link)
    await sara.call("join", link=link)

    assert asked == {"state": "requested"}
    assert await sara.sees(chat) is None
    [request] = (await mina.call("requests", chat=chat))["requests"]
    assert request["account"] == sara.id
    done = await mina.call("answer_request", chat=chat, account=sara.id, accept=True)
    assert done == {"ev": 1}
    await sara.hears("chat.joined", chat=chat)
    assert (await mina.call("requests", chat=chat))["requests"] == []
    assert (await mina.call("links", chat=chat))["links"][0]["uses"] == 1
    again = await mina.refusal("answer_request", chat=chat, account=sara.id, accept=True)
    assert (again.code, again.details) == (ErrorCode.NOT_FOUND, {"what": "request"})


async def test_given_a_request_when_turned_away_then_nothing_of_it_stays(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    await mina.call("update", chat=chat, join="request")
    await sara.call("join", link=await a_link(mina, chat))

    done = await mina.call("answer_request", chat=chat, account=sara.id, accept=False)

    assert done == {"ev": 1}
    assert await world.count("join_request", "chat_id = $1", int(chat)) == 0
    assert await world.count("membership", "chat_id = $1", int(chat)) == 1
    again = await mina.refusal("answer_request", chat=chat, account=sara.id, accept=False)
    assert again.code is ErrorCode.NOT_FOUND


async def test_given_a_request_when_the_account_is_banned_or_added_then_it_is_gone(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates()
    link = await a_link(mina, chat, approval=True)
    await sara.call("join", link=link)
    await reza.call("join", link=link)

    await mina.call("remove_member", chat=chat, account=sara.id, ban=True)
    await mina.call("add_members", chat=chat, accounts=[reza.id])

    assert await world.count("join_request", "chat_id = $1", int(chat)) == 0


async def test_given_many_requests_then_they_come_in_pages(world: World, mina: Person) -> None:
    chat = await mina.creates()
    await world.run(
        "insert into join_request(chat_id, account_id, at)"
        " select $1, n, n from generate_series(1, 150) n",
        int(chat),
    )

    first = await mina.call("requests", chat=chat)
    second = await mina.call("requests", chat=chat, after=first["next"])

    assert [len(first["requests"]), len(second["requests"])] == [100, 50]
    assert "next" not in second


# Usernames


async def test_given_a_public_group_then_its_join_mode_decides(
    mina: Person, reza: Person, sara: Person
) -> None:
    name = f"pub_{mina.id}"
    chat = await mina.creates(username=name)

    joined = await reza.call("join", username=f"@{name.upper()}")
    assert joined["state"] == "member"
    assert (await reza.call("join", username=name))["state"] == "member"
    await mina.call("update", chat=chat, join="link")
    refused = await sara.refusal("join", username=name)
    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "join"})
    await mina.call("update", chat=chat, join="request")
    assert (await sara.call("join", username=name)) == {"state": "requested"}
    await mina.call("answer_request", chat=chat, account=sara.id, accept=True)
    assert sara.id in await mina.members(chat)


async def test_given_a_banned_account_then_a_public_group_does_not_show_itself(
    world: World, mina: Person, sara: Person
) -> None:
    name = f"pub_{mina.id}"
    chat = await mina.creates(username=name)
    await mina.call("remove_member", chat=chat, account=sara.id, ban=True)

    refused = await sara.refusal("join", username=name)

    assert refused.code is ErrorCode.BANNED
    assert await world.chats.views.public(sara.account, ChatId(int(chat))) is None


async def test_given_a_username_of_nobody_or_of_a_person_then_there_is_no_chat(
    world: World, mina: Person, sara: Person
) -> None:
    name = f"person_{mina.id}"
    await world.call(mina.caller, "accounts.update", b'{"username":"%s"}' % name.encode())

    for username in (name, f"x{name}", "", "\0"):
        refused = await sara.refusal("join", username=username)
        assert refused.code in (ErrorCode.NO_CHAT, ErrorCode.INVALID), username

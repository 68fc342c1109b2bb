"""Coming and going: links, requests, rights to manage them, and the guard against crowds."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from messenger.feature import Refused
from messenger.log.events import Right
from messenger.settings import LimitRule, Settings
from messenger.wire.codes import ErrorCode
from tests.channels.studio import Person, Studio, a_name, a_studio


@pytest.fixture(scope="module")
async def guarded(settings: Settings) -> AsyncIterator[Studio]:
    """A node that lets three come in at once into a channel, six into a verified one."""
    rules = {
        "join.channel": LimitRule(3, 0.001),
        "join.verified": LimitRule(6, 0.001),
        "join.net": LimitRule(100, 100),
    }
    async with a_studio(settings, limits=rules) as studio:
        yield studio


async def a_link(owner: Person, chat: str, **more: object) -> str:
    return str((await owner.call("chats.link_create", chat=chat, **more))["link"])


async def test_given_a_link_then_whoever_has_it_joins_and_leaves(
    studio: Studio, mina: Person, reza: Person
) -> None:
    chat = await mina.founds()
    link = await a_link(mina, chat, max_uses=1)

    joined = await reza.joins(link)
    again = await reza.joins(link)
    late = await (await studio.person()).refusal("chats.join", link=link)
    members = (await mina.sees(chat))["members"]
    await reza.call("chats.leave", chat=chat)

    assert (joined["state"], again["state"]) == ("member", "member")
    assert late.code is ErrorCode.LINK_DEAD
    assert (members, (await mina.sees(chat))["members"]) == (2, 1)
    assert (await mina.sees(chat))["last"]["ev"] == 0  # joins are no events in channels


async def test_given_a_public_channel_then_anybody_joins_by_its_name(
    mina: Person, reza: Person
) -> None:
    name = a_name()
    chat = await mina.founds(username=name)

    joined = await reza.call("chats.join", username=name)

    assert joined["chat"]["id"] == chat


async def test_given_requests_then_an_admin_who_manages_links_lets_them_in(
    studio: Studio, mina: Person, reza: Person
) -> None:
    chat = await mina.founds()
    inviting = await studio.person("دعوت")
    managing = await studio.person("پیوند")
    await studio.seats(chat, inviting, role=3, rights=int(Right.INVITE))
    await studio.seats(chat, managing, role=3, rights=int(Right.MANAGE_LINKS))
    link = await a_link(managing, chat, approval=True)
    assert (await reza.joins(link))["state"] == "requested"

    refused = await inviting.refusal(
        "chats.answer_request", chat=chat, account=reza.id, accept=True
    )
    asked = (await managing.call("chats.requests", chat=chat))["requests"]
    await managing.call("chats.answer_request", chat=chat, account=reza.id, accept=True)

    assert refused.details == {"right": "manage_links"}
    assert [one["account"] for one in asked] == [reza.id]
    assert (await reza.sees(chat))["me"]["role"] == "member"


async def test_given_an_admin_who_invites_then_they_add_people_and_others_do_not(
    studio: Studio, mina: Person, reza: Person
) -> None:
    chat = await mina.founds()
    inviting, reader = await studio.person("دعوت"), await studio.a_subscriber(chat)
    await studio.seats(chat, inviting, role=3, rights=int(Right.INVITE))

    added = await inviting.call("chats.add_members", chat=chat, accounts=[reza.id])
    refused = await reader.refusal("chats.add_members", chat=chat, accounts=[reza.id])

    assert added["added"] == [reza.id]
    assert refused.code is ErrorCode.FORBIDDEN


async def test_given_a_crowd_then_the_guard_lets_some_in_and_tells_the_others_why_and_when(
    guarded: Studio,
) -> None:
    mina = await guarded.person()
    chat, other = await mina.founds(), await mina.founds()
    link, elsewhere = await a_link(mina, chat), await a_link(mina, other)
    crowd = await guarded.people_of(8)

    answers = await asyncio.gather(
        *(one.call("chats.join", link=link) for one in crowd), return_exceptions=True
    )

    refused = [one for one in answers if isinstance(one, Refused)]
    assert len(answers) - len(refused) == 3
    assert {one.code for one in refused} == {ErrorCode.JOIN_GUARD}
    details = refused[0].details
    assert details["rule"] == "join.channel"
    assert details["retry_after_ms"] > 0
    assert details["why"] == "many come in at once"
    assert (await mina.sees(chat))["members"] == 4
    assert (await crowd[0].joins(elsewhere))["state"] == "member"


async def test_given_a_verified_channel_then_the_guard_is_wider(guarded: Studio) -> None:
    mina = await guarded.person()
    chat = await mina.founds()
    await guarded.verifies(chat)
    link = await a_link(mina, chat)

    answers = await asyncio.gather(
        *(one.call("chats.join", link=link) for one in await guarded.people_of(8)),
        return_exceptions=True,
    )

    refused = [one for one in answers if isinstance(one, Refused)]
    assert len(refused) == 2
    assert refused[0].details["rule"] == "join.verified"


async def test_given_members_when_they_join_again_then_the_guard_does_not_count_them(
    guarded: Studio,
) -> None:
    mina, reza = await guarded.person(), await guarded.person()
    chat = await mina.founds()
    link = await a_link(mina, chat)

    states = {(await reza.joins(link))["state"] for _ in range(6)}

    assert states == {"member"}


async def test_given_many_tries_then_they_are_refused_before_anything_is_looked_up(
    settings: Settings,
) -> None:
    rules = {"join.tries": LimitRule(2, 0.001)}
    async with a_studio(settings, limits=rules) as studio:
        mina, reza = await studio.person(), await studio.person()
        chat = await mina.founds(username=a_name())
        dead = f"{chat}.{'x' * 43}"

        codes = [(await reza.refusal("chats.join", link=dead)).code for _ in range(3)]
        by_name = [(await reza.refusal("chats.join", username="nobody_here")) for _ in range(3)]

        assert codes == [ErrorCode.LINK_DEAD, ErrorCode.LINK_DEAD, ErrorCode.JOIN_GUARD]
        assert by_name[2].details["rule"] == "join.tries"
        assert by_name[0].code is ErrorCode.NO_CHAT


async def test_given_one_network_then_it_has_a_guard_of_its_own(settings: Settings) -> None:
    rules = {"join.net": LimitRule(2, 0.001)}
    async with a_studio(settings, limits=rules) as studio:
        mina = await studio.person()
        link = await a_link(mina, await mina.founds())
        farm = [await studio.person(address=f"198.51.100.{n}") for n in range(1, 4)]
        home = await studio.person(address="203.0.113.5")

        for one in farm[:2]:
            await one.joins(link)
        refused = await farm[2].refusal("chats.join", link=link)

        assert refused.code is ErrorCode.JOIN_GUARD
        assert (refused.details["rule"], refused.details["why"]) == (
            "join.net",
            "many come in from one network",
        )
        assert (await home.joins(link))["state"] == "member"


async def test_given_bans_and_roles_then_the_log_of_the_channel_names_them_for_admins_alone(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    first, second = await studio.a_subscriber(chat), await studio.a_subscriber(chat)

    await mina.call("chats.remove_member", chat=chat, account=first.id, ban=True)
    await mina.call("chats.set_role", chat=chat, account=second.id, role="admin", rights=["post"])

    page = await second.call("channels.log", chat=chat, limit=1)
    rest = await second.call("channels.log", chat=chat, before=page["next"])
    entries = page["entries"] + rest["entries"]
    assert [(one["account"], one["more"]["role"], one["by"]) for one in entries] == [
        (second.id, "admin", mina.id),
        (first.id, "banned", mina.id),
    ]
    refused = await (await studio.a_subscriber(chat)).refusal("channels.log", chat=chat)
    assert refused.details == {"right": "admin"}
    assert (await first.refusal("channels.log", chat=chat)).code is ErrorCode.NO_CHAT

"""What a link may bring in, and how many links there may be, under many hands at once."""

import asyncio
from typing import Any

import pytest

from messenger.chats.invites import LINKS_MAX
from messenger.chats.store.links import Links
from messenger.ids import ChatId
from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World


@pytest.mark.parametrize("end", ["used up", "expired", "revoked"])
async def test_given_requests_by_a_link_that_ended_then_an_admin_lets_them_in_uncounted(
    world: World, mina: Person, reza: Person, sara: Person, end: str
) -> None:
    chat = await mina.creates()
    expires = world.clock.now_ms() + 60_000
    request: dict[str, Any] = {"chat": chat, "approval": True, "expires_at": expires}
    link = (await mina.call("link_create", **request, max_uses=1))["link"]
    for person in (reza, sara):
        assert await person.call("join", link=link) == {"state": "requested"}
    if end == "used up":
        await mina.call("answer_request", chat=chat, account=reza.id, accept=True)
    elif end == "expired":
        world.clock.passes(seconds=61)
    else:
        await mina.call("link_revoke", link=link)

    await mina.call("answer_request", chat=chat, account=sara.id, accept=True)

    assert (await mina.members(chat))[sara.id] == "member"
    used = 1 if end == "used up" else 0
    assert await world.count("invite_link", "chat_id = $1 and uses = $2", int(chat), used) == 1


async def put(world: World, chat: str, owner: Person, number: int) -> bool:
    return await Links(world.db).put(
        ChatId(int(chat)),
        b"%032d" % number,
        owner.account,
        world.clock.now_ms(),
        expires_at=None,
        max_uses=None,
        approval=False,
        limit=LINKS_MAX,
    )


async def test_given_another_admin_about_to_make_the_last_link_then_mine_waits_and_is_refused(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()
    assert all([await put(world, chat, mina, number) for number in range(LINKS_MAX - 1)])
    last = "insert into invite_link(chat_id, link_hash, creator_id) values ($1, 'x', $2)"

    async with world.db.transaction() as other:
        await other.exec_driver_sql(
            "select 1 from chat where chat_id = $1 for update", (int(chat),)
        )
        await other.exec_driver_sql(last, (int(chat), mina.account))
        mine = asyncio.create_task(put(world, chat, mina, LINKS_MAX))
        await asyncio.wait([mine], timeout=0.1)

    assert not await mine
    refused = await mina.refusal("link_create", chat=chat)
    assert (refused.code, refused.details["field"]) == (ErrorCode.TOO_LARGE, "links")


async def test_given_a_deleted_chat_then_it_gets_no_link(world: World, mina: Person) -> None:
    chat = await mina.creates()
    await mina.call("delete", chat=chat)

    assert not await put(world, chat, mina, 1)
    assert (await mina.refusal("link_create", chat=chat)).code is ErrorCode.NO_CHAT

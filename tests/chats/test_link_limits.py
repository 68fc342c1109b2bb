"""What a link may bring in, and how many links there may be, under many hands at once."""

from typing import Any

import pytest

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

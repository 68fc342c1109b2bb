"""How many chats an account may be in: whoever puts it there is told no more than of a setting."""

from messenger.chats.creating import CHATS_MAX
from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World


async def fill(world: World, person: Person) -> None:
    await world.run(
        "insert into member(account_id, chat_id) select $1, n from generate_series(1, $2::int) n",
        person.account,
        CHATS_MAX,
    )


async def test_given_somebody_in_as_many_chats_as_allowed_then_nobody_adds_them_to_more(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    await fill(world, sara)
    request = {"kind": "group", "title": "g", "random_id": str(mina.account)}
    skipped = [{"account": sara.id, "why": "privacy"}]

    created = await mina.call("create", members=[reza.id, sara.id], **request)
    chat = created["chat"]["id"]
    added = await mina.call("add_members", chat=chat, accounts=[sara.id])

    assert created["skipped"] == added["skipped"] == skipped
    assert added["added"] == []
    assert await mina.members(chat) == {mina.id: "owner", reza.id: "member"}


async def test_given_a_request_of_somebody_who_joined_others_meanwhile_then_it_is_refused(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    link = (await mina.call("link_create", chat=chat, approval=True))["link"]
    await sara.call("join", link=link)
    await fill(world, sara)

    refused = await mina.refusal("answer_request", chat=chat, account=sara.id, accept=True)

    assert (refused.code, refused.details) == (ErrorCode.TOO_MANY_CHATS, {"limit": CHATS_MAX})
    assert await mina.members(chat) == {mina.id: "owner"}

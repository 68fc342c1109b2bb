"""chats.update and usernames: a chat holds the one it carries, and nobody burns many."""

import asyncio

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World

HELD = "target_id = $1 and tombstone_until <= 0"


async def test_given_many_names_at_once_then_the_chat_holds_the_one_it_carries(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()
    names = [f"n{number}_{mina.id}" for number in range(6)]

    await asyncio.gather(*(mina.call("update", chat=chat, username=name) for name in names))

    carried = (await mina.sees(chat) or {})["username"]
    assert carried in names
    assert await world.count("username", HELD, int(chat)) == 1
    assert await world.count("username", f"{HELD} and name_fold = $2", int(chat), carried) == 1


async def test_given_one_name_after_another_then_the_limit_names_itself(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()
    for number in range(8):
        await mina.call("update", chat=chat, username=f"n{number}_{mina.id}")
    await mina.call("update", chat=chat, username=f"n7_{mina.id}", title="t")  # no new name

    refused = await mina.refusal("update", chat=chat, username=f"n8_{mina.id}")

    assert (refused.code, refused.details["rule"]) == (ErrorCode.RATE_LIMITED, "username")
    assert await world.count("username", "target_id = $1", int(chat)) == 8


async def test_given_a_chat_deleted_while_a_name_was_claimed_then_the_name_is_free(
    world: World, mina: Person, reza: Person
) -> None:
    chat, name = await mina.creates(), f"late_{mina.id}"

    async with world.db.transaction() as other:
        lock = "update chat set flags = flags | 4 where chat_id = $1"
        await other.exec_driver_sql(lock, (int(chat),))
        update = asyncio.create_task(mina.call("update", chat=chat, username=name))
        async with asyncio.timeout(5):
            while not await world.count("username", HELD, int(chat)):
                pass
    [refused] = await asyncio.gather(update, return_exceptions=True)

    assert isinstance(refused, Refused)
    assert refused.code is ErrorCode.NO_CHAT
    world.clock.passes(seconds=1)
    assert await reza.creates(username=name)


async def test_given_a_name_that_was_claimed_and_is_not_carried_then_nobody_joins_by_it(
    world: World, mina: Person, reza: Person
) -> None:
    chat, name = await mina.creates(username=f"own_{mina.id}"), f"left_{mina.id}"
    await world.run(
        "insert into username(name_fold, kind, target_id) values ($1, 2, $2)", name, int(chat)
    )

    assert (await reza.refusal("join", username=name)).code is ErrorCode.NO_CHAT
    assert (await reza.call("join", username=f"own_{mina.id}"))["state"] == "member"

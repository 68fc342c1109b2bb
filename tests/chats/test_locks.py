"""The order of locks: the chat, then its seats by account. Two orders would be a deadlock."""

import pytest
from sqlalchemy.exc import DBAPIError

from messenger.chats.membership import MEMBERS_MAX
from messenger.chats.store.changes import Changes
from messenger.db.engine import StoreDown
from messenger.ids import ChatId
from tests.chats.world import SMALL, Person, World

LOCK_CHAT = "select 1 from chat where chat_id = $1 for update"


async def test_given_a_locked_chat_then_no_seat_of_it_is_taken(
    world: World, mina: Person, reza: Person
) -> None:
    chat = int(await mina.creates(reza))

    async with world.db.transaction() as first:
        await first.exec_driver_sql(LOCK_CHAT, (chat,))
        with pytest.raises((DBAPIError, StoreDown), match="lock timeout"):
            await expel_at_once(world, chat)

    assert await Changes(world.db).expel(ChatId(chat), 0, 1) == [min(mina.account, reza.account)]
    assert await world.count("membership", "chat_id = $1 and role > 0", chat) == 1


async def expel_at_once(world: World, chat: int) -> None:
    async with world.db.transaction() as connection:
        await connection.exec_driver_sql("set local lock_timeout = 50")
        await connection.exec_driver_sql("select expel_members($1, 0, 10)", (chat,))


async def test_given_accounts_in_any_order_then_seats_are_given_in_theirs(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()
    new = sorted(person.account for person in await world.people(3))

    outcomes = await Changes(world.db).admit(
        world.clock.now_ms(),
        ChatId(int(chat)),
        mina.account,
        new[::-1],
        needs=16,
        limit=MEMBERS_MAX,
        small=SMALL,
    )

    assert [(one.account, one.event.ev) for one in outcomes] == list(
        zip(new, (1, 2, 3), strict=True)
    )

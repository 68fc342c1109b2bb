"""Rows of the outbox that cannot be finished: the others must not wait for them."""

import asyncio

from messenger.chats.membership import MEMBERS_MAX
from messenger.chats.outbox import RETRY_MS, Outbox
from messenger.chats.store.changes import Changes
from messenger.chats.store.chats import ChatRows
from messenger.chats.store.mine import Mine
from messenger.ids import ChatId
from messenger.log.store import ChatStore
from tests.chats.world import SMALL, Person, World

POISON = (
    "insert into outbox_c(chat_id, account_id, kind, payload, at)"
    " select $1::bigint, $2::bigint, $3::smallint, $4::jsonb, $5::bigint - n"
    " from generate_series(1, 40) n"
)
OF_CHAT = "chat_id = $1"


async def poison(world: World, chat: str, person: Person) -> None:
    """More rows than one round takes, of every kind of nonsense, older than all others."""
    for kind, payload in ((1, '{"ev": "x"}'), (77, "{}"), (3, '{"after": []}')):
        at = world.clock.now_ms() - 10_000
        await world.run(POISON, int(chat), person.account, kind, payload, at)


async def half_a_join(world: World, owner: Person, chat: str, new: Person) -> None:
    await Changes(world.db).admit(
        world.clock.now_ms(),
        ChatId(int(chat)),
        owner.account,
        [new.account],
        needs=16,
        limit=MEMBERS_MAX,
        small=SMALL,
    )
    world.clock.passes(seconds=6)


async def test_given_rows_that_cannot_be_finished_then_the_others_are(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    bad, good = await mina.creates(reza), await mina.creates()
    await poison(world, bad, reza)
    await half_a_join(world, mina, good, sara)

    for _ in range(2):
        await world.chats.outbox.settle_left()

    assert (await sara.hears("chat.joined", chat=good))["chat"] == good
    assert await world.count("outbox_c", OF_CHAT, int(good)) == 0
    assert await world.chats.outbox.settle_left() == 0  # they wait: no loop turns hot
    assert await world.count("outbox_c", OF_CHAT, int(bad)) == 120
    world.clock.passes(seconds=RETRY_MS / 1_000 + 6)
    assert await world.chats.outbox.settle_left() == 100
    await world.run("delete from outbox_c where chat_id = $1", int(bad))


async def test_given_rows_that_cannot_be_finished_then_the_poller_lives_on(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    bad, good = await mina.creates(reza), await mina.creates()
    await poison(world, bad, reza)
    await half_a_join(world, mina, good, sara)
    parts = Changes(world.db), ChatRows(world.db), Mine(world.db), ChatStore(world.db)
    outbox = Outbox(*parts, world.delivery, world.clock.now_ms, poll_s=0.01)

    poller = asyncio.create_task(outbox.run())
    await sara.hears("chat.joined", chat=good)

    assert not poller.done()
    poller.cancel()
    await asyncio.wait([poller])
    await world.run("delete from outbox_c where chat_id = $1", int(bad))

"""Crashes between the two halves of a change, and what the poller makes of them."""

import asyncio
import logging

from messenger.chats.membership import MEMBERS_MAX
from messenger.chats.outbox import Outbox
from messenger.chats.rights import Role, Seat
from messenger.chats.store.changes import NOBODY, Changes, Due, SeatChange
from messenger.chats.store.chats import ChatRows
from messenger.chats.store.mine import Mine
from messenger.db.engine import Database
from messenger.ids import ChatId
from messenger.log.events import EventKind
from messenger.log.store import ChatStore
from messenger.settings import Settings
from tests.chats.world import SMALL, Person, World, an_id


def changes(world: World) -> Changes:
    return Changes(world.db)


async def first_half_of_adding(world: World, owner: Person, chat: str, *new: Person) -> None:
    """The node dies after the chat's transaction: nobody is told, no account side written."""
    await changes(world).admit(
        world.clock.now_ms(),
        ChatId(int(chat)),
        owner.account,
        [one.account for one in new],
        needs=16,
        limit=MEMBERS_MAX,
        small=SMALL,
    )


async def settle(world: World) -> int:
    world.clock.passes(seconds=6)
    return await world.chats.outbox.settle_left()


async def test_given_a_crash_after_the_first_half_of_a_join_then_the_poller_finishes_it(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza)
    await first_half_of_adding(world, mina, chat, sara)
    assert await world.count("member", "account_id = $1", sara.account) == 0
    assert await world.chats.outbox.settle_left() == 0  # too young: its caller may be at it

    await settle(world)

    assert (await sara.hears("chat.joined", chat=chat))["info"]["last"]["ev"] == 1
    changed = await reza.hears("member.changed", chat=chat)
    assert (changed["ev"], changed["account"], changed["by"]) == (1, sara.id, mina.id)
    assert [one["id"] for one in (await sara.call("list"))["chats"]] == [chat]
    assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0


async def test_given_a_crash_after_the_first_half_of_a_removal_then_the_poller_finishes_it(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates(sara)
    change = SeatChange(
        actor=mina.account,
        actor_seat=Seat(Role.OWNER),
        account=sara.account,
        seen=Seat(Role.MEMBER),
        new=Seat(Role.BANNED),
        kind=EventKind.MEMBER,
        name="banned",
        why="banned",
    )
    topic = await world.topic(f"chat:{chat}")
    await changes(world).change_seat(world.clock.now_ms(), ChatId(int(chat)), change)

    await settle(world)

    assert (await sara.hears("chat.left", chat=chat))["why"] == "banned"
    await topic.says(b"x %d" % sara.account)
    assert await world.count("member", "account_id = $1 and flags & 4 = 0", sara.account) == 0


async def test_given_a_crash_after_both_halves_then_the_fact_is_told_again_with_its_number(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    await first_half_of_adding(world, mina, chat, sara)
    [settled] = await Mine(world.db).settle(
        world.clock.now_ms(), ChatId(int(chat)), [sara.account], [b"{}"], "removed"
    )

    await settle(world)

    assert (await sara.hears("chat.joined", chat=chat))["aev"] == settled.aev
    assert await world.count("account_event", "account_id = $1", sara.account) == 1
    assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0


async def test_given_a_crash_while_becoming_big_then_the_poller_marks_every_member(
    world: World, mina: Person
) -> None:
    chat = await mina.creates(*await world.people(SMALL - 1))
    await first_half_of_adding(world, mina, chat, *await world.people(2))

    await settle(world)

    assert await world.count("member", "chat_id = $1 and flags & 1 = 1", int(chat)) == SMALL + 2
    assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0


async def test_given_a_crash_while_deleting_then_the_poller_goes_on_where_it_ended(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza, *await world.people(3))
    await changes(world).delete(world.clock.now_ms(), ChatId(int(chat)), mina.account)
    gone = await changes(world).expel(ChatId(int(chat)), 0, 2)
    [row] = await changes(world).due_of(ChatId(int(chat)), [NOBODY])
    assert row.kind == Due.DELETED

    await settle(world)

    assert gone == sorted(gone)
    assert (await reza.hears("chat.left", chat=chat))["why"] == "deleted"
    assert await world.count("member", "chat_id = $1 and flags & 4 = 0", int(chat)) == 0
    assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0


async def test_given_a_join_and_a_leave_settled_in_the_wrong_order_then_the_last_one_counts(
    world: World, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    await first_half_of_adding(world, mina, chat, sara)
    await sara.call("leave", chat=chat)  # its halves overtake those of the join
    assert await sara.sees(chat) is None

    await settle(world)

    assert await world.count("member", "account_id = $1 and flags & 4 = 0", sara.account) == 0
    assert (await sara.call("list"))["chats"] == []


async def test_given_two_pollers_at_once_then_each_fact_is_written_once(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()
    crowd = await world.people(3)
    await first_half_of_adding(world, mina, chat, *crowd)

    world.clock.passes(seconds=6)
    await asyncio.gather(*(world.chats.outbox.settle_left() for _ in range(4)))

    for person in crowd:
        assert await world.count("account_event", "account_id = $1", person.account) == 1
    assert await world.count("member", "chat_id = $1", int(chat)) == 4


async def test_given_a_database_that_was_away_then_the_poller_goes_on_by_itself(
    world: World, settings: Settings, mina: Person, sara: Person
) -> None:
    chat = await mina.creates()
    await first_half_of_adding(world, mina, chat, sara)
    world.clock.passes(seconds=6)
    database = await Database.connect(settings.database_url or "", pool=1, statement_timeout=0.2)
    held = await database.held()  # nobody else gets a connection
    warned = Ear()

    poller = asyncio.create_task(an_outbox(world, database).run())
    async with asyncio.timeout(5):
        await warned.heard.wait()
    await held.close()

    await sara.hears("chat.joined", chat=chat)
    poller.cancel()
    await asyncio.wait([poller])
    warned.off()
    await database.close()


def an_outbox(world: World, database: Database) -> Outbox:
    parts = Changes(database), ChatRows(database), Mine(database), ChatStore(database)
    return Outbox(*parts, world.delivery, world.clock.now_ms, poll_s=0.01)


class Ear(logging.Handler):
    """Set once the poller says that it waits."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard = asyncio.Event()
        logging.getLogger("messenger.chats.outbox").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.set()

    def off(self) -> None:
        logging.getLogger("messenger.chats.outbox").removeHandler(self)


async def test_given_repeats_of_a_settled_change_then_nothing_more_is_written(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    accounts = [mina.account, reza.account]

    first = await world.chats.outbox.settle(ChatId(int(chat)), accounts)
    again = await world.chats.outbox.settle(ChatId(int(chat)), accounts)

    assert first == again == {mina.account: 1, reza.account: 1}
    assert await world.chats.outbox.settle(ChatId(int(an_id())), [mina.account]) == {}

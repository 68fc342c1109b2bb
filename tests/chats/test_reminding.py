"""A repeat of a change whose telling was lost says at least where the chat stands."""

from typing import Any

import pytest

from messenger.chats.store.changes import Changes
from messenger.ids import ChatId
from tests.chats.world import SMALL, Person, World


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("pin_message", {"seq": 1, "on": True}),
        ("update", {"title": "نام نو"}),
        ("restrict", {"deny": ["media"]}),
        ("set_role", {"role": "admin", "rights": ["pin"]}),
        ("remove_member", {"ban": True}),
        ("remove_member", {}),
    ],
)
async def test_given_a_repeat_that_changes_nothing_then_members_hear_the_head_again(
    world: World, mina: Person, reza: Person, method: str, fields: dict[str, Any]
) -> None:
    chat = await mina.creates(reza)
    other = {} if method in ("pin_message", "update") else {"account": reza.id}
    await mina.sends(chat)
    done = await mina.call(method, chat=chat, **other, **fields)
    eph = await world.topic(f"eph:{mina.id}")

    assert await mina.call(method, chat=chat, **other, **fields) == done

    head = await eph.says(b'{"t":"chat.dirty"')
    assert b'"chat":"%s"' % chat.encode() in head
    assert b'"ev":%d,' % done["ev"] in head


async def test_given_a_big_group_then_the_repeat_is_told_once_for_all(
    world: World, mina: Person
) -> None:
    chat = await mina.creates(*await world.people(SMALL))
    done = await mina.call("update", chat=chat, title="نام نو")
    dirty = await world.topic(f"dirty:{chat}")

    await mina.call("update", chat=chat, title="نام نو")

    assert b'"ev":%d,' % done["ev"] in await dirty.says(b'{"t":"chat.dirty"')


async def test_given_a_repeat_of_a_personal_fact_then_other_devices_hear_it_again(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()
    done = await mina.call("pin", chat=chat, rank=2)
    await mina.hears("chat.pinned", chat=chat)

    assert await mina.call("pin", chat=chat, rank=2) == done

    assert (await mina.hears("chat.pinned", chat=chat))["aev"] == done["aev"]


async def test_given_a_crash_after_a_transfer_then_its_events_are_told_by_the_poller(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza, sara)
    changes = Changes(world.db)
    await changes.transfer(world.clock.now_ms(), ChatId(int(chat)), mina.account, reza.account)

    world.clock.passes(seconds=6)
    await world.chats.outbox.settle_left()

    for person, role in ((mina, "admin"), (reza, "owner")):
        told = await sara.hears("member.changed", chat=chat, account=person.id)
        assert told["role"] == role

"""What is told live is what a difference tells later."""

import json
from typing import Any

import msgspec

from messenger.chats.updates import update_of_fact, update_of_row
from messenger.ids import ChatId
from messenger.log.account_log import AccountKind, AccountLog
from tests.chats.world import Person, World


async def test_given_all_kinds_of_events_then_the_log_gives_back_every_update_told_live(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza)
    await mina.call("add_members", chat=chat, accounts=[sara.id])
    await mina.call("update", chat=chat, title="نو", about="")
    await mina.sends(chat)
    await mina.call("pin_message", chat=chat, seq=1, on=True, silent=True)
    await mina.call("set_role", chat=chat, account=sara.id, role="admin", rights=["pin"])
    await mina.call("restrict", chat=chat, account=reza.id, deny=["post"])
    await mina.call("transfer", chat=chat, account=sara.id)
    await mina.call("leave", chat=chat)
    crowd = await world.people(4)
    accounts = [one.id for one in crowd]
    await sara.call("add_members", chat=chat, accounts=accounts)
    await reza.hears("chat.big", chat=chat)
    live = [update for update in await replay(world, sara) if update.get("chat") == chat]

    rows = [
        row
        for row in await world.chat_log.events_since(ChatId(int(chat)), 0, 100)
        if not row.is_message
    ]
    stored = [plain(update_of_row(ChatId(int(chat)), row)) for row in rows]

    assert [one for one in live if "ev" in one] == stored
    assert {one["t"] for one in stored} == {
        "member.changed",
        "chat.updated",
        "message.pinned",
        "chat.big",
    }


async def test_given_all_kinds_of_facts_then_the_log_gives_back_every_update_told_live(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    await reza.call("mute", chat=chat, until=5)
    await reza.call("pin", chat=chat, rank=None)
    await reza.call("folder", chat=chat, n=1)
    await reza.call("draft", chat=chat, text="x")
    await reza.call("clear", chat=chat, up_to_seq=0)
    await reza.call("leave", chat=chat)
    await reza.hears("chat.left", chat=chat)
    live = [update for update in await replay(world, reza) if "aev" in update]

    rows = await AccountLog(world.db).since(reza.account, 0, 100)

    assert [plain(update_of_fact(row)) for row in rows] == live
    assert [one["aev"] for one in live] == list(range(1, 8))


async def test_given_kinds_of_other_packages_then_they_are_left_to_them(
    world: World, mina: Person
) -> None:
    log = AccountLog(world.db)
    await log.append(mina.account, AccountKind.PROFILE, 0, {})
    [row] = await log.since(mina.account, 0, 1)
    assert update_of_fact(row) is None


async def replay(world: World, person: Person) -> list[Any]:
    """Everything told to `user:` so far, in its order."""
    told = await world.streams.since(f"user:{person.id}", 0, 300)
    return [json.loads(data) for _, data in told]


def plain(update: object) -> Any:
    return json.loads(msgspec.json.encode(update))

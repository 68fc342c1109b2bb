"""Mute, pin, folder, draft, clear: facts of one account that its devices agree on."""

from typing import Any

import pytest

from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World

FACTS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("mute", {"until": 1_900_000_000_000}, "chat.muted", {"muted_until": 1_900_000_000_000}),
    ("pin", {"rank": 3}, "chat.pinned", {"pin": 3}),
    ("folder", {"n": 2}, "chat.folder", {"folder": 2}),
    ("draft", {"text": "سلام "}, "chat.draft", {"draft": "سلام "}),
    ("clear", {"up_to_seq": 2}, "chat.cleared", {"cleared_seq": 2}),
]


@pytest.mark.parametrize(("method", "fields", "kind", "told"), FACTS)
async def test_given_a_setting_then_the_other_devices_hear_it_and_a_fresh_look_agrees(
    mina: Person, method: str, fields: dict[str, Any], kind: str, told: dict[str, Any]
) -> None:
    chat = await mina.creates()
    for _ in range(3):
        await mina.sends(chat)

    noted = await mina.call(method, chat=chat, **fields)

    fact = await mina.hears(kind, chat=chat)
    assert fact == {"t": kind, "aev": noted["aev"], "chat": chat, **told}
    seen = await mina.sees(chat)
    assert seen is not None
    assert all(seen["me"].get(name, value) == value for name, value in told.items())


@pytest.mark.parametrize(("method", "fields", "kind", "told"), FACTS)
async def test_given_the_same_setting_again_then_its_number_is_the_old_one_and_nobody_hears(
    world: World,
    mina: Person,
    method: str,
    fields: dict[str, Any],
    kind: str,
    told: dict[str, Any],
) -> None:
    chat = await mina.creates()
    for _ in range(3):
        await mina.sends(chat)
    first = await mina.call(method, chat=chat, **fields)
    await mina.hears(kind, chat=chat)

    again = await mina.call(method, chat=chat, **fields)

    assert again == first
    assert mina.heard_of(chat) == []
    rows = await world.count("account_event", "account_id = $1", mina.account)
    assert rows == first["aev"]


async def test_given_two_settings_of_one_kind_then_the_newest_takes_the_place_of_the_older(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()

    one = await mina.call("pin", chat=chat, rank=1)
    two = await mina.call("pin", chat=chat, rank=None)

    assert two["aev"] == one["aev"] + 1
    assert (await mina.sees(chat) or {})["me"]["pin"] is None
    assert await world.count("account_event", "account_id = $1 and kind < 100", mina.account) == 1


async def test_given_a_clear_beyond_the_end_then_it_stops_there_and_never_goes_back(
    mina: Person,
) -> None:
    chat = await mina.creates()
    for _ in range(3):
        await mina.sends(chat)

    far = await mina.call("clear", chat=chat, up_to_seq=2**31 - 1)
    back = await mina.call("clear", chat=chat, up_to_seq=1)

    assert back == far
    assert (await mina.sees(chat) or {})["me"]["cleared_seq"] == 3
    assert (await mina.hears("chat.cleared", chat=chat))["cleared_seq"] == 3


async def test_given_a_setting_of_one_member_then_the_others_neither_hear_nor_see_it(
    mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    await reza.hears("chat.joined", chat=chat)

    await mina.call("mute", chat=chat, until=5)

    await mina.hears("chat.muted", chat=chat)
    assert reza.heard_of(chat) == []
    assert (await reza.sees(chat) or {})["me"]["muted_until"] == 0


async def test_given_a_chat_that_was_left_then_its_pin_and_folder_are_gone_on_return(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    await reza.call("pin", chat=chat, rank=1)
    await reza.call("mute", chat=chat, until=9)
    await reza.call("leave", chat=chat)
    assert (await reza.refusal("pin", chat=chat, rank=2)).code is ErrorCode.NO_CHAT

    await mina.call("add_members", chat=chat, accounts=[reza.id])

    me = (await reza.sees(chat) or {})["me"]
    assert (me["pin"], me["muted_until"]) == (None, 9)


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        ("mute", {"until": -1}, ErrorCode.BAD_REQUEST),
        ("mute", {"until": 2**60}, ErrorCode.BAD_REQUEST),
        ("mute", {}, ErrorCode.BAD_REQUEST),
        ("pin", {"rank": -1}, ErrorCode.BAD_REQUEST),
        ("pin", {"rank": 1_001}, ErrorCode.BAD_REQUEST),
        ("pin", {}, ErrorCode.BAD_REQUEST),
        ("folder", {"n": 101}, ErrorCode.BAD_REQUEST),
        ("draft", {"text": "x" * 4_097}, ErrorCode.BAD_REQUEST),
        ("draft", {"text": "\0"}, ErrorCode.INVALID),
        ("clear", {"up_to_seq": -1}, ErrorCode.BAD_REQUEST),
        ("clear", {"up_to_seq": 2**31}, ErrorCode.BAD_REQUEST),
    ],
)
async def test_given_a_bad_setting_then_it_is_refused_and_nothing_is_stored(
    world: World, mina: Person, method: str, fields: dict[str, Any], code: ErrorCode
) -> None:
    chat = await mina.creates()

    assert (await mina.refusal(method, chat=chat, **fields)).code is code

    assert await world.count("account_event", "account_id = $1 and kind < 100", mina.account) == 0

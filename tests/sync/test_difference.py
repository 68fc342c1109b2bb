"""`sync.difference`: dense slices, bounds, and every way of being too far behind."""

import asyncio
from typing import Any

import pytest

from messenger.log.account_log import AccountKind
from tests.log.conftest import purge_facts
from tests.messages.office import Json, Office, Person


async def difference(person: Person, *chats: tuple[int, int, int], **more: Any) -> Json:
    wanted = [[str(chat), epoch, ev] for chat, epoch, ev in chats]
    return await person.call("sync.difference", **{"aev": 0, "chats": wanted} | more)


async def test_given_a_device_behind_when_it_asks_then_it_gets_exactly_what_it_lacks(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat, same = await office.chat([mina, reza]), await office.chat([mina, reza])
    for number in range(4):
        await reza.sends(chat, f"n{number}")
    await reza.call("messages.edit", chat=str(chat), seq=2, text="new")
    live = [await mina.hears("message.new", chat=str(chat)) for _ in range(4)]
    edited = await mina.hears("message.edited")

    found = await difference(mina, (chat, 1, 1), (same, 1, 0))

    part, quiet = found["chats"]
    assert (part["chat"], part["epoch"], part["from"], part["to"]) == (str(chat), 1, 1, 5)
    assert [event["ev"] for event in part["events"]] == [2, 3, 4, 5]
    assert part["events"][0]["m"] == edited["m"]  # new messages show their present content
    assert part["events"][1:] == [*live[2:], edited]
    assert "more" not in part
    assert (quiet["from"], quiet["to"], quiet["events"]) == (0, 0, [])
    assert found["left"] == []


async def test_given_more_than_a_slice_when_asked_then_slices_join_without_a_hole(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await asyncio.gather(*(mina.sends(chat, f"n{number}") for number in range(250)))
    ev, seen, rounds = 0, [], 0

    while True:
        part = (await difference(mina, (chat, 1, ev)))["chats"][0]
        seen += [event["m"]["text"] for event in part["events"]]
        assert part["from"] == ev
        ev, rounds = part["to"], rounds + 1
        if not part.get("more"):
            break

    assert seen == [f"n{number}" for number in range(250)]
    assert rounds == 3


async def test_given_long_messages_when_asked_then_the_answer_fits_and_names_what_is_left(
    office: Office,
) -> None:
    mina = await office.person()
    chats = [await office.chat([mina]) for _ in range(3)]
    for chat in chats:
        for _ in range(12):
            await mina.sends(chat, "ل" * 4_000)
    evs = dict.fromkeys(chats, 0)

    for _ in range(20):
        found = await difference(mina, *((chat, 1, ev) for chat, ev in evs.items()))
        parts = {int(part["chat"]): part for part in found["chats"]}
        assert {*parts, *map(int, found["left"])} == set(map(int, evs))
        for chat in chats:
            if chat in parts:
                evs[chat] = parts[chat]["to"]
        if not found["left"] and not any(part.get("more") for part in parts.values()):
            break

    assert set(evs.values()) == {12}


async def test_given_a_limit_when_asked_for_many_chats_then_the_rest_is_left(
    office: Office,
) -> None:
    mina = await office.person()
    chats = [await office.chat([mina]) for _ in range(4)]
    for chat in chats:
        for _ in range(3):
            await mina.sends(chat)

    found = await difference(mina, *((chat, 1, 0) for chat in chats), limit=6)
    one = await difference(mina, (chats[0], 1, 0), limit=1)

    assert [part["to"] for part in found["chats"]] == [3, 3]
    assert found["left"] == [str(chat) for chat in chats[2:]]
    assert (one["chats"][0]["to"], one["chats"][0]["more"]) == (1, True)


@pytest.mark.parametrize(
    ("epoch", "ev", "columns"),
    [
        (2, 3, {"epoch": 1}),
        (1, 9, {"epoch": 1}),
        (1, 1, {"purged_ev": 2, "purged_seq": 2}),
        (1, 0, {"last_ev": 2_001, "last_seq": 2_001}),
    ],
    ids=["another epoch", "from the future", "no longer kept", "2,001 behind"],
)
async def test_given_a_device_too_far_behind_when_it_asks_then_it_is_told_the_head(
    office: Office, epoch: int, ev: int, columns: dict[str, int]
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    for _ in range(3):
        await mina.sends(chat)
    await mina.hears("read.self", read_seq=3)
    await office.set_chat(chat, **columns)
    last = columns.get("last_ev", 3)

    part = (await difference(mina, (chat, epoch, ev)))["chats"][0]

    head = {"ev": last, "seq": last, "read_seq": 3}
    assert part == {"chat": str(chat), "epoch": 1, "too_long": True, "head": head}


async def test_given_2000_behind_when_asked_then_it_is_a_slice(office: Office) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat)
    await office.set_chat(chat, last_ev=2_000)

    part = (await difference(mina, (chat, 1, 0)))["chats"][0]

    assert (part["to"], part["more"]) == (1, True)


async def test_given_a_hole_in_the_log_when_asked_then_the_device_starts_anew(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    for _ in range(3):
        await mina.sends(chat)
    await office.rows("delete from message where chat_id = $1 and seq = 1 returning 1", chat)

    part = (await difference(mina, (chat, 1, 0)))["chats"][0]

    assert part["too_long"]


async def test_given_chats_of_others_when_asked_then_they_are_left_out(office: Office) -> None:
    mina, reza = await office.people(2)
    hers, left = await office.chat([mina]), await office.chat([mina, reza])
    await mina.sends(hers)
    await office.set_member(left, reza, role=0)

    found = await difference(reza, (hers, 1, 0), (left, 1, 0), (5, 1, 0))

    assert (found["chats"], found["left"]) == ([], [])


async def test_given_a_chat_that_hides_its_past_when_a_newcomer_asks_then_it_stays_hidden(
    office: Office,
) -> None:
    mina, newcomer = await office.people(2)
    chat = await office.chat([mina], flags=32)
    await mina.sends(chat, "secret")
    await office.joins(chat, newcomer)
    await mina.sends(chat, "salaam")
    await mina.call("messages.edit", chat=str(chat), seq=1, text="still secret")

    events = (await difference(newcomer, (chat, 1, 0)))["chats"][0]["events"]

    assert [event["m"].get("text") for event in events] == [None, "salaam", None]
    assert events[0]["m"]["deleted"]


async def test_given_account_facts_when_asked_then_the_latest_of_each_come_in_order(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    for seq in range(1, 4):
        await reza.sends(chat)
        await mina.call("messages.read", cursors=[{"chat": str(chat), "seq": seq}])
    await mina.call("messages.delete", chat=str(chat), seqs=[1], **{"for": "me"})

    found = await difference(mina)
    nothing = await difference(mina, aev=found["aev"])

    assert found["aev"] == 5
    assert [(one["t"], one["aev"]) for one in found["acct"]] == [
        ("chat.joined", 1), ("read.self", 4), ("message.hidden", 5),
    ]  # fmt: skip
    assert (nothing["aev"], nothing["acct"], nothing["acct_too_long"]) == (5, [], False)


@pytest.mark.parametrize("aev", [1, 99], ids=["purged", "from the future"])
async def test_given_facts_that_are_gone_when_asked_then_acct_is_too_long(
    office: Office, aev: int
) -> None:
    mina = await office.person()
    for _ in range(5):
        await office.accounts.append(mina.account, AccountKind.CONTACT, 0, {"account": "7"})
    await purge_facts(office.database, mina.account, keep=2, before=0)

    found = await difference(mina, aev=aev)

    assert (found["aev"], found["acct"], found["acct_too_long"]) == (5, [], True)


async def test_given_more_facts_than_a_page_when_asked_then_acct_is_too_long(
    office: Office,
) -> None:
    mina = await office.person()
    for chat in range(1, 20):
        await office.accounts.append(mina.account, AccountKind.DRAFT, chat, {"draft": "ل" * 4_000})

    found = await difference(mina)

    assert (found["aev"], found["acct"], found["acct_too_long"]) == (19, [], True)


async def test_given_forty_chats_when_a_device_resumes_then_it_costs_five_statements(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chats = [await office.chat([mina, reza]) for _ in range(40)]
    for chat in chats[:5]:
        await reza.sends(chat)
    counted: list[str] = []
    await mina.call("messages.read", cursors=[{"chat": str(chats[0]), "seq": 1}])

    with office.counting(counted):
        found = await difference(mina, *((chat, 1, 0) for chat in chats), aev=3)

    assert sum(len(part["events"]) for part in found["chats"]) == 5
    assert len(counted) <= 5

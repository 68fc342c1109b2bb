"""`messages.read`, `messages.delivered`, `messages.readers`."""

import asyncio
from typing import Any

import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.messages.office import Office, Person


def cursors(*pairs: tuple[int, int]) -> list[dict[str, Any]]:
    return [{"chat": str(chat), "seq": seq} for chat, seq in pairs]


async def read_seq(office: Office, person: Person, chat: int) -> int:
    sql = "select read_seq from member where account_id = $1 and chat_id = $2"
    return int((await office.rows(sql, person.account, chat))[0][0])


async def test_given_messages_when_read_then_own_devices_and_the_others_are_told(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    for _ in range(3):
        await mina.sends(chat)

    done = await reza.call("messages.read", cursors=cursors((chat, 2)))

    own = await reza.hears("read.self")
    receipt = await mina.hears("receipt", account=reza.id)
    assert own == {"t": "read.self", "aev": done["aev"], "chat": str(chat), "read_seq": 2}
    assert receipt == {
        "t": "receipt", "chat": str(chat), "account": reza.id, "read_seq": 2, "delivered_seq": 2,
    }  # fmt: skip
    assert await read_seq(office, reza, chat) == 2


async def test_given_a_cursor_when_moved_back_then_nothing_happens(office: Office) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    for _ in range(3):
        await mina.sends(chat)
    first = await reza.call("messages.read", cursors=cursors((chat, 3)))

    again = await reza.call("messages.read", cursors=cursors((chat, 1)))

    assert again == first
    assert await read_seq(office, reza, chat) == 3


async def test_given_a_cursor_in_the_future_when_moved_then_it_stops_at_the_last_message(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)

    await reza.call("messages.read", cursors=cursors((chat, 2**31 - 1)))
    await reza.call("messages.delivered", cursors=cursors((chat, 2**31 - 1)))

    assert await read_seq(office, reza, chat) == 1
    sql = "select read_seq, delivered_seq from membership where chat_id = $1 and account_id = $2"
    assert await office.rows(sql, chat, reza.account) == [(1, 1)]


async def test_given_an_own_message_when_it_is_stored_then_the_own_cursor_moves_to_it(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await reza.sends(chat)
    await mina.sends(chat)

    own = await mina.hears("read.self")

    assert own["read_seq"] == 2
    assert await read_seq(office, mina, chat) == 2


async def test_given_many_moves_at_once_when_flushed_then_each_call_gets_its_accounts_aev(
    office: Office,
) -> None:
    people = await office.people(6)
    chats = [await office.chat(people) for _ in range(3)]
    for chat in chats:
        for _ in range(5):
            await people[0].sends(chat)

    answers = await asyncio.gather(
        *(
            person.call("messages.read", cursors=cursors(*((chat, seq) for chat in chats)))
            for person in people[1:]
            for seq in (2, 5, 1)
        )
    )

    assert all(answer["aev"] > 0 for answer in answers)
    for person in people[1:]:
        assert [await read_seq(office, person, chat) for chat in chats] == [5, 5, 5]
        heard = [await person.hears("read.self") for _ in chats]
        assert {one["chat"] for one in heard} == {str(chat) for chat in chats}


async def test_given_a_big_chat_when_read_then_nobody_else_is_told(office: Office) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza], flags=1)
    await mina.sends(chat)

    await reza.call("messages.read", cursors=cursors((chat, 1)))
    await reza.call("messages.delivered", cursors=cursors((chat, 1)))

    await reza.hears("read.self")
    sql = "select read_seq, delivered_seq from membership where chat_id = $1 and account_id = $2"
    assert await office.rows(sql, chat, reza.account) == [(0, 0)]


async def test_given_a_message_when_it_arrived_then_its_sender_gets_the_second_tick(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)

    assert await reza.call("messages.delivered", cursors=cursors((chat, 1))) == {}

    receipt = await mina.hears("receipt", account=reza.id)
    assert (receipt["read_seq"], receipt["delivered_seq"]) == (0, 1)


async def test_given_a_group_when_one_reads_then_only_those_who_wrote_it_and_are_there_are_told(
    office: Office,
) -> None:
    mina, reza, sara, gone, ali = await office.people(5)
    chat = await office.chat([mina, reza, sara, gone, ali])
    for person in (mina, gone, sara):
        await person.sends(chat)
    await ali.call("messages.read", cursors=cursors((chat, 2)))
    await office.set_member(chat, gone, role=0)
    await mina.hears("receipt", account=ali.id, read_seq=2)

    await ali.call("messages.read", cursors=cursors((chat, 3)))

    assert (await sara.hears("receipt", account=ali.id))["read_seq"] == 3
    for person in (mina, reza, gone):
        heard = [person.heard.get_nowait() for _ in range(person.heard.qsize())]
        receipts = [one["read_seq"] for one in heard if one.get("account") == ali.id]
        assert max(receipts, default=0) <= 2


async def test_given_some_unknown_chats_when_read_then_the_known_ones_are_moved(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat, left = await office.chat([mina, reza]), await office.chat([mina, reza])
    await mina.sends(chat)
    await mina.sends(left)
    await office.set_own(left, reza, flags=4)
    await office.set_member(left, reza, role=0)

    await reza.call("messages.read", cursors=cursors((chat, 1), (left, 1), (5, 1)))

    assert await read_seq(office, reza, chat) == 1
    assert await read_seq(office, reza, left) == 0


BAD = {
    "none": ([], ErrorCode.BAD_REQUEST),
    "101": ([{"chat": "5", "seq": 1}] * 101, ErrorCode.BAD_REQUEST),
    "seq 0": ([{"chat": "5", "seq": 0}], ErrorCode.BAD_REQUEST),
    "seq 2^31": ([{"chat": "5", "seq": 2**31}], ErrorCode.BAD_REQUEST),
    "no seq": ([{"chat": "5"}], ErrorCode.BAD_REQUEST),
    "chat beyond 63 bits": ([{"chat": "9" * 19, "seq": 1}], ErrorCode.INVALID),
    "unknown chat": ([{"chat": "5", "seq": 1}], ErrorCode.NO_CHAT),
}


@pytest.mark.parametrize("method", ["messages.read", "messages.delivered"])
@pytest.mark.parametrize("case", BAD, ids=list(BAD))
async def test_given_bad_input_when_cursors_move_then_it_is_refused(
    office: Office, case: str, method: str
) -> None:
    asked, code = BAD[case]
    mina = await office.person()

    with pytest.raises(Refused) as refused:
        await mina.call(method, cursors=asked)

    assert refused.value.code == code


async def test_given_cursors_when_one_asks_who_has_read_then_all_but_the_sender_are_named(
    office: Office,
) -> None:
    mina, reza, sara, stranger = await office.people(4)
    chat = await office.chat([mina, reza, sara])
    await mina.sends(chat)
    await mina.sends(chat)
    await reza.call("messages.read", cursors=cursors((chat, 2)))
    await sara.call("messages.read", cursors=cursors((chat, 1)))
    asked = {"chat": str(chat)}

    first = await mina.call("messages.readers", **asked, seq=1)
    second = await mina.call("messages.readers", **asked, seq=2)

    assert first == {"accounts": sorted([reza.id, sara.id], key=int)}
    assert second == {"accounts": [reza.id]}
    with pytest.raises(Refused) as unknown:
        await mina.call("messages.readers", **asked, seq=3)
    assert unknown.value.code == ErrorCode.NO_MESSAGE
    with pytest.raises(Refused) as outside:
        await stranger.call("messages.readers", **asked, seq=1)
    assert outside.value.code == ErrorCode.NO_CHAT
    await office.set_chat(chat, flags=1)
    with pytest.raises(Refused) as big:
        await mina.call("messages.readers", **asked, seq=1)
    assert big.value.code == ErrorCode.NOT_FOR_BIG_CHATS

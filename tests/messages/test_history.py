"""`messages.history` and `messages.get`: pages both ways, what the reader may see, gaps."""

from typing import Any

import pytest

from messenger.feature import Refused
from messenger.messages.history import merged
from messenger.wire.codes import ErrorCode
from tests.messages.office import Office, Person


async def a_full_chat(office: Office, count: int, text: str = "n") -> tuple[Person, int]:
    mina = await office.person()
    chat = await office.chat([mina])
    for number in range(1, count + 1):
        await mina.sends(chat, f"{text}{number}")
    return mina, chat


PAGES: dict[str, tuple[dict[str, int], list[int], bool]] = {
    "the newest": ({"limit": 3}, [8, 9, 10], True),
    "all": ({}, list(range(1, 11)), False),
    "exactly all": ({"limit": 10}, list(range(1, 11)), False),
    "before": ({"before": 5, "limit": 3}, [2, 3, 4], True),
    "before the beginning": ({"before": 3, "limit": 3}, [1, 2], False),
    "before the first": ({"before": 1}, [], False),
    "before the future": ({"before": 2**31 - 1, "limit": 2}, [9, 10], True),
    "after": ({"after": 5, "limit": 3}, [6, 7, 8], True),
    "after the end": ({"after": 8, "limit": 3}, [9, 10], False),
    "after nothing": ({"after": 0, "limit": 2}, [1, 2], True),
    "after the last": ({"after": 10}, [], False),
    "around": ({"around": 5, "limit": 4}, [4, 5, 6, 7], True),
    "around one": ({"around": 5, "limit": 1}, [5], True),
    "around the first": ({"around": 1, "limit": 4}, [1, 2, 3], True),
    "around the last": ({"around": 10, "limit": 4}, [9, 10], True),
    "around all": ({"around": 5, "limit": 100}, list(range(1, 11)), False),
}


@pytest.fixture(scope="module")
async def ten(office: Office) -> tuple[Person, int]:
    return await a_full_chat(office, 10)


@pytest.mark.parametrize("case", PAGES, ids=list(PAGES))
async def test_given_ten_messages_when_a_page_is_asked_for_then_it_holds_these(
    ten: tuple[Person, int], case: str
) -> None:
    asked, seqs, more = PAGES[case]
    mina, chat = ten

    page = await mina.call("messages.history", chat=str(chat), **asked)

    assert [message["seq"] for message in page["messages"]] == seqs
    assert page.get("more", False) == more
    assert page["last_seq"] == 10


BAD: dict[str, tuple[dict[str, Any], ErrorCode]] = {
    "two points": ({"before": 1, "after": 2}, ErrorCode.INVALID),
    "limit 0": ({"limit": 0}, ErrorCode.BAD_REQUEST),
    "limit 101": ({"limit": 101}, ErrorCode.BAD_REQUEST),
    "before 0": ({"before": 0}, ErrorCode.BAD_REQUEST),
    "after -1": ({"after": -1}, ErrorCode.BAD_REQUEST),
    "around 2^31": ({"around": 2**31}, ErrorCode.BAD_REQUEST),
    "unknown chat": ({"chat": "5"}, ErrorCode.NO_CHAT),
    "chat beyond 63 bits": ({"chat": "9" * 19}, ErrorCode.INVALID),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
async def test_given_bad_input_when_history_is_asked_for_then_it_is_refused(
    ten: tuple[Person, int], case: str
) -> None:
    changes, code = BAD[case]
    mina, chat = ten

    with pytest.raises(Refused) as refused:
        await mina.call("messages.history", **{"chat": str(chat)} | changes)

    assert refused.value.code == code


async def test_given_long_messages_when_paged_through_then_each_page_fits_and_none_is_missed(
    office: Office,
) -> None:
    mina, chat = await a_full_chat(office, 30, "ل" * 4_000)
    newest, oldest = [], []

    page = await mina.history(chat, limit=100)
    while True:
        newest = [message["seq"] for message in page["messages"]] + newest
        if not page.get("more"):
            break
        assert len(page["messages"]) < 10
        page = await mina.history(chat, limit=100, before=newest[0])
    page = await mina.history(chat, limit=100, after=0)
    while True:
        oldest += [message["seq"] for message in page["messages"]]
        if not page.get("more"):
            break
        page = await mina.history(chat, limit=100, after=oldest[-1])
    around = await mina.history(chat, limit=100, around=15)
    got = await mina.call("messages.get", chat=str(chat), seqs=list(range(1, 31)))

    assert newest == oldest == list(range(1, 31))
    middle = [message["seq"] for message in around["messages"]]
    assert 15 in middle
    assert middle == list(range(middle[0], middle[-1] + 1))
    assert around["more"]
    assert [message["seq"] for message in got["messages"]] + got["left"] == list(range(1, 31))


async def test_given_a_thousand_gaps_when_a_page_is_asked_for_then_all_of_it_fits_its_bound(
    office: Office,
) -> None:
    mina, chat = await a_full_chat(office, 20, "ل" * 4_000)
    await office.rows(
        "insert into chat_gap(chat_id, low, high) select $1, 2000000000 + n * 3, 2000000001 + n * 3"
        " from generate_series(1, 1500) n returning 1",
        chat,
    )

    page = await mina.history(chat, limit=100)

    assert len(page["gaps"]) == 1_000
    assert page["gaps"][-1] == [2_000_004_500, 2_000_004_501]
    assert [message["seq"] for message in page["messages"]] == list(range(17, 21))


async def test_given_some_that_do_not_exist_when_got_by_number_then_they_are_left_out(
    ten: tuple[Person, int],
) -> None:
    mina, chat = ten

    got = await mina.call("messages.get", chat=str(chat), seqs=[3, 99, 1])

    assert [message["seq"] for message in got["messages"]] == [1, 3]
    with pytest.raises(Refused) as refused:
        await mina.call("messages.get", chat=str(chat), seqs=[99])
    assert refused.value.code == ErrorCode.NO_MESSAGE
    with pytest.raises(Refused) as outside:
        await mina.call("messages.get", chat="5", seqs=[1])
    assert outside.value.code == ErrorCode.NO_CHAT


async def test_given_a_cleared_chat_when_read_back_then_only_what_came_later_is_there(
    office: Office,
) -> None:
    mina, chat = await a_full_chat(office, 10)
    await office.set_own(chat, mina, cleared_seq=7)

    page = await mina.history(chat)
    older = await mina.history(chat, before=8)
    around = await mina.history(chat, around=5)

    assert [message["seq"] for message in page["messages"]] == [8, 9, 10]
    assert not page.get("more")
    assert older["messages"] == []
    assert [message["seq"] for message in around["messages"]] == [8, 9, 10]


@pytest.mark.parametrize(("flags", "seqs"), [(0, [1, 2, 3]), (32, [3])])
async def test_given_a_newcomer_when_they_read_back_then_the_chats_rule_holds(
    office: Office, flags: int, seqs: list[int]
) -> None:
    mina, newcomer = await office.people(2)
    chat = await office.chat([mina], flags=flags)
    await mina.sends(chat)
    await mina.sends(chat)
    await office.joins(chat, newcomer)
    await mina.sends(chat)

    page = await newcomer.history(chat)

    assert [message["seq"] for message in page["messages"]] == seqs


async def test_given_deleted_and_hidden_messages_when_paged_then_gaps_reach_to_the_read_cursor(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    for _ in range(10):
        await mina.sends(chat)
    asked = {"chat": str(chat)}
    await mina.call("messages.delete", **asked, seqs=[1, 4, 5, 8], **{"for": "all"})
    await reza.call("messages.delete", **asked, seqs=[6, 8, 10], **{"for": "me"})
    await reza.call("messages.read", cursors=[asked | {"seq": 2}])

    page = await reza.history(chat, limit=1)
    older = await reza.history(chat, before=7, limit=3)

    assert page["gaps"] == older["gaps"] == [[4, 6], [8, 8], [10, 10]]
    assert [message.get("deleted", False) for message in older["messages"]] == [True, True, True]


@pytest.mark.parametrize(
    ("gaps", "hidden", "found"),
    [
        ([], [], []),
        ([(3, 4)], [], [(3, 4)]),
        ([(8, 9), (3, 4)], [7, 5], [(3, 5), (7, 9)]),
        ([(1, 9)], [12, 3], [(1, 9), (12, 12)]),
        ([], [5, 4, 3], [(3, 5)]),
    ],
)
def test_given_ranges_and_numbers_when_merged_then_each_is_counted_once(
    gaps: list[tuple[int, int]], hidden: list[int], found: list[tuple[int, int]]
) -> None:
    assert merged(gaps, hidden) == found

"""`messages.search` and the index behind it."""

import asyncio
from typing import Any

import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.messages.office import Office, Person

WANT = {"می‌خواهم": "w1", "می خواهم": "w2", "میخواهم": "w3"}
BOOKS = {"کتاب‌های": "b1", "کتاب های": "b2", "کتابهای": "b3"}
TEXTS = {
    **{f"من {text} بروم": name for text, name in WANT.items()},
    **{f"آن {text} کهنه": name for text, name in BOOKS.items()},
    "سال ۱۴۰۴ خوش": "year",
    "او نمی‌دانسته‌ام گفت": "unknown",
    "علي‌اكبر آمد": "ali",
}
QUESTIONS = {
    "می‌خواهم": {"w1", "w2", "w3"},
    "می خواهم": {"w1", "w2", "w3"},
    "میخواهم": {"w1", "w2", "w3"},
    "کتاب‌های": {"b1", "b2", "b3"},
    "کتاب های": {"b1", "b2", "b3"},
    "کتابهای": {"b1", "b2", "b3"},
    "خواهم": {"w1", "w2"},
    "1404": {"year"},
    "۱۴۰۴": {"year"},
    "نمیدانسته‌ام": {"unknown"},
    "کتاب": {"b1", "b2"},
    "علی‌اکبر": {"ali"},
    "بروم می‌خواهم": {"w1", "w2", "w3"},
    "بروم کهنه": set(),
    "نیست": set(),
}


@pytest.fixture(scope="module")
async def library(office: Office) -> tuple[Person, int]:
    mina = await office.person()
    chat = await office.chat([mina])
    for text in TEXTS:
        await mina.sends(chat, text)
    await office.indexer.flush()
    return mina, chat


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("everywhere", [False, True])
async def test_given_texts_in_many_spellings_when_searched_then_the_same_words_find_each_other(
    library: tuple[Person, int], question: str, *, everywhere: bool
) -> None:
    mina, chat = library
    where = {} if everywhere else {"chat": str(chat)}

    found = await mina.call("messages.search", q=question, **where)

    assert {TEXTS[hit["message"]["text"]] for hit in found["hits"]} == QUESTIONS[question]
    assert all(hit["chat"] == str(chat) for hit in found["hits"])


async def test_given_a_new_message_when_two_seconds_have_passed_then_it_is_found(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])

    await mina.sends(chat, "پروانه")

    async with asyncio.timeout(2):
        while not (found := await mina.call("messages.search", q="پروانه"))["hits"]:
            continue
    assert found["hits"][0]["message"] == (await mina.history(chat))["messages"][0]


async def test_given_a_node_that_died_when_its_chats_are_repaired_then_its_last_messages_are_found(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat, "پرستو")
    await office.indexer.flush()
    await office.rows("delete from message_index where chat_id = $1 returning 1", chat)

    office.indexer.repaired(chat)
    await office.indexer.flush()

    assert len((await mina.call("messages.search", q="پرستو"))["hits"]) == 1


async def test_given_edited_deleted_and_hidden_messages_when_searched_then_the_present_holds(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    for text in ("قدیم یک", "قدیم دو", "قدیم سه", "قدیم چهار"):
        await mina.sends(chat, text)
    await office.indexer.flush()
    asked = {"chat": str(chat)}
    await mina.call("messages.edit", **asked, seq=1, text="تازه یک")
    await mina.call("messages.delete", **asked, seqs=[2], **{"for": "all"})
    await mina.call("messages.delete", **asked, seqs=[3], **{"for": "me"})
    await office.indexer.flush()

    old = await mina.call("messages.search", q="قدیم")
    new = await mina.call("messages.search", q="تازه")

    assert [hit["message"]["seq"] for hit in old["hits"]] == [4]
    assert [hit["message"]["seq"] for hit in new["hits"]] == [1]


async def test_given_many_hits_when_paged_through_then_each_comes_once_newest_first(
    office: Office,
) -> None:
    mina = await office.person()
    first, second = await office.chat([mina]), await office.chat([mina])
    for number in range(15):
        await mina.sends(first if number % 2 else second, f"باران {number}")
    await office.indexer.flush()
    seen: list[str] = []
    cursor: dict[str, Any] = {}

    while True:
        page = await mina.call("messages.search", q="باران", limit=4, **cursor)
        seen += [hit["message"]["text"] for hit in page["hits"]]
        if "next" not in page:
            break
        cursor = {"cursor": page["next"]}

    assert sorted(seen) == sorted(f"باران {number}" for number in range(15))
    assert len(seen) == 15


async def test_given_filters_when_searched_then_only_matching_messages_come(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat, "گل سرخ")
    await reza.sends(chat, "گل زرد")
    await office.indexer.flush()
    at = (await mina.history(chat))["messages"][0]["at"]
    asked = {"q": "گل", "chat": str(chat)}

    by_reza = await mina.call("messages.search", **asked, **{"from": reza.id})
    calls = await mina.call("messages.search", **asked, k="call")
    before = await mina.call("messages.search", **asked, until=at - 1)
    since = await mina.call("messages.search", **asked, since=at, k="text")

    assert [hit["message"]["text"] for hit in by_reza["hits"]] == ["گل زرد"]
    assert calls["hits"] == before["hits"] == []
    assert len(since["hits"]) == 2


async def test_given_chats_of_others_when_searched_then_nothing_of_them_is_found(
    office: Office,
) -> None:
    mina, reza, newcomer = await office.people(3)
    chat = await office.chat([mina, reza], flags=32)
    await mina.sends(chat, "رازنامه")
    await office.indexer.flush()
    await office.joins(chat, newcomer)
    await office.set_member(chat, reza, role=0)

    found = [
        (await person.call("messages.search", q="رازنامه"))["hits"] for person in (reza, newcomer)
    ]

    assert found == [[], []]
    with pytest.raises(Refused) as refused:
        await reza.call("messages.search", q="رازنامه", chat=str(chat))
    assert refused.value.code == ErrorCode.NO_CHAT


BAD: dict[str, tuple[dict[str, Any], ErrorCode]] = {
    "nothing": ({"q": ""}, ErrorCode.BAD_REQUEST),
    "65 characters": ({"q": "x" * 65}, ErrorCode.BAD_REQUEST),
    "no word": ({"q": "!؟ \0"}, ErrorCode.INVALID),
    "limit 51": ({"limit": 51}, ErrorCode.BAD_REQUEST),
    "limit 0": ({"limit": 0}, ErrorCode.BAD_REQUEST),
    "kind": ({"k": "song"}, ErrorCode.BAD_REQUEST),
    "since": ({"since": -1}, ErrorCode.BAD_REQUEST),
    "until": ({"until": 2**60}, ErrorCode.BAD_REQUEST),
    "cursor": ({"cursor": "x"}, ErrorCode.INVALID),
    "cursor of numbers": ({"cursor": "1.2"}, ErrorCode.INVALID),
    "cursor beyond": ({"cursor": f"{2**63}.1.1"}, ErrorCode.INVALID),
    "cursor seq beyond": ({"cursor": f"1.1.{2**31}"}, ErrorCode.INVALID),
    "cursor in other digits": ({"cursor": "۱.۲.۳"}, ErrorCode.INVALID),
    "unknown chat": ({"chat": "5"}, ErrorCode.NO_CHAT),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
async def test_given_bad_input_when_searched_then_it_is_refused(office: Office, case: str) -> None:
    changes, code = BAD[case]
    mina = await office.person()

    with pytest.raises(Refused) as refused:
        await mina.call("messages.search", **{"q": "گل"} | changes)

    assert refused.value.code == code

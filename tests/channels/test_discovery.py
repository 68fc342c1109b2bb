"""Public channels are found by words and names; verified ones first, look-alikes last."""

import itertools
import secrets
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels.discovery import Discovery
from channels.lookalike import Candidate, alike, ranked, skeleton
from channels.sanctions import Sanctioned
from channels.store.directory import DirectoryStore
from channels.store.reports import ReportStore
from messenger.chats.store.chats import ChatRows
from messenger.ids import ChatId
from messenger.wire.codes import ErrorCode
from tests.channels.studio import Person, Studio, a_name
from tests.support.people import becomes

PAIRS = [
    ("paypal", "раураl"),  # Cyrillic
    ("irna", "lrna"),
    ("bank melli", "bank meIIi"),
    ("خبرگزاری", "خبرگذاری"),
    ("كتاب", "کتاب"),
    ("modern", "modem"),
    ("news2", "NEWS2"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_given_names_the_eye_confuses_then_their_skeletons_are_equal(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@given(st.text(max_size=40))
def test_given_any_name_then_its_skeleton_is_a_short_line_of_letters(name: str) -> None:
    found = skeleton(name)

    assert " " not in found
    assert all(a != b for a, b in itertools.pairwise(found))


def a_candidate(chat: int, title: str, **more: object) -> Candidate:
    values = {"username": f"name{chat}", "members": 1, "verified": False, **more}
    return Candidate(
        chat=chat,
        title_fold=title,
        skeleton=skeleton(title),
        **values,  # type: ignore[arg-type]  # a test's own
    )


def test_given_candidates_then_verified_come_first_then_the_named_then_the_large() -> None:
    real = a_candidate(1, "irna", verified=True)
    fake = a_candidate(2, "lrna", members=10**6)
    named = a_candidate(3, "other", username="irna_fans")
    large = a_candidate(4, "irna sport", members=500)

    order = ranked("@irna_fans", [fake, large, named, real])

    assert [one.chat for one in order] == [1, 3, 4, 2]
    assert alike([fake, large, named, real]) == {2}


def discovery(studio: Studio) -> Discovery:
    """Beside the node's, so that a test need not wait for its turn."""

    def now_ms() -> int:
        return time.time_ns() // 1_000_000

    in_force = Sanctioned(ReportStore(studio.db), now_ms)
    return Discovery(DirectoryStore(studio.db), ChatRows(studio.db), in_force, studio.bus, now_ms)


def a_word() -> str:
    """Letters that no other test's channel has."""
    return "".join(chr(ord("a") + int(one, 16)) for one in secrets.token_hex(8))


async def found_by(person: Person, q: str) -> list[tuple[str, bool]]:
    hits = (await person.call("channels.search", q=q))["chats"]
    return [(hit["chat"]["id"], hit.get("alike", False)) for hit in hits]


async def test_given_a_new_public_channel_then_it_is_found_by_word_start_and_name(
    mina: Person, reza: Person
) -> None:
    word, name = a_word(), a_name()
    chat = await mina.founds(title=f"اخبار {word} روز", username=name)

    async def by_word() -> list[tuple[str, bool]]:
        return await found_by(reza, word)

    await becomes(by_word, [(chat, False)])
    assert await found_by(reza, f"@{name[:10]}") == [(chat, False)]
    assert await found_by(reza, f"  {word.upper()} اخبار") == [(chat, False)]
    hit = (await reza.call("channels.search", q=word))["chats"][0]["chat"]
    assert (hit["me"]["role"], hit["username"]) == ("left", name)


async def test_given_a_verified_channel_and_one_that_looks_like_it_then_the_real_one_is_first(
    studio: Studio, mina: Person, reza: Person
) -> None:
    word = a_word() + "il"
    fake = await reza.founds(title=word[:-2] + "l1", username=a_name())
    real = await mina.founds(title=word, username=a_name())
    await studio.verifies(real)
    part = discovery(studio)
    await part.look_at([ChatId(int(real)), ChatId(int(fake))])

    found = await found_by(reza, word)

    assert found == [(real, False), (fake, True)]


async def test_given_a_private_renamed_deleted_or_hidden_channel_then_it_is_not_found(
    studio: Studio, mina: Person, reza: Person
) -> None:
    word = a_word()
    private = await mina.founds(title=word)
    gone, hidden, nameless = [
        await mina.founds(title=f"{word} {n}", username=a_name()) for n in range(3)
    ]
    part = discovery(studio)
    chats = [ChatId(int(one)) for one in (private, gone, hidden, nameless)]
    await part.look_at(chats)
    before = await found_by(reza, word)

    await mina.call("chats.delete", chat=gone)
    await mina.call("chats.update", chat=nameless, username="")
    await studio.run(
        "insert into sanction(case_id, chat_id, kind, by_id) values ($1, $1, 2, 1)", int(hidden)
    )
    await part._in_force.read()
    await part.look_at(chats)

    assert {chat for chat, _ in before} == {gone, hidden, nameless}
    assert await found_by(reza, word) == []


async def test_given_a_banned_account_then_the_channel_is_not_among_its_hits(
    studio: Studio, mina: Person, reza: Person
) -> None:
    word = a_word()
    chat = await mina.founds(title=word, username=a_name())
    await discovery(studio).look_at([ChatId(int(chat))])
    await mina.call("chats.remove_member", chat=chat, account=reza.id, ban=True)

    assert await found_by(reza, word) == []
    assert await found_by(mina, word) == [(chat, False)]


async def test_given_what_nobody_told_then_the_walk_over_all_names_brings_it_in(
    studio: Studio, mina: Person
) -> None:
    word = a_word()
    chat = await mina.founds(title=word, username=a_name())
    part = discovery(studio)
    await part.look_at([ChatId(int(chat))])
    await studio.run("update chat set title = title || ' two' where chat_id = $1", int(chat))
    await studio.run("update channel_directory set members = 77 where chat_id = $1", int(chat))

    for _ in range(3):
        await part.walk()

    rows = await studio.rows(
        "select title_fold, members from channel_directory where chat_id = $1", int(chat)
    )
    assert tuple(rows[0]) == (f"{word} two", 1)


async def test_given_a_category_then_channels_one_is_not_in_are_suggested(
    studio: Studio, mina: Person, reza: Person
) -> None:
    own = await mina.founds(title="x", username=a_name())
    other = await reza.founds(title="y", username=a_name())
    for owner, chat in ((mina, own), (reza, other)):
        await owner.call("channels.configure", chat=chat, category="religion")
        await studio.verifies(chat)
    await discovery(studio).look_at([ChatId(int(own)), ChatId(int(other))])

    hits = (await mina.call("channels.suggest", category="religion"))["chats"]

    assert [hit["chat"]["id"] for hit in hits] == [other]


@pytest.mark.parametrize(
    ("method", "fields", "code"),
    [
        ("channels.search", {"q": ""}, ErrorCode.BAD_REQUEST),
        ("channels.search", {"q": "x" * 65}, ErrorCode.BAD_REQUEST),
        ("channels.search", {"q": "!!!"}, ErrorCode.INVALID),
        ("channels.search", {"q": "a", "limit": 21}, ErrorCode.BAD_REQUEST),
        ("channels.suggest", {"category": "x"}, ErrorCode.BAD_REQUEST),
        ("channels.suggest", {}, ErrorCode.BAD_REQUEST),
    ],
)
async def test_given_a_bad_question_then_it_is_refused(
    mina: Person, method: str, fields: dict[str, object], code: ErrorCode
) -> None:
    assert (await mina.refusal(method, **fields)).code is code


async def test_given_signs_that_mean_something_to_sql_then_they_are_letters(mina: Person) -> None:
    for q in ("%a", "_a", "\\a", "a' or 1=1"):
        await mina.call("channels.search", q=q)

"""`messages.react`: one per account, counts exact, at most one event per message and second."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messenger.feature import Refused
from messenger.messages.reacting import is_emoji
from messenger.wire.codes import ErrorCode
from tests.messages.office import Office


async def test_given_a_reaction_when_it_is_the_first_then_members_hear_the_counts_at_once(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)

    await reza.call("messages.react", chat=str(chat), seq=1, emoji="👍")

    heard = await mina.hears("message.reactions", chat=str(chat))
    assert heard == {
        "t": "message.reactions", "chat": str(chat), "ev": 2, "seq": 1, "counts": {"👍": 1},
    }  # fmt: skip
    assert (await mina.history(chat))["messages"][0]["reactions"] == {"👍": 1}


async def test_given_many_reactions_in_one_second_then_the_last_of_two_events_has_all_of_them(
    office: Office,
) -> None:
    people = await office.people(8)
    chat = await office.chat(people)
    await people[0].sends(chat)

    emoji = ["👍", "❤️", "👍", "😂", "👍", "❤️", "👍", "👍"]
    await asyncio.gather(
        *(
            person.call("messages.react", chat=str(chat), seq=1, emoji=one)
            for person, one in zip(people, emoji, strict=True)
        )
    )

    await people[0].hears("message.reactions")
    last = await people[0].hears("message.reactions")
    assert last["counts"] == dict(Counter(emoji))
    assert last["ev"] == 3
    assert await office.counts(chat) == (1, 3)


async def test_given_a_reaction_when_changed_and_withdrawn_then_the_counts_follow(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    react = {"chat": str(chat), "seq": 1}

    await mina.call("messages.react", **react, emoji="👍")
    await reza.call("messages.react", **react, emoji="👍")
    await reza.call("messages.react", **react, emoji="❤️")
    first = (await mina.history(chat))["messages"][0]["reactions"]
    await mina.call("messages.react", **react, emoji=None)
    await reza.call("messages.react", **react, emoji=None)
    await reza.call("messages.react", **react, emoji=None)

    assert first == {"👍": 1, "❤️": 1}
    assert "reactions" not in (await mina.history(chat))["messages"][0]
    await mina.hears("message.reactions", counts={"👍": 1})
    assert (await mina.hears("message.reactions"))["counts"] == {}


async def a_late_reaction(office: Office, chat: int, account: int) -> None:
    """What a process leaves that dies between counting and telling."""
    await office.rows(
        "insert into post_stat(chat_id, seq, reactions)"
        """ values ($1, 1, '{"n": {"👍": 1}, "at": 5, "late": true}') returning 1""",
        chat,
    )
    await office.rows(
        "insert into reaction(chat_id, seq, account_id, emoji) values ($1, 1, $2, '👍')"
        " returning 1",
        chat,
        account,
    )


async def test_given_a_process_that_died_within_the_second_when_the_next_one_reacts_then_all_count(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    await a_late_reaction(office, chat, mina.account)

    await reza.call("messages.react", chat=str(chat), seq=1, emoji="👍")

    assert (await mina.hears("message.reactions"))["counts"] == {"👍": 2}


async def test_given_a_process_that_died_within_the_second_when_somebody_reads_then_all_are_told(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    await a_late_reaction(office, chat, mina.account)

    page = await reza.history(chat)

    assert page["messages"][0]["reactions"] == {"👍": 1}
    assert (await mina.hears("message.reactions"))["counts"] == {"👍": 1}
    assert await office.counts(chat) == (1, 2)


async def test_given_twenty_kinds_when_another_comes_then_it_is_refused(office: Office) -> None:
    people = await office.people(3)
    chat = await office.chat(people)
    await people[0].sends(chat)
    kinds = {chr(0x1F600 + number): 1 for number in range(20)}
    await office.rows(
        "insert into post_stat(chat_id, seq, reactions)"
        " values ($1, 1, jsonb_build_object('n', $2::jsonb)) returning 1",
        chat,
        str(kinds).replace("'", '"'),
    )

    with pytest.raises(Refused) as refused:
        await people[0].call("messages.react", chat=str(chat), seq=1, emoji="👍")
    await people[1].call("messages.react", chat=str(chat), seq=1, emoji=chr(0x1F600))

    assert refused.value.code == ErrorCode.REACTION_NOT_ALLOWED
    assert refused.value.details == {"limit": 20}


BAD = {
    "letters": ({"emoji": "ok"}, ErrorCode.REACTION_NOT_ALLOWED),
    "empty": ({"emoji": ""}, ErrorCode.REACTION_NOT_ALLOWED),
    "a digit": ({"emoji": "1"}, ErrorCode.REACTION_NOT_ALLOWED),
    "too many": ({"emoji": "👍" * 17}, ErrorCode.REACTION_NOT_ALLOWED),
    "far too many": ({"emoji": "👍" * 65}, ErrorCode.BAD_REQUEST),
    "NUL": ({"emoji": "\0"}, ErrorCode.INVALID),
    "a number": ({"emoji": 5}, ErrorCode.BAD_REQUEST),
    "seq 0": ({"seq": 0}, ErrorCode.BAD_REQUEST),
    "unknown seq": ({"seq": 9}, ErrorCode.NO_MESSAGE),
    "deleted": ({"seq": 2}, ErrorCode.NO_MESSAGE),
    "unknown chat": ({"chat": "5"}, ErrorCode.NO_CHAT),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
async def test_given_bad_input_when_reacted_then_it_is_refused_and_nothing_counted(
    office: Office, case: str
) -> None:
    changes, code = BAD[case]
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat)
    await mina.sends(chat)
    await mina.call("messages.delete", chat=str(chat), seqs=[2], **{"for": "all"})
    before = await office.counts(chat)

    with pytest.raises(Refused) as refused:
        await mina.call("messages.react", **{"chat": str(chat), "seq": 1, "emoji": "👍"} | changes)

    assert refused.value.code == code
    assert await office.counts(chat) == before
    assert await office.rows("select 1 from reaction where chat_id = $1", chat) == []


async def test_given_those_who_may_not_write_when_they_react_then_they_are_refused(
    office: Office,
) -> None:
    mina, stranger, restricted, banned = await office.people(4)
    chat = await office.chat([mina, restricted, banned])
    await mina.sends(chat)
    await office.set_member(chat, restricted, rights=1)
    await office.set_member(chat, banned, role=-1)

    codes = []
    for person in (stranger, restricted, banned):
        with pytest.raises(Refused) as refused:
            await person.call("messages.react", chat=str(chat), seq=1, emoji="👍")
        codes.append(refused.value.code)

    assert codes == [ErrorCode.NO_CHAT, ErrorCode.FORBIDDEN, ErrorCode.BANNED]


@pytest.mark.parametrize("text", ["👍", "❤️", "👍🏽", "👨‍👩‍👧", "🇮🇷", "1️⃣", "‼️", "☺"])
def test_given_an_emoji_when_looked_at_then_it_is_one(text: str) -> None:
    assert is_emoji(text)


@given(st.text(alphabet=st.characters(categories=["L", "Z", "Cc", "Cs", "Nd"]), max_size=8))
def test_given_no_symbol_when_looked_at_then_it_is_none(text: str) -> None:
    assert not is_emoji(text)

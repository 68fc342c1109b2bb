"""`messages.send`: what is stored, what is refused, what the members hear."""

import asyncio
from typing import Any

import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.conftest import Stores
from tests.messages.office import CHANNEL, Office, an_office


async def test_given_two_members_when_one_sends_then_the_other_hears_what_history_holds(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])

    sent = await mina.sends(chat, "salaam", random_id="77")

    heard = await reza.hears("message.new", chat=str(chat))
    own = await mina.hears("message.new", chat=str(chat))
    stored = (await reza.history(chat))["messages"]
    assert (sent["seq"], sent["ev"]) == (1, 1)
    assert heard["m"] == stored[0]
    assert heard["m"]["from"] == mina.id
    assert "rid" not in heard["m"]
    assert own["m"] == heard["m"] | {"rid": "77"}


async def test_given_entities_reply_and_silence_when_sent_then_all_of_it_is_kept(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    ents = [
        {"k": "bold", "at": 0, "n": 6},
        {"k": "link", "at": 0, "n": 6, "url": "https://example.ir/"},
        {"k": "mention", "at": 3, "n": 2, "account": reza.id},
    ]

    await mina.sends(chat, "salaam", ents=ents, reply=1, silent=True)

    await reza.hears("message.new", ev=1)
    live = (await reza.hears("message.new", ev=2))["m"]
    kept = (await reza.call("messages.get", chat=str(chat), seqs=[2]))["messages"][0]
    assert live == kept
    assert (kept["ents"], kept["reply"], kept["silent"]) == (ents, 1, True)


async def test_given_a_text_in_two_parts_when_sent_then_it_is_stored_composed(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])

    await mina.sends(chat, "ا\u0653مد")

    assert (await mina.history(chat))["messages"][0]["text"] == "آمد"


async def test_given_a_lost_answer_when_the_send_is_repeated_then_one_message_is_stored(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])

    first = await mina.sends(chat, "salaam", random_id="7")
    again = await mina.sends(chat, "salaam", random_id="7")

    assert again == first | {"dup": True}
    assert await office.counts(chat) == (1, 1)


@pytest.mark.parametrize(
    "other", [{"text": "salaam!"}, {"ents": [{"k": "bold", "at": 0, "n": 1}]}, {"reply": 1}]
)
async def test_given_a_used_key_when_another_body_is_sent_then_it_is_refused(
    office: Office, other: dict[str, Any]
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat, "salaam", random_id="7")

    with pytest.raises(Refused) as refused:
        await mina.sends(chat, random_id="7", **{"text": "salaam"} | other)

    assert refused.value.code == ErrorCode.IDEMPOTENCY_MISMATCH
    assert refused.value.details == {"seq": 1}
    assert await office.counts(chat) == (1, 1)


async def test_given_many_sends_at_once_when_answered_then_their_order_is_that_of_the_calls(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])

    answers = await asyncio.gather(*(mina.sends(chat, f"n{number}") for number in range(50)))

    assert [answer["seq"] for answer in answers] == list(range(1, 51))
    stored = (await mina.history(chat))["messages"]
    assert [message["text"] for message in stored] == [f"n{number}" for number in range(50)]
    assert [(await reza.hears("message.new"))["ev"] for _ in range(50)] == list(range(1, 51))


BAD = {
    "no chat": ({"chat": None}, ErrorCode.BAD_REQUEST),
    "chat not an id": ({"chat": "x1"}, ErrorCode.BAD_REQUEST),
    "chat negative": ({"chat": "-5"}, ErrorCode.BAD_REQUEST),
    "chat beyond 63 bits": ({"chat": "9999999999999999999"}, ErrorCode.INVALID),
    "chat as a number": ({"chat": 5}, ErrorCode.BAD_REQUEST),
    "unknown chat": ({"chat": "5"}, ErrorCode.NO_CHAT),
    "key 0": ({"random_id": "0"}, ErrorCode.BAD_REQUEST),
    "key beyond 63 bits": ({"random_id": str(2**63)}, ErrorCode.INVALID),
    "no key": ({"random_id": None}, ErrorCode.BAD_REQUEST),
    "no text": ({"text": ""}, ErrorCode.EMPTY_OR_TOO_LONG),
    "only spaces": ({"text": " \u200c\n\u2063"}, ErrorCode.EMPTY_OR_TOO_LONG),
    "4,097 characters": ({"text": "x" * 4_097}, ErrorCode.EMPTY_OR_TOO_LONG),
    "16,385 bytes": ({"text": "\U0001f600" * 4_096 + "x"}, ErrorCode.EMPTY_OR_TOO_LONG),
    "NUL": ({"text": "a\0b"}, ErrorCode.INVALID),
    "text a number": ({"text": 5}, ErrorCode.BAD_REQUEST),
    "reply 0": ({"reply": 0}, ErrorCode.BAD_REQUEST),
    "reply 2^31": ({"reply": 2**31}, ErrorCode.BAD_REQUEST),
    "reply to nothing": ({"reply": 9}, ErrorCode.REPLY_NOT_FOUND),
    "media": ({"media": ["5"]}, ErrorCode.FEATURE_OFF),
    "101 entities": ({"ents": [{"k": "bold", "at": 0, "n": 1}] * 101}, ErrorCode.BAD_REQUEST),
    "unknown entity": ({"ents": [{"k": "blink", "at": 0, "n": 1}]}, ErrorCode.BAD_REQUEST),
    "entity beyond": ({"ents": [{"k": "bold", "at": 5, "n": 2}]}, ErrorCode.INVALID),
    "empty entity": ({"ents": [{"k": "bold", "at": 0, "n": 0}]}, ErrorCode.BAD_REQUEST),
    "entities swapped": (
        {"ents": [{"k": "bold", "at": 2, "n": 1}, {"k": "code", "at": 1, "n": 1}]},
        ErrorCode.INVALID,
    ),
    "link without url": ({"ents": [{"k": "link", "at": 0, "n": 1}]}, ErrorCode.INVALID),
    "url of another kind": (
        {"ents": [{"k": "bold", "at": 0, "n": 1, "url": "https://a"}]},
        ErrorCode.INVALID,
    ),
    "url that runs code": (
        {"ents": [{"k": "link", "at": 0, "n": 1, "url": "javascript:x"}]},
        ErrorCode.BAD_REQUEST,
    ),
    "entities too large": (
        {"ents": [{"k": "link", "at": 0, "n": 1, "url": "https://" + "a" * 1_900}] * 9},
        ErrorCode.TOO_LARGE,
    ),
    "account in bold": (
        {"ents": [{"k": "bold", "at": 0, "n": 1, "account": "5"}]},
        ErrorCode.INVALID,
    ),
    "lang in bold": ({"ents": [{"k": "bold", "at": 0, "n": 1, "lang": "c"}]}, ErrorCode.INVALID),
    "scheduled for the past": ({"schedule_at": 1}, ErrorCode.INVALID),
    "scheduled in 366 days": ({"schedule_at": 2**52}, ErrorCode.INVALID),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
async def test_given_bad_input_when_sent_then_it_is_refused_and_no_number_is_used(
    office: Office, case: str
) -> None:
    changes, code = BAD[case]
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    data = {"chat": str(chat), "random_id": "1", "text": "salaam"} | changes

    with pytest.raises(Refused) as refused:
        await mina.call(
            "messages.send", **{name: value for name, value in data.items() if value is not None}
        )

    assert refused.value.code == code
    assert await office.counts(chat) == (0, 0)


@pytest.mark.parametrize(
    "body",
    [
        b'{"chat":"%d","random_id":"1","text":"\\ud800"}',
        b'{"chat":"%d","random_id":"1","text":"\xed\xa0\x80"}',
        b'{"chat":"%d","random_id":"1","text":"a"',
        b"[%d]",
    ],
)
async def test_given_text_that_is_no_text_when_sent_then_it_is_a_bad_request(
    office: Office, body: bytes
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])

    with pytest.raises(Refused) as refused:
        await office.call(mina.caller, "messages.send", body % chat)

    assert refused.value.code == ErrorCode.BAD_REQUEST
    assert await office.counts(chat) == (0, 0)


async def test_given_strangers_restricted_and_banned_when_they_send_then_each_gets_their_refusal(
    office: Office,
) -> None:
    mina, stranger, restricted, banned, gone = await office.people(5)
    chat = await office.chat([mina, restricted, banned, gone])
    await office.set_member(chat, restricted, rights=1)
    await office.set_member(chat, banned, role=-1)
    await office.set_member(chat, gone, role=0)

    codes = []
    for person in (stranger, restricted, banned, gone):
        with pytest.raises(Refused) as refused:
            await person.sends(chat)
        codes.append(refused.value.code)

    assert codes == [ErrorCode.NO_CHAT, ErrorCode.FORBIDDEN, ErrorCode.BANNED, ErrorCode.NO_CHAT]
    assert await office.counts(chat) == (0, 0)


async def test_given_slow_mode_when_a_member_hurries_then_they_are_told_how_long_to_wait(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina], slow_s=60)
    await mina.sends(chat)

    with pytest.raises(Refused) as refused:
        await mina.sends(chat)

    assert refused.value.code == ErrorCode.SLOW_MODE
    assert 0 < refused.value.details["retry_after_ms"] <= 60_000


async def test_given_a_big_chat_when_one_sends_then_only_the_senders_devices_hear_on_user(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza], flags=1)

    await mina.sends(chat, random_id="5")

    assert (await mina.hears("message.new"))["m"]["rid"] == "5"
    assert reza.heard.empty()


async def test_given_a_channel_when_a_plain_member_posts_then_it_is_refused(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina], kind=CHANNEL)

    with pytest.raises(Refused) as refused:
        await mina.sends(chat)

    assert refused.value.code == ErrorCode.FORBIDDEN


async def test_given_parallel_repeats_on_two_nodes_when_answered_then_one_message_is_stored(
    stores: Stores, office: Office
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    async with an_office(stores) as other:
        data = [
            {"chat": str(chat), "random_id": str(1 + number % 5), "text": f"n{number % 5}"}
            for number in range(40)
        ]
        answers = await asyncio.gather(
            *(
                (office, other)[number % 2].call(mina.caller, "messages.send", one)
                for number, one in enumerate(data)
            )
        )

    assert await office.counts(chat) == (5, 5)
    for key in range(5):
        same = answers[key::5]
        assert len({(one["seq"], one["ev"], one["at"]) for one in same}) == 1
        assert sum(not one.get("dup") for one in same) == 1


@pytest.mark.parametrize("members", [2, 200, 2_000])
async def test_given_any_number_of_members_when_one_sends_then_it_is_one_statement(
    office: Office, members: int
) -> None:
    mina = await office.person()
    chat = await office.chat([mina], flags=1 if members > 200 else 0)
    await office.rows(
        "insert into membership(chat_id, account_id, role)"
        " select $1, 1000 + n, 1 from generate_series(2, $2::int) n returning 1",
        chat,
        members,
    )
    await mina.sends(chat)  # the member list is known from here on
    await mina.hears("message.new")
    await office.cursors.flush()
    counted: list[str] = []

    with office.counting(counted):
        await mina.sends(chat)
        await mina.hears("message.new")

    background = ("scheduled", "message_index", "sanction")
    mine = [one for one in counted if not any(table in one for table in background)]
    assert mine == []  # the committer's own speaks with the driver, and is not counted

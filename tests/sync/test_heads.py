"""`sync.heads` and `sync.check`."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messenger.client.core import fnv1a as client_fnv1a
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.log.account_log import AccountKind
from messenger.sync.check import digest, fnv1a
from messenger.wire.codes import ErrorCode
from tests.messages.office import Office, Person


async def heads(person: Person, **asked: Any) -> dict[str, Any]:
    return await person.call("sync.heads", **asked)


async def test_given_chats_when_heads_are_asked_for_then_each_says_where_it_stands(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    quiet, busy = await office.chat([mina, reza]), await office.chat([mina, reza], flags=1)
    await reza.sends(quiet)
    await reza.sends(busy)
    await reza.sends(busy)
    await reza.call("messages.edit", chat=str(busy), seq=1, text="new")

    found = await heads(mina)

    assert found["heads"] == [[str(quiet), 1, 1, 1, 0, False], [str(busy), 1, 3, 2, 0, True]]
    assert found["aev"] == 2
    assert "next" not in found


async def test_given_big_chats_when_heads_are_asked_for_then_they_are_watched_first(
    office: Office,
) -> None:
    mina = await office.person()
    await office.chat([mina])
    big = await office.chat([mina], flags=1)
    office.watched.clear()

    found = await heads(mina, big_only=True)

    assert [row[0] for row in found["heads"]] == [str(big)]
    assert office.watched == [{big}]


async def test_given_more_chats_than_a_page_when_paged_through_then_each_comes_once(
    office: Office,
) -> None:
    mina = await office.person()
    chats = [await office.chat([mina]) for _ in range(7)]
    seen: list[str] = []
    after: dict[str, str] = {}

    while True:
        page = await heads(mina, limit=3, **after)
        seen += [row[0] for row in page["heads"]]
        if "next" not in page:
            break
        after = {"after": page["next"]}

    assert seen == [str(chat) for chat in chats]


async def test_given_a_thousand_chats_when_heads_are_asked_for_then_the_page_fits_its_bound(
    office: Office,
) -> None:
    mina = await office.person()
    first = 9_000_000_000_000_000_000 + int(mina.account) % 10**12 * 10_000
    await office.rows(
        "with c as (insert into chat(chat_id, kind, last_ev, last_seq)"
        " select $1::bigint + n, 2, 2000000000, 2000000000 from generate_series(1, 1200) n"
        " returning chat_id)"
        " insert into member(account_id, chat_id, read_seq) select $2, chat_id, 2000000000 from c"
        " returning 1",
        first,
        mina.account,
    )

    page = await heads(mina)
    rest = await heads(mina, after=page["next"])

    assert len(page["heads"]) < 1_000
    assert len(page["heads"]) + len(rest["heads"]) == 1_200
    assert int(rest["heads"][0][0]) == int(page["heads"][-1][0]) + 1


async def test_given_a_chat_that_was_left_when_heads_are_asked_for_then_it_is_missing(
    office: Office,
) -> None:
    mina = await office.person()
    chat, left = await office.chat([mina]), await office.chat([mina])
    await office.set_own(left, mina, flags=4)

    found = await heads(mina)

    assert [row[0] for row in found["heads"]] == [str(chat)]


BAD: dict[str, tuple[str, dict[str, Any], ErrorCode]] = {
    "after no id": ("sync.heads", {"after": "x"}, ErrorCode.BAD_REQUEST),
    "after beyond": ("sync.heads", {"after": "9" * 19}, ErrorCode.INVALID),
    "limit 0": ("sync.heads", {"limit": 0}, ErrorCode.BAD_REQUEST),
    "limit 1,001": ("sync.heads", {"limit": 1_001}, ErrorCode.BAD_REQUEST),
    "no digest": ("sync.check", {}, ErrorCode.BAD_REQUEST),
    "short digest": ("sync.check", {"digest": "abc"}, ErrorCode.BAD_REQUEST),
    "digest in capitals": ("sync.check", {"digest": "A" * 16}, ErrorCode.BAD_REQUEST),
    "no aev": ("sync.difference", {}, ErrorCode.BAD_REQUEST),
    "aev negative": ("sync.difference", {"aev": -1}, ErrorCode.BAD_REQUEST),
    "aev 2^31": ("sync.difference", {"aev": 2**31}, ErrorCode.BAD_REQUEST),
    "201 chats": (
        "sync.difference", {"aev": 0, "chats": [["5", 1, 0]] * 201}, ErrorCode.BAD_REQUEST,
    ),
    "a pair": ("sync.difference", {"aev": 0, "chats": [["5", 1]]}, ErrorCode.BAD_REQUEST),
    "chat a number": ("sync.difference", {"aev": 0, "chats": [[5, 1, 0]]}, ErrorCode.BAD_REQUEST),
    "ev negative": ("sync.difference", {"aev": 0, "chats": [["5", 1, -1]]}, ErrorCode.BAD_REQUEST),
    "chat beyond": ("sync.difference", {"aev": 0, "chats": [["9" * 19, 1, 0]]}, ErrorCode.INVALID),
    "limit 0 events": ("sync.difference", {"aev": 0, "limit": 0}, ErrorCode.BAD_REQUEST),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
async def test_given_bad_input_when_catching_up_then_it_is_refused(
    office: Office, case: str
) -> None:
    method, asked, code = BAD[case]
    mina = await office.person()

    with pytest.raises(Refused) as refused:
        await mina.call(method, **asked)

    assert refused.value.code == code


async def test_given_all_heads_when_checked_then_the_answer_is_whether_they_are_true(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chats = [await office.chat([mina, reza]) for _ in range(3)]
    for chat in chats:
        await reza.sends(chat)
    found = await heads(mina)
    known = [(int(row[0]), row[1], row[2]) for row in found["heads"]]

    same = await mina.call("sync.check", digest=digest(known, found["aev"]))
    other_aev = await mina.call("sync.check", digest=digest(known, found["aev"] + 1))
    await reza.sends(chats[1])
    later = await mina.call("sync.check", digest=digest(known, found["aev"]))

    assert (same, other_aev, later) == ({"same": True}, {"same": False}, {"same": False})


@pytest.mark.parametrize(
    ("text", "hash64"),
    [("", "cbf29ce484222325"), ("a", "af63dc4c8601ec8c"), ("foobar", "85944171f73967e8")],
)
def test_given_known_texts_when_hashed_then_it_is_fnv_1a(text: str, hash64: str) -> None:
    assert fnv1a(text.encode()) == hash64


@given(st.dictionaries(st.integers(1, 2**63 - 1), st.tuples(st.integers(), st.integers())))
def test_given_any_heads_when_digested_then_client_and_server_agree(
    heads: dict[int, tuple[int, int]],
) -> None:
    rows = [(chat, *numbers) for chat, numbers in heads.items()]
    text = "".join(f"{chat}:{epoch}:{ev};" for chat, (epoch, ev) in sorted(heads.items()))

    assert digest(reversed(rows), 7) == client_fnv1a(f"{text}7")


async def test_given_facts_of_every_kind_when_read_back_then_they_are_the_updates_of_the_wire(
    office: Office,
) -> None:
    mina = await office.person()
    account, chat = AccountId(mina.account), ChatId(5)
    facts: list[tuple[AccountKind, int, dict[str, Any], dict[str, Any]]] = [
        (AccountKind.JOINED, chat, {"info": {"epoch": 1}}, {"t": "chat.joined"}),
        (AccountKind.MUTE, chat, {"muted_until": 9}, {"t": "chat.muted"}),
        (AccountKind.PIN, chat, {"pin": None}, {"t": "chat.pinned"}),
        (AccountKind.FOLDER, chat, {"folder": 2}, {"t": "chat.folder"}),
        (AccountKind.DRAFT, chat, {"draft": "sal"}, {"t": "chat.draft"}),
        (AccountKind.CLEARED, chat, {"cleared_seq": 4}, {"t": "chat.cleared"}),
        (AccountKind.READ, chat, {"read_seq": 4}, {"t": "read.self"}),
        (AccountKind.HIDDEN, chat, {"seqs": [3]}, {"t": "message.hidden"}),
        (AccountKind.LEFT, chat, {"why": "left"}, {"t": "chat.left"}),
        (AccountKind.BLOCKED, 0, {"account": "7", "on": True}, {"t": "blocked"}),
        (AccountKind.CONTACT, 0, {"account": "7"}, {"t": "contact"}),
        (AccountKind.PROFILE, 0, {"account": {"id": "7"}}, {"t": "profile"}),
        (AccountKind.SESSION_NEW, 0, {"device_id": "8"}, {"t": "session.new"}),
        (AccountKind.SESSION_REVOKED, 0, {"device_id": "8"}, {"t": "session.revoked"}),
        (AccountKind.BADGE_OWN, 0, {"badge": None}, {"t": "badge.own"}),
    ]
    for kind, where, payload, _ in facts:
        await office.accounts.append(account, kind, ChatId(where), payload)

    acct = (await mina.call("sync.difference", aev=0))["acct"]

    named = [
        named | {"aev": aev} | ({"chat": str(where)} if where else {}) | payload
        for aev, (_, where, payload, named) in enumerate(facts, 1)
    ]
    assert acct == named

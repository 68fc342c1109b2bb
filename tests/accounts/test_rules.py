"""The pure rules: usernames, names, presence, privacy, ids on the wire."""

import pytest

from messenger.accounts.names import clean_name, clean_text
from messenger.accounts.presence import bucket
from messenger.accounts.privacy import allows
from messenger.accounts.protocol import Audience
from messenger.accounts.usernames import RESERVED, check_username
from messenger.accounts.wire_ids import account_of, accounts_of, page_start
from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.accounts.world import Person, World


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ("mina1", "mina1"),
        ("a2345", "a2345"),
        ("Mina_Rezaei", "mina_rezaei"),
        (" mina_r ", "mina_r"),
        ("z" * 32, "z" * 32),
    ],
)
def test_given_a_good_username_when_checked_then_its_folded_form_is_kept(
    wanted: str, kept: str
) -> None:
    assert check_username(wanted) == kept


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "mina",
        "z" * 33,
        "1mina",
        "_mina",
        "mina!",
        "mi na",
        "مینا۱۲",
        "mina\n",
        "mına1",
        "ａbcde",
    ],
)
def test_given_a_username_of_another_form_when_checked_then_the_pattern_is_named(
    wanted: str,
) -> None:
    with pytest.raises(Refused) as refusal:
        check_username(wanted)

    assert refusal.value.code is ErrorCode.USERNAME_INVALID
    assert refusal.value.details == {"why": "pattern"}


@pytest.mark.parametrize("wanted", ["admin", "Support", "OFFICIAL", "peyk_help", "saved_messages"])
def test_given_a_word_that_speaks_for_the_platform_when_checked_then_it_is_reserved(
    wanted: str,
) -> None:
    with pytest.raises(Refused) as refusal:
        check_username(wanted)

    assert refusal.value.details == {"why": "reserved"}


def test_given_the_reserved_words_when_listed_then_each_is_a_possible_username() -> None:
    assert [word for word in RESERVED if word != word.lower() or not 4 <= len(word) <= 32] == []


@pytest.mark.parametrize(
    ("days", "state"),
    [
        (None, "hidden"),
        (0, "recently"),
        (2, "recently"),
        (3, "week"),
        (7, "week"),
        (8, "month"),
        (35, "month"),
        (36, "hidden"),
        (-1, "recently"),
    ],
)
def test_given_days_of_absence_when_asked_then_only_a_bucket_is_told(
    days: int | None, state: str
) -> None:
    assert bucket(days) == state


@pytest.mark.parametrize(
    ("audience", "let_in"),
    [("everyone", (True, True)), ("contacts", (True, False)), ("nobody", (False, False))],
)
def test_given_an_audience_when_someone_asks_then_only_it_is_let_in(
    audience: Audience, let_in: tuple[bool, bool]
) -> None:
    contact, stranger = let_in

    assert allows(audience, is_contact=True) is contact
    assert allows(audience, is_contact=False) is stranger


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("مینا", "مینا"),
        ("  مینا رضایی ", "مینا رضایی"),
        ("نیک‌نام", "نیک‌نام"),
        ("\u202eمینا\u202c", "مینا"),
        ("e\u0301lise", "élise"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("李小龙", "李小龙"),
    ],
)
def test_given_a_name_in_any_script_when_cleaned_then_it_is_kept_without_tricks(
    typed: str, kept: str
) -> None:
    assert clean_name("name", typed) == kept


@pytest.mark.parametrize(
    "typed", ["", "   ", "\u200c", "\u202e", "\u2060", "a\x00b", "a\nb", "\x1b[1m"]
)
def test_given_a_name_nobody_can_read_when_cleaned_then_it_is_refused(typed: str) -> None:
    with pytest.raises(Refused) as refusal:
        clean_name("name", typed)

    assert refusal.value.code is ErrorCode.INVALID
    assert refusal.value.details["field"] == "name"


def test_given_text_of_lines_when_cleaned_then_only_line_breaks_pass() -> None:
    assert clean_text("about", "one\ntwo", lines=True) == "one\ntwo"
    assert clean_text("about", "") == ""
    with pytest.raises(Refused):
        clean_text("about", "one\ttwo", lines=True)


def test_given_ids_on_the_wire_when_read_then_only_63_bits_are_numbers() -> None:
    assert account_of("9223372036854775807") == 2**63 - 1
    assert accounts_of(["3", "1", "3"]) == [3, 1]
    with pytest.raises(Refused) as refusal:
        account_of("9223372036854775808")
    assert refusal.value.code is ErrorCode.INVALID


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "۱۲", "", "9223372036854775808", "²"])
def test_given_a_page_mark_that_was_not_ours_when_read_then_it_is_refused(after: str) -> None:
    with pytest.raises(Refused):
        page_start(after)


def test_given_a_page_mark_when_read_then_it_is_where_to_go_on() -> None:
    assert (page_start(None), page_start("0"), page_start("77")) == (0, 0, 77)


@pytest.mark.parametrize(
    ("method", "data", "rule"),
    [
        ("accounts.me", {}, "account.read"),
        ("accounts.sessions", {}, "account.read"),
        ("accounts.privacy", {}, "account.change"),
        ("accounts.block", {"account": "5", "on": False}, "account.change"),
        ("accounts.resolve", {"username": "nobody_of_that_name"}, "resolve"),
    ],
)
async def test_given_a_person_who_asks_without_end_when_the_bucket_is_empty_then_it_is_later(
    world: World, mina: Person, method: str, data: dict[str, object], rule: str
) -> None:
    refusals: list[Refused] = []
    for _ in range(200):
        try:
            await world.call(mina, method, **data)
        except Refused as refused:
            if refused.code is ErrorCode.RATE_LIMITED:
                refusals.append(refused)
                break

    assert [one.details["rule"] for one in refusals] == [rule]

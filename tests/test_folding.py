"""The folding table, its search pairs, and that folding twice changes nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messenger.folding import (
    ZWNJ,
    Tokens,
    fold,
    index_tokens,
    query_tokens,
    token_hash,
    words,
)

EQUAL = [
    ("كتابي", "کتابی"),
    (f"می{ZWNJ}خواهم", "می خواهم"),
    ("۱۲۳", "123"),
    ("٤٥", "45"),
    ("مسئلة", "مسئله"),
    ("خانهٔ ما", "خانه ما"),
    ("خانۀ ما", "خانه ما"),
    ("مؤمن", "مومن"),
    ("أحمد", "احمد"),
    ("عـــلی", "علی"),
    ("مُحَمَّد", "محمد"),
    ("ﻛﺘﺎﺏ", "کتاب"),
    ("\u0627\u0653مد", "آمد"),
    (f"علي{ZWNJ}اكبر", "علی اکبر"),
    ("ABC", "abc"),
    ("\u200fسلام!", "سلام"),
]
KITAB = [f"کتاب{ZWNJ}های", "کتاب های", "کتابهای"]
KHAHAM = [f"می{ZWNJ}خواهم", "می خواهم", "میخواهم"]


def finds(query: str, text: str) -> bool:
    return query_tokens(query) <= index_tokens(text)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_given_a_pair_of_the_table_when_folded_then_both_are_equal(one: str, other: str) -> None:
    assert fold(one) == fold(other) != ""


@pytest.mark.parametrize(("one", "other"), [("آمد", "امد"), ("مسئله", "مسیله")])
def test_given_other_letters_when_folded_then_they_stay_different(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@pytest.mark.parametrize("spellings", [KITAB, KHAHAM])
def test_given_three_spellings_when_searched_then_each_finds_all(spellings: list[str]) -> None:
    assert all(finds(query, text) for query in spellings for text in spellings)


@pytest.mark.parametrize(
    ("query", "text", "found"),
    [
        ("خواهم", f"می{ZWNJ}خواهم", True),
        ("خواهم", "می خواهم", True),
        ("خواهم", "میخواهم", False),
        ("1404", "۱۴۰۴", True),
        (f"نمیدانسته{ZWNJ}ام", f"نمی{ZWNJ}دانسته{ZWNJ}ام", True),
        ("کتاب", "کتابهای", False),
        ("علی اکبر", f"علي{ZWNJ}اكبر", True),
    ],
)
def test_given_a_search_pair_of_the_table_when_searched_then_it_holds(
    query: str, text: str, *, found: bool
) -> None:
    assert finds(query, text) is found


def test_given_only_signs_when_split_then_there_are_no_words() -> None:
    assert words(f" {ZWNJ} !? 🔥 {ZWNJ}") == []
    assert fold("🔥 !") == ""


def test_given_an_underscore_when_folded_then_it_parts_words() -> None:
    assert fold("ali_reza") == "ali reza"
    assert words("ali_reza") == [["ali"], ["reza"]]


@given(st.text(max_size=40))
@settings(max_examples=300, derandomize=True)
def test_given_any_text_when_folded_twice_then_nothing_changes(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(st.text(alphabet="اأآيیكکهةۀ \u200c\u064b\u0654\u0640میها!۱1\u200d가", max_size=20))
@settings(max_examples=300, derandomize=True)
def test_given_a_text_when_searched_by_itself_then_it_is_found(text: str) -> None:
    assert finds(text, text)
    assert fold(fold(text)) == fold(text)


def test_given_tokens_when_hashed_then_the_numbers_fit_32_bits_and_never_change() -> None:
    assert token_hash("کتاب") == token_hash(fold("كتاب"))
    assert -(2**31) <= min(token_hash(str(n)) for n in range(99)) < 0
    assert token_hash("abc") == 0x352441C2


LETTERS = st.one_of(
    st.sampled_from(
        ["می", "نمی", "بی", "ها", "های", "ام", "ترین", "کتاب", "خواهم", ZWNJ, " ", "\u00a0", "\n"]
    ),
    st.sampled_from(["_", "!", "۱", "\u0654", "\u0640", "\u0308", "ﻻ", "İ", "\u1100", "\u1161"]),
    st.characters(),
)


@given(st.lists(st.lists(LETTERS, max_size=30).map("".join), max_size=4))
@settings(max_examples=400)
def test_given_any_texts_when_hashed_piece_by_piece_then_nothing_differs_from_the_whole(
    texts: list[str],
) -> None:
    tokens = Tokens(pieces=5)
    for text in texts + texts:
        assert tokens.hashes(text) == {token_hash(token) for token in index_tokens(text)}


def test_given_more_words_than_are_remembered_when_hashed_then_the_memory_stays_bounded() -> None:
    tokens = Tokens(pieces=100)

    for number in range(1_000):
        tokens.hashes(f"word{number} {'x' * 41}{number}")

    assert 0 < len(tokens._known) <= 100

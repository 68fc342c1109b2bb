"""The pure checks of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from messenger.feature import Refused
from messenger.messages.protocol import MAX_TEXT, MAX_TEXT_BYTES, Entity
from messenger.messages.texts import TextBounds, checked_text
from messenger.wire.codes import ErrorCode


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a\0b", ErrorCode.INVALID),
        ("a\ud800b", ErrorCode.INVALID),
        ("", ErrorCode.EMPTY_OR_TOO_LONG),
        (" \u200d\u2029", ErrorCode.EMPTY_OR_TOO_LONG),
        ("x" * (MAX_TEXT + 1), ErrorCode.EMPTY_OR_TOO_LONG),
    ],
)
def test_given_a_text_that_cannot_be_when_checked_then_it_is_refused(
    text: str, code: ErrorCode
) -> None:
    with pytest.raises(Refused) as refused:
        checked_text(text, (), TextBounds())

    assert refused.value.code == code


@pytest.mark.parametrize(
    ("bounds", "limit"),
    [(TextBounds(3, 100), 3), (TextBounds(100, 7), 7), (TextBounds(4, 8), None)],
)
def test_given_bounds_when_a_text_of_four_characters_and_eight_bytes_is_checked_then_they_hold(
    bounds: TextBounds, limit: int | None
) -> None:
    if limit is None:
        assert checked_text("سلام", (), bounds) == "سلام"
        return

    with pytest.raises(Refused) as refused:
        checked_text("سلام", (), bounds)

    assert refused.value.details["limit"] == limit


@given(st.text(min_size=1, max_size=60))
def test_given_any_text_when_it_passes_then_it_stays_what_it_is_and_fits(text: str) -> None:
    try:
        kept = checked_text(text, (), TextBounds())
    except Refused:
        return

    assert checked_text(kept, (), TextBounds()) == kept
    assert len(kept) <= MAX_TEXT
    assert len(kept.encode()) <= MAX_TEXT_BYTES


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), max_size=4),
    st.text(alphabet="ab", min_size=1, max_size=12),
)
def test_given_any_entities_when_they_pass_then_they_are_within_the_text_and_in_order(
    places: list[tuple[int, int]], text: str
) -> None:
    ents = [Entity(k="bold", at=at, n=n) for at, n in places]
    fits = all(at + n <= len(text) for at, n in places)
    ordered = [at for at, _ in places] == sorted(at for at, _ in places)

    try:
        checked_text(text, ents, TextBounds())
    except Refused:
        assert not (fits and ordered)
    else:
        assert fits
        assert ordered

"""Trace ids: given by HTTP, derived for commands, and few lines however much goes wrong."""

import pytest

from messenger.tracing import Asked, Sparing, derived, from_traceparent
from tests.architecture.tree import ROOT

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


@pytest.mark.parametrize(("flags", "kept"), [("00", "no"), ("01", "yes"), ("03", "yes")])
def test_given_a_valid_traceparent_when_read_then_its_trace_goes_on(flags: str, kept: str) -> None:
    asked = from_traceparent(f"00-{TRACE}-{PARENT}-{flags}")

    assert (asked.id, asked.sampled) == (TRACE, kept == "yes")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_given_a_bad_traceparent_when_read_then_a_new_trace_begins_unsampled(header: str) -> None:
    asked, other = from_traceparent(header), from_traceparent(header)

    assert asked.id not in (TRACE, other.id)
    assert len(bytes.fromhex(asked.id)) == 16
    assert not asked.sampled


def test_given_a_later_version_when_it_says_more_then_what_we_know_of_it_counts() -> None:
    assert from_traceparent(f"01-{TRACE}-{PARENT}-01-more").id == TRACE


def test_given_a_command_when_both_ends_derive_its_trace_then_they_agree() -> None:
    """The vector is in docs/operations.md, for apps."""
    handbook = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert derived("0f9c2a", 7) in handbook
    assert Asked("0f9c2a", 7).id == derived("0f9c2a", 7) == "6b17667b5ff0426c04b9705b4102ad74"
    assert derived("0f9c2a", 8) != derived("0f9c2a", 7)


def test_given_many_lines_in_a_second_when_written_then_ten_are_and_the_rest_is_counted() -> None:
    clock = [5.0]
    sparing = Sparing(lambda: clock[0])

    assert [sparing.may() for _ in range(12)] == [True] * 10 + [False] * 2
    clock[0] = 6.0

    assert sparing.may()
    assert (sparing.taken(), sparing.taken()) == (2, 0)

from hypothesis import given, settings
from hypothesis import strategies as st

from messenger.client.line import HELD, HOLD_S, Line


def update(number: int) -> dict[str, int]:
    return {"ev": number}


def offered(line: Line, *numbers: int, now: float = 0.0) -> list[int]:
    for number in numbers:
        line.offer(number, update(number))
    return [ready["ev"] for ready in line.take(now)]


def test_given_the_next_number_when_offered_then_it_is_applied() -> None:
    line = Line(4)

    assert offered(line, 5) == [5]
    assert line.applied == 5
    assert line.due is None


def test_given_an_old_number_when_offered_then_it_is_dropped() -> None:
    line = Line(4)

    assert offered(line, 4) == offered(line, 1) == []
    assert line.due is None


def test_given_swapped_numbers_when_offered_then_they_are_applied_in_order() -> None:
    line = Line(4)

    assert offered(line, 6) == []
    assert line.due == HOLD_S
    assert offered(line, 5, now=0.2) == [5, 6]
    assert line.due is None


def test_given_a_hole_when_time_passes_then_it_is_overdue_once() -> None:
    line = Line(4)
    offered(line, 6, now=1.0)

    assert not line.overdue(1.0 + HOLD_S - 0.1)
    assert line.overdue(1.0 + HOLD_S)
    line.asked = True
    assert not line.overdue(100.0)


def test_given_progress_in_front_of_a_hole_when_offered_then_the_clock_starts_anew() -> None:
    line = Line(4)
    offered(line, 6, 8, now=0.0)

    assert offered(line, 5, now=0.4) == [5, 6]
    assert line.due == 0.4 + HOLD_S


def test_given_a_difference_when_jumped_then_what_waited_goes_on_from_there() -> None:
    line = Line(4)
    offered(line, 7, 9)

    line.jump(8)

    assert offered(line) == [9]
    line.jump(2)
    assert line.applied == 9


def test_given_a_chat_that_is_fetched_when_updates_come_then_they_wait_for_its_position() -> None:
    line = Line()

    assert offered(line, 6, 7, now=3.0) == []
    assert line.due == 3.0 + HOLD_S
    line.jump(5)
    assert offered(line) == [6, 7]


def test_given_an_unknown_chat_without_news_when_time_passes_then_nobody_asks() -> None:
    line = Line()

    assert offered(line) == []
    assert line.due is None


def test_given_a_number_only_heard_of_when_it_does_not_come_then_it_is_overdue() -> None:
    line = Line(4)

    line.hear(5)
    offered(line, now=0.0)

    assert line.overdue(HOLD_S)
    line.believe()
    offered(line, now=1.0)
    assert line.due is None


def test_given_more_than_a_line_holds_when_offered_then_the_rest_is_left_to_the_difference() -> (
    None
):
    line = Line(0)

    offered(line, *range(2, HELD + 12))
    line.jump(1)

    assert len(offered(line)) == HELD
    assert line.behind == HELD + 11
    assert line.due is not None


def test_given_a_catch_up_when_it_starts_then_older_updates_are_let_go() -> None:
    line = Line(4)
    offered(line, 6)

    line.drop_held()

    assert offered(line, 5) == [5]
    assert line.due is None


def test_given_a_chat_that_is_left_when_updates_wait_then_they_wait_for_a_new_membership() -> None:
    line = Line(4)
    line.asked = True
    offered(line, 6)

    line.leave()

    assert (line.applied, line.asked) == (None, False)
    line.jump(5)
    assert offered(line) == [6]


@settings(derandomize=True, deadline=None)
@given(st.permutations(range(1, 12)), st.lists(st.integers(1, 11), max_size=10))
def test_given_any_order_and_repeats_when_all_have_come_then_each_was_applied_once(
    order: list[int], again: list[int]
) -> None:
    line = Line(0)

    applied = [number for n in [*order, *again] for number in offered(line, n)]

    assert applied == list(range(1, 12))
    assert line.due is None

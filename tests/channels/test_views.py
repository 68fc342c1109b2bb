"""The arithmetic of views: pure."""

from hypothesis import given
from hypothesis import strategies as st

from channels.views import BLOCK, Span, clusters, percentile, queue_span, running

spans = st.tuples(st.integers(1, 30), st.integers(0, 10)).map(lambda s: Span(s[0], s[0] + s[1]))


def counted(cursor: int, last: int, shown: list[Span]) -> list[int]:
    """What the cursor lets count of a channel with `last` posts, one range after the other."""
    posts: list[int] = []
    for span in shown:
        new = range(max(span.lo, cursor + 1), min(span.hi, last) + 1)
        posts += new
        cursor = max([cursor, *new])
    return posts


@given(st.integers(0, 40), st.integers(0, 45), st.lists(spans, max_size=8))
def test_given_any_ranges_when_queued_then_joined_ones_count_what_they_would_one_by_one(
    cursor: int, last: int, shown: list[Span]
) -> None:
    waiting: list[Span] = []
    for span in shown:
        queue_span(waiting, span)

    assert counted(cursor, last, waiting) == counted(cursor, last, shown)
    assert len(waiting) <= len(shown)


@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=40))
def test_given_any_posts_then_clusters_hold_each_once_and_no_long_stretch_of_others(
    seqs: list[int],
) -> None:
    found = clusters(seqs)

    assert all(sum(span.lo <= seq <= span.hi for span in found) == 1 for seq in seqs)
    assert sum(span.hi - span.lo + 1 for span in found) <= len(set(seqs)) * BLOCK
    assert [span.lo for span in found] == sorted(span.lo for span in found)


def test_given_marks_then_views_are_their_running_sum() -> None:
    assert running(Span(3, 6), 10, {3: 1, 5: -4, 9: 7}) == {3: 11, 4: 11, 5: 7, 6: 7}


def test_given_counts_by_bound_then_a_share_of_them_is_within_the_first_bound_that_holds_it() -> (
    None
):
    counts = [(10, 50), (100, 45), (1_000, 5)]

    assert [percentile(counts, share) for share in (0.5, 0.95, 0.99, 1.0)] == [
        10,
        100,
        1_000,
        1_000,
    ]
    assert percentile([], 0.5) == 0
    assert percentile([(10, 0), (20, 3)], 0.5) == 20

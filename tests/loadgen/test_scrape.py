"""A node's metrics page, reduced to sums."""

from loadgen.bench.scrape import parse

PAGE = """\
# HELP peyk_closes_total Closed connections
# TYPE peyk_closes_total counter
peyk_closes_total{code="3001"} 4.0
peyk_closes_total{code="3008"} 2.0
peyk_commit_rows_bucket{le="1.0"} 3.0
peyk_commit_rows_sum 90.0
peyk_commit_rows_count 4.0
"""


def test_given_a_page_when_parsed_then_labels_are_summed_and_kept() -> None:
    figures = parse(PAGE)

    assert figures.get("peyk_closes_total") == 6.0
    assert figures.series['peyk_closes_total{code="3008"}'] == 2.0


def test_given_a_histogram_when_asked_then_the_mean_is_of_all_and_none_without_samples() -> None:
    figures = parse(PAGE)

    assert figures.mean("peyk_commit_rows") == 22.5
    assert figures.mean("peyk_login_seconds") is None
    assert figures.get("peyk_unknown") == 0.0

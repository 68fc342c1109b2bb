"""The demo itself, small: a platform of its own, people, cut sockets, the verdict and the page."""

from pathlib import Path

import pytest

from loadgen.demo import cli
from loadgen.demo.plan import Act, plan_demo
from loadgen.demo.population import populate


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_given_ten_people_when_they_talk_for_four_seconds_then_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.html"
    plan = plan_demo(populate(7, 10), 4.0)
    assert plan.counts[Act.SEND] > 10
    assert plan.counts[Act.CUT] > 1

    few = ["--people", "10", "--seconds", "4", "--readers", "60"]
    code = cli.main([*few, "--report", str(report)])

    said = capsys.readouterr().out
    assert code == 0, said
    assert "0 lost, 0 duplicated, 0 reordered, unread exact" in said
    assert "to 60 readers: 0 lost, 0 duplicated, 0 reordered, views exact" in said
    page = report.read_text(encoding="utf-8")
    assert "0 lost, 0 duplicated, 0 reordered, unread exact" in page
    assert "not measured" not in page.partition("The laws of conservation")[2]


@pytest.mark.timeout(60)
def test_given_no_platform_at_the_url_when_run_then_it_says_so_and_the_page_claims_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.html"

    code = cli.main(
        ["--people", "2", "--seconds", "1", "--url", "http://127.0.0.1:1", "--report", str(report)]
    )

    assert code == 2
    assert "broken off" in capsys.readouterr().out
    assert "Broken off: no verdict" in report.read_text(encoding="utf-8")


def test_given_a_size_out_of_bounds_when_asked_for_then_it_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--people", "1"])

    assert exit_.value.code == 2
    assert "2 to 2,000 people" in capsys.readouterr().err

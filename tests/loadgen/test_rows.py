"""A benchmark's row: all fields, the verdict on the machine, the exit code."""

import msgspec
import pytest

from loadgen.bench.cli import exit_code, main, summary
from loadgen.bench.procstat import Cost
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.machine import this_machine

FIELDS = (
    "name n seconds rate_per_s cpu_us cpu_us_w1 cpu_us_by p50_ms p99_ms kib_per_session "
    "lost duplicated reordered valid commit python cores more"
)


def a_cost(*, other: float = 0.0, steal: float = 0.0, driver: float = 0.5) -> Cost:
    cpu_s = {"gateway": 2.0, "postgres": 1.0, "redis": 0.5}
    return Cost(10.0, cpu_s, driver, other, steal)


def test_given_a_window_when_charged_then_the_line_has_every_field_and_null_for_the_rest() -> None:
    row = Row(name="echo_rpc")

    row.charge(a_cost(), 100_000)
    row.sign(this_machine())
    line = msgspec.json.decode(msgspec.json.encode(row))

    assert " ".join(line) == FIELDS
    assert line["cpu_us"] == 35.0
    assert line["cpu_us_by"] == {"gateway": 20.0, "postgres": 10.0, "redis": 5.0}
    assert line["rate_per_s"] == 10_000.0
    assert line["p50_ms"] is line["kib_per_session"] is line["lost"] is None
    assert line["valid"] is True


@pytest.mark.parametrize(
    ("cost", "why"),
    [
        (a_cost(other=0.3), "0.30 cores were busy with other work"),
        (a_cost(steal=0.05), "the host took 5.0 % of the time"),
        (a_cost(driver=0.99), "the driver itself used 0.99 cores"),
    ],
)
def test_given_a_busy_machine_when_charged_then_the_row_is_invalid_and_says_why(
    cost: Cost, why: str
) -> None:
    row = Row(name="login")

    row.charge(cost, 10)
    row.charge(cost, 10)

    assert not row.valid
    assert row.more["invalid"] == [why]
    assert f"INVALID: {why}" in summary(row)


def test_given_rows_when_exiting_then_loss_beats_invalid_and_both_beat_success() -> None:
    good, lossy, doubtful = Row(name="a"), Row(name="b", lost=1), Row(name="c", valid=False)

    assert exit_code([good]) == 0
    assert exit_code([good, doubtful]) == 2
    assert exit_code([good, doubtful, lossy]) == 1
    assert exit_code([Row(name="d", reordered=1)]) == 1


def test_given_an_unknown_benchmark_when_asked_for_then_it_is_named(capsys) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["no_such_thing"])

    assert exit_.value.code == 2
    assert "no_such_thing" in capsys.readouterr().err


@pytest.mark.parametrize(("q", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)])
def test_given_a_hundred_waits_when_ranked_then_the_nearest_rank_is_taken(
    q: float, expected: float
) -> None:
    waits = [n / 1_000 for n in range(100, 0, -1)]

    assert percentile_ms(waits, q) == expected
    assert percentile_ms([], q) is None

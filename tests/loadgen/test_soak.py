"""The line through a soak's samples, and the soak itself, small."""

import pytest

from loadgen.bench import soak
from loadgen.bench.soak_samples import growth
from loadgen.bench.stage import Scale, staged


@pytest.mark.parametrize(
    ("values", "expected"),
    [([10.0, 10.0, 10.0], 0.0), ([9.0, 10.0, 11.0], 0.2), ([11.0, 10.0, 9.0], -0.2), ([5.0], 0.0)],
)
def test_given_samples_when_fitted_then_growth_is_a_share_of_the_mean(
    values: list[float], expected: float
) -> None:
    times = [60.0 * n for n in range(len(values))]

    assert growth(times, values) == pytest.approx(expected)


def test_given_no_spread_or_nothing_when_fitted_then_it_is_flat() -> None:
    assert growth([1.0, 1.0], [2.0, 3.0]) == 0.0
    assert growth([1.0, 2.0], [0.0, 0.0]) == 0.0
    assert growth([], []) == 0.0


@pytest.mark.proof
@pytest.mark.timeout(120)
async def test_given_a_few_people_when_soaked_for_seconds_then_all_is_sampled_and_kept() -> None:
    scale = Scale(warm_up_s=0.1, soak_s=6.0, soak_people=8, soak_sample_s=1.0)
    async with staged(7, scale) as stage:
        row = await soak.run(stage)

    assert row.intact, row
    assert row.more["verdict"].startswith("0 lost, 0 duplicated, 0 reordered, unread exact")
    assert len(row.more["samples"]["first"]) >= 5
    assert set(row.more["grown"]) == {
        f"{node}.{what}" for node in ("first", "second") for what in soak.ALLOWED
    }

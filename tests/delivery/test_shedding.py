"""The shedding ladder, as a table: when it climbs, when it comes down, what stands on it."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from messenger.delivery.shedding import (
    CALM,
    DOWN_AGAIN_S,
    DOWN_S,
    LAG_S,
    TOP,
    UP_S,
    Level,
    Load,
    Side,
    pressure,
    side_of,
    smoothed,
    step,
)
from messenger.feature import Shed

SAMPLE_S = 0.5
WORST = 20.0


def after(level: Level, began: float, seconds: float, pressed: float) -> tuple[Level, float]:
    """The level and the time after `seconds` of one pressure."""
    now = began
    while now < began + seconds:
        now += SAMPLE_S
        level = step(level, pressed, now)
    return level, now


def test_given_the_ladder_when_read_then_its_order_is_the_promised_one_without_sends() -> None:
    names = [what.name for what in sorted(Shed)]
    assert names == ["PRESENCE", "TYPING", "VIEWS", "RECEIPTS", "HISTORY", "SIGN_INS"]
    assert [what.value for what in sorted(Shed)] == list(range(1, TOP + 1))


@pytest.mark.parametrize(
    "load",
    [Load(LAG_S, 0, 0), Load(0, 0.5, 0), Load(0, 0, 0.5), Load(LAG_S, 0.5, 0.1)],
)
def test_given_one_limit_reached_when_weighed_then_the_worst_counts(load: Load) -> None:
    assert pressure(load) == 1.0


def test_given_pressure_when_it_lasts_then_one_step_for_each_while_up_to_the_top() -> None:
    level, now = Level(), 0.0
    climbed = []
    for _ in range(TOP + 2):
        level, now = after(level, now, UP_S + SAMPLE_S, 1.0)
        climbed.append(level.step)
    assert climbed[:2] == [1, 2]
    assert climbed[-1] == TOP


def test_given_a_step_when_calm_then_down_after_30_s_and_then_every_5() -> None:
    level, now = Level(2, Side.OVER, 0.0), 0.0
    level, now = after(level, now, DOWN_S, 0.0)
    assert level.step == 2
    level, now = after(level, now, SAMPLE_S, 0.0)
    assert level.step == 1
    level, now = after(level, now, DOWN_AGAIN_S, 0.0)
    assert level.step == 0
    level, now = after(level, now, 3 * DOWN_S, 0.0)
    assert level.step == 0


def test_given_a_step_when_neither_calm_nor_over_then_it_stays() -> None:
    level, _ = after(Level(3, Side.OVER, 0.0), 0.0, 10 * DOWN_S, 0.85)
    assert level.step == 3


def test_given_one_long_stall_when_sampled_then_no_step() -> None:
    lag, level, now = 0.0, Level(), 0.0
    for sample in [60.0, *[0.0] * 100]:
        now += 0.1
        lag = smoothed(lag, sample)
        level = step(level, pressure(Load(lag, 0.0, 0.0)), now)
        assert level.step == 0


class Model:
    """The same rule, by looking back over all samples each time."""

    def __init__(self) -> None:
        self.samples: list[tuple[float, Side]] = []
        self.step = 0
        self.counted_from = 0.0
        """A step was made here: time before it does not count for the next."""
        self.came_down = False

    def sample(self, now: float, pressed: float) -> int:
        side = side_of(pressed)
        if not self.samples or self.samples[-1][1] is not side:
            self.counted_from, self.came_down = now, False
        self.samples.append((now, side))
        waited = now - self.counted_from
        due_s = DOWN_AGAIN_S if self.came_down else DOWN_S
        if side is Side.OVER and waited >= UP_S and self.step < TOP:
            self.step += 1
            self.counted_from = now
        elif side is Side.CALM and waited >= due_s and self.step > 0:
            self.step -= 1
            self.counted_from, self.came_down = now, True
        return self.step


@given(
    some.lists(
        some.tuples(some.sampled_from([1, 2, 3, 11, 35]), some.floats(0, WORST)), max_size=200
    )
)
def test_given_any_load_when_sampled_then_the_ladder_does_as_the_plain_model(
    samples: list[tuple[int, float]],
) -> None:
    level, model, now = Level(), Model(), 0.0
    level, _ = step(level, 0.85, now), model.sample(now, 0.85)  # both begin on the same side
    for wait_s, pressed in samples:
        now += wait_s
        before, level = level, step(level, pressed, now)
        assert level.step == model.sample(now, pressed)
        assert 0 <= level.step <= TOP
        assert abs(level.step - before.step) <= 1
        assert level.step <= before.step or pressed >= 1
        assert level.step >= before.step or pressed < CALM

"""The shedding ladder: what a node leaves undone first when it cannot do everything.

Pure: a level, what presses on it and the time give the next level. Sends and live calls are on no
rung. The order is that of docs/operations.md; what a rung means stands at the work itself.
"""

from enum import Enum

from msgspec import Struct

from messenger.feature import Shed

LAG_S = 0.25  # a loop this late makes people wait; a healthy one is under 0.02 s
FILL = 0.5  # of a queue: full means refusals, so the ladder must act before
CALM = 0.7  # of the pressure that brought us up: below it we may go down
UP_S = 2.0  # over for so long: one step up. A single stall, however long, is no step
DOWN_S = 30.0  # calm for so long: one step down ..
DOWN_AGAIN_S = 5.0  # .. and then one for each of these, so that work returns bit by bit
SMOOTH = 0.3  # weight of the newest lag
STALL_S = 1.0  # no one sample counts for more
TOP = max(Shed).value


class Load(Struct, frozen=True, gc=False):
    """What presses on a node now."""

    loop_lag_s: float
    commit_fill: float
    """Of the commit queue, 0 to 1."""
    bus_fill: float
    """Of the fullest link to Redis; may pass 1 while Redis reads."""


class Side(Enum):
    """Where the pressure stands."""

    CALM = "below 70 %"
    BETWEEN = "neither"
    OVER = "at the limit or beyond"


class Level(Struct, frozen=True, gc=False):
    """The highest rung that is shed (0: none), and since when the pressure is on its side."""

    step: int = 0
    side: Side = Side.CALM
    since: float = 0.0


def pressure(load: Load) -> float:
    """1 is the most that a node may bear for long; the worst of all counts."""
    return max(load.loop_lag_s / LAG_S, load.commit_fill / FILL, load.bus_fill / FILL)


def smoothed(before: float, sample: float) -> float:
    """The lag over the last samples: one long turn is not overload, many are."""
    return before + SMOOTH * (min(sample, STALL_S) - before)


def side_of(pressure: float) -> Side:
    if pressure >= 1:
        return Side.OVER
    return Side.CALM if pressure < CALM else Side.BETWEEN


def step(level: Level, pressure: float, now: float) -> Level:
    """The next level; call it with every sample, `now` never going back."""
    side = side_of(pressure)
    if side is not level.side:
        return Level(level.step, side, now)
    waited = now - level.since
    if side is Side.OVER and waited >= UP_S and level.step < TOP:
        return Level(level.step + 1, side, now)
    if side is Side.CALM and waited >= DOWN_S and level.step > 0:
        return Level(level.step - 1, side, now - DOWN_S + DOWN_AGAIN_S)
    return level

"""In which order and how fast a leaving node sends its sessions away."""

import pytest

from messenger.gateway.drain import ANSWERS_S, LAST_S, STEP_S, Drain


class Leaver:
    """A session, as far as the drain sees it."""

    def __init__(self, in_flight: int = 0, count: int = 0) -> None:
        self.in_flight = in_flight
        self.count = count
        self.idle = not in_flight
        self.reading = True
        self.left = False

    def stop_reading(self) -> None:
        self.reading = False

    def leave(self) -> None:
        self.left = True


def draining(rate: float, leavers: list[Leaver]) -> Drain:
    drain = Drain(rate)
    for leaver in leavers:
        drain.add(leaver)  # type: ignore[arg-type]  # all that it needs of a session
    return drain


def gone(leavers: list[Leaver]) -> int:
    return sum(leaver.left for leaver in leavers)


def test_given_many_sessions_when_they_leave_then_a_share_each_step_the_quiet_first() -> None:
    busy, quiet = [Leaver(count=9) for _ in range(50)], [Leaver() for _ in range(100)]
    drain = draining(1_000, [*busy, *quiet])

    drain._step(0.0)
    first = gone(quiet), gone(busy)
    drain._step(STEP_S)

    assert first == (100, 0)
    assert gone(busy) == 50


def test_given_a_command_in_flight_when_its_turn_comes_then_it_has_two_seconds() -> None:
    answered, stuck = Leaver(in_flight=1), Leaver(in_flight=2)
    drain = draining(0, [answered, stuck])
    drain._step(0.0)
    assert [answered.reading, stuck.reading] == [False, False]
    assert gone([answered, stuck]) == 0

    answered.idle = True
    drain._step(0.5)
    assert (answered.left, stuck.left) == (True, False)
    drain._step(ANSWERS_S)
    assert stuck.left


@pytest.mark.parametrize(("rate", "sessions"), [(1_000, 15_000), (10, 15_000), (10, 100)])
def test_given_any_rate_when_all_must_leave_then_the_last_one_goes_in_time(
    rate: float, sessions: int
) -> None:
    leavers = [Leaver() for _ in range(sessions)]
    drain = draining(rate, leavers)
    steps = 0
    while gone(leavers) < sessions:
        drain._step(steps * STEP_S)
        steps += 1
    assert steps * STEP_S <= LAST_S * 1.1
    assert drain.takes_s(sessions) <= LAST_S
    assert abs(steps * STEP_S - drain.takes_s(sessions)) <= LAST_S * 0.1

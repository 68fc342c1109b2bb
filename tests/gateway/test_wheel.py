"""The wheel ticks each session in the second it is due, and never one that left."""

import time

from messenger.gateway.wheel import Wheel


class Timed:
    """Counts its ticks."""

    def __init__(self, due: float) -> None:
        self.due = due
        self.second = 0
        self.ticks: list[float] = []

    def tick(self, now: float) -> None:
        self.ticks.append(now)


def test_given_two_dues_when_time_passes_then_each_ticks_once_and_in_time() -> None:
    now = time.monotonic()
    wheel = Wheel()
    soon, late = Timed(now + 1), Timed(now + 5)
    wheel.put(soon)
    wheel.put(late)

    wheel.turn(now + 3)
    assert len(soon.ticks) == 1
    assert late.ticks == []
    wheel.turn(now + 7)

    assert len(soon.ticks) == 1
    assert late.ticks == [now + 7]


def test_given_a_removed_one_when_its_second_comes_then_it_is_not_ticked() -> None:
    now = time.monotonic()
    wheel = Wheel()
    timed = Timed(now + 1)
    wheel.put(timed)

    wheel.remove(timed)
    wheel.turn(now + 5)

    assert timed.ticks == []


def test_given_a_new_due_when_put_again_then_only_the_new_one_counts() -> None:
    now = time.monotonic()
    wheel = Wheel()
    timed = Timed(now + 1)
    wheel.put(timed)
    timed.due = now + 10

    wheel.put(timed)
    wheel.turn(now + 5)
    assert timed.ticks == []
    wheel.turn(now + 12)

    assert len(timed.ticks) == 1


def test_given_a_tick_that_puts_itself_again_when_turned_then_it_waits_for_the_next() -> None:
    now = time.monotonic()
    wheel = Wheel()

    class Again(Timed):
        def tick(self, now: float) -> None:
            super().tick(now)
            self.due = now + 2
            wheel.put(self)

    again = Again(now)
    wheel.put(again)
    wheel.turn(now + 2)
    wheel.turn(now + 9)

    assert len(again.ticks) == 2

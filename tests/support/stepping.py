"""`peyk node` with a wall clock that jumps when told: SIGUSR1 ahead, SIGUSR2 back, by 10 minutes.

The clock of the machine is everybody's, and time namespaces shift only the monotonic clocks; so
the two functions through which our code and its libraries read the wall clock are replaced before
anything is imported. Redis, PostgreSQL and the other nodes keep the true time.
"""

import runpy
import signal
import sys
import time

STEP_S = 600


class Clock:
    def __init__(self) -> None:
        self._ahead_s = 0
        self._time, self._time_ns = time.time, time.time_ns

    def time(self) -> float:
        return self._time() + self._ahead_s

    def time_ns(self) -> int:
        return self._time_ns() + self._ahead_s * 1_000_000_000

    def steps(self, number: int, _frame: object) -> None:
        self._ahead_s += STEP_S if number == signal.SIGUSR1 else -STEP_S


if __name__ == "__main__":
    clock = Clock()
    time.time, time.time_ns = clock.time, clock.time_ns
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, clock.steps)
    sys.argv = ["peyk", "node"]
    runpy.run_module("messenger", run_name="__main__")

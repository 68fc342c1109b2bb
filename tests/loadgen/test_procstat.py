"""CPU and memory of processes, against children whose work is known."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from loadgen.bench.procstat import (
    Processes,
    between,
    class_of,
    cpu_of,
    descendants,
    machine_cpu,
    rss_of,
)

BURNER = """
import sys, time
burn = float(sys.stdin.readline())
while time.process_time() < burn: pass
print(time.process_time(), flush=True)
sys.stdin.readline()
"""
HOLDER = "held = bytearray(64 * 2**20); print('ready', flush=True); input()"
PARENT = """
import subprocess, sys
child = "import time\\nwhile time.process_time() < 0.3: pass"
subprocess.run([sys.executable, "-c", child])
print("waited", flush=True)
input()
"""


@pytest.fixture
def start() -> Iterator[object]:
    children: list[subprocess.Popen[str]] = []

    def started(program: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(  # noqa: S603 - the programs above
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield started
    for child in children:
        child.kill()
        child.communicate()


def test_given_a_burner_when_read_before_and_after_then_its_cpu_is_counted(start) -> None:
    child = start(BURNER)
    processes = Processes(child.pid)
    before = processes.read()

    child.stdin.write("0.4\n")
    child.stdin.flush()
    burnt = float(child.stdout.readline())
    cost = between(before, processes.read())

    # what it used before the first reading (its start) is not in the window
    assert cost.cpu_s["gateway"] <= burnt + 0.05
    assert cost.cpu_s["gateway"] == pytest.approx(0.4, abs=0.15)
    assert cost.cpu_s["postgres"] == cost.cpu_s["redis"] == 0.0


def test_given_a_child_that_ended_when_read_then_its_cpu_is_its_parents(start) -> None:
    parent = start(PARENT)

    assert parent.stdout.readline() == "waited\n"

    assert cpu_of(parent.pid) >= 0.29


def test_given_our_own_work_when_compared_then_it_is_the_drivers_and_not_other(start) -> None:
    child = start(BURNER)
    processes = Processes(child.pid)
    before = processes.read()
    until = time.process_time() + 0.3

    while time.process_time() < until:
        pass
    cost = between(before, processes.read())

    assert cost.driver_cores * cost.seconds == pytest.approx(0.3, abs=0.1)
    assert cost.server_s < 0.1


def test_given_64_mib_held_when_read_then_rss_knows(start) -> None:
    child = start(HOLDER)

    assert child.stdout.readline() == "ready\n"

    assert rss_of(child.pid) > 64 * 2**20
    assert Processes(child.pid).rss()["gateway"] == rss_of(child.pid)


def test_given_a_process_that_is_gone_when_read_then_nothing_is_raised(start) -> None:
    child = start("pass")
    child.wait()
    pid = child.pid

    assert cpu_of(pid) is None
    assert rss_of(pid) == 0
    assert class_of(pid) == "gateway"
    assert descendants([pid]) == [pid]


def test_given_our_child_when_descendants_are_asked_then_it_is_among_ours(start) -> None:
    child = start(BURNER)

    assert child.pid in descendants([os.getpid()])


def test_given_the_machine_when_read_then_busy_is_part_of_all() -> None:
    busy, steal, total = machine_cpu()

    assert 0 < busy < total
    assert steal >= 0

"""What processes cost, read from /proc: CPU to the nanosecond, resident memory, who else ran.

CPU is user + system time of every thread that runs (`schedstat`) plus that of children already
ended (`stat`). Kernel threads are not counted; on the loopback a `send` also pays the receiver's
TCP input, so system time is an upper bound.
"""

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
CLASSES = ("gateway", "postgres", "redis")


class Usage(Struct, frozen=True):
    """Counters at one moment; two of them make a `Cost`."""

    at_s: float
    cpu_s: dict[str, float]
    """By class of process, ended children included."""
    driver_s: float
    busy_s: float
    """Of the whole machine, all cores, guests' stolen time excluded."""
    steal_s: float
    total_s: float


class Cost(Struct, frozen=True):
    """What happened between two readings."""

    seconds: float
    cpu_s: dict[str, float]
    driver_cores: float
    other_cores: float
    """Busy with neither the server nor the driver."""
    steal: float
    """Share of the machine's time that the host took away."""

    @property
    def server_s(self) -> float:
        return sum(self.cpu_s.values())


class Processes:
    """The server's processes with all their descendants, by what they do; and the driver's."""

    def __init__(self, root: int) -> None:
        self.roots = [root]
        """The supervisor, and nodes that were started beside it."""
        self.drivers = [os.getpid()]

    def read(self) -> Usage:
        totals = dict.fromkeys(CLASSES, 0.0)
        for pid in descendants(self.roots):
            totals[class_of(pid)] += cpu_of(pid) or 0.0
        busy, steal, total = machine_cpu()
        own = sum(cpu_of(pid) or 0.0 for pid in self.drivers)
        return Usage(time.monotonic(), totals, own, busy, steal, total)

    def rss(self) -> dict[str, int]:
        """Resident bytes by class; shared pages of PostgreSQL are counted once a process."""
        totals = dict.fromkeys(CLASSES, 0)
        for pid in descendants(self.roots):
            totals[class_of(pid)] += rss_of(pid)
        return totals


def between(before: Usage, after: Usage) -> Cost:
    seconds = after.at_s - before.at_s
    cpu_s = {kind: after.cpu_s[kind] - before.cpu_s[kind] for kind in CLASSES}
    driver_s = after.driver_s - before.driver_s
    busy_s = after.busy_s - before.busy_s
    total_s = max(after.total_s - before.total_s, 1e-9)
    other_s = max(0.0, busy_s - sum(cpu_s.values()) - driver_s)
    return Cost(
        seconds,
        cpu_s,
        driver_s / seconds,
        other_s / seconds,
        (after.steal_s - before.steal_s) / total_s,
    )


def descendants(roots: Sequence[int]) -> list[int]:
    """`roots` and all below them, by the parents' pids of this moment."""
    parents: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = set[int](), list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:  # a root may be below another one
            found.add(pid)
            waiting.extend(parents.get(pid, ()))
    return sorted(found)


def class_of(pid: int) -> str:
    """By its command line: PostgreSQL, Redis, and everything else is ours."""
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return "gateway"
    first = words.split(b"\0", 1)[0].split(b" ", 1)[0].rsplit(b"/", 1)[-1]
    if first.startswith(b"postgres"):
        return "postgres"
    return "redis" if first.startswith(b"redis") else "gateway"


def cpu_of(pid: int) -> float | None:
    """Seconds of all threads and of the children it has waited for; None if it is gone."""
    try:
        threads = list((PROC / str(pid) / "task").iterdir())
    except OSError:
        return None
    running = sum(_scheduled(thread) for thread in threads) / 1e9
    fields = _stat(pid)
    if not fields:
        return None
    user, system, ended_user, ended_system = (int(field) / TICKS for field in fields[11:15])
    own = max(running, user + system)  # coarse, but it knows the threads that have ended
    return own + ended_user + ended_system


def rss_of(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def pss_of(pids: Iterable[int]) -> int:
    """Proportional set size: a page shared by n processes counts 1/n in each."""
    total = 0
    for pid in pids:
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def machine_cpu() -> tuple[float, float, float]:
    """(busy, stolen, all) seconds of all cores since the machine started."""
    words = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    user, nice, system, idle, iowait, irq, softirq, steal = (int(word) / TICKS for word in words)
    busy = user + nice + system + irq + softirq
    return busy, steal, busy + steal + idle + iowait


def _scheduled(thread: Path) -> int:
    try:
        return int((thread / "schedstat").read_text().split()[0])
    except OSError:
        return 0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold anything; [] if it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()

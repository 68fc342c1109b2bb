"""Where and from which commit a figure comes; printed beside every figure."""

import os
import platform
import subprocess
from pathlib import Path

from msgspec import Struct


class Machine(Struct, frozen=True):
    """The hardware, the software and the commit of a run."""

    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str
    commit: str
    """Short hash, or "unknown" outside a checkout."""
    dirty: bool
    """The working tree differed from the commit."""


def this_machine() -> Machine:
    commit, dirty = _commit()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(pages / 2**30, 1),
        kernel=platform.release(),
        python=platform.python_version(),
        commit=commit,
        dirty=dirty,
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> tuple[str, bool]:
    root = Path(__file__).resolve().parent.parent
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return "unknown", False


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603 - fixed words
        ["git", "-C", str(root), *words],  # noqa: S607 - the developer's git, wherever it is
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()

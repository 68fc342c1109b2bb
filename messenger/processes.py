"""Children of the supervisor: started on a leash, stopped by pid, restarted with patience."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

LEASH = Path(__file__).with_name("leash.py")
STOP_PATIENCE_S = 10.0
DEATHS = 5
DEATHS_WINDOW_S = 60.0
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 8.0


class User(Struct, frozen=True):
    """Whom a program runs as."""

    uid: int
    gid: int


class Program:
    """One child process; the object outlives restarts."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        stop: signal.Signals,
        orphaned: signal.Signals | None = None,
        environ: Mapping[str, str] | None = None,
        log: Path | None = None,
        user: User | None = None,
    ) -> None:
        self.name = name
        self._arguments = list(arguments)
        self._stop = stop
        self._orphaned = orphaned or stop
        self._environ = environ
        self._log = log
        self._user = user
        self._process: Process | None = None
        self.started = 0.0
        """Wall-clock time of the last start, for people."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative = the signal that ended it."""
        return self._process.returncode if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        user = (str(self._user.uid), str(self._user.gid)) if self._user else ("-", "-")
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(self._orphaned))]
        output = None if self._log is None else self._log.open("ab")
        try:
            self._process = await asyncio.create_subprocess_exec(
                *leash,
                *user,
                *self._arguments,
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
                env=self._environ,
                start_new_session=True,
            )
            self.started = round(time.time(), 3)
        finally:
            if output is not None:
                output.close()

    async def wait(self) -> int:
        """Its exit code, when it has ended."""
        if self._process is None:
            raise AssertionError(f"{self.name} was not started")
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    async def stop(self, patience_s: float = STOP_PATIENCE_S) -> None:
        """Ask, wait `patience_s`, then kill; returns when the process is gone."""
        if not self.running:
            return
        self.send(self._stop)
        try:
            await asyncio.wait_for(self.wait(), patience_s)
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self.wait()


class Patience:
    """How long to wait before a restart; None once it died too often."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._deaths: deque[float] = deque(maxlen=DEATHS)

    def after_death(self) -> float | None:
        """Seconds until the restart: doubled with every death of the last minute."""
        now = self._now()
        self._deaths.append(now)
        recent = sum(1 for at in self._deaths if now - at < DEATHS_WINDOW_S)
        if recent >= DEATHS:
            return None
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (recent - 1))


class GaveUpError(Exception):
    """A program died `DEATHS` times within `DEATHS_WINDOW_S`; the text is one line."""


async def keep(
    program: Program,
    restart: Callable[[], Awaitable[None]],
    on_death: Callable[[Program, int], None],
    now: Callable[[], float],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Restart `program` whenever it ends, until cancelled. Raises GaveUpError."""
    patience = Patience(now)
    while True:
        code = await program.wait()
        on_death(program, code)
        delay = patience.after_death()
        if delay is None:
            raise GaveUpError(f"{program.name} died {DEATHS} times in {DEATHS_WINDOW_S:.0f} s")
        await pause(delay)
        await restart()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def works_in(pid: int, folder: Path) -> bool:
    """Whether process `pid` has `folder` as its working directory; False where nobody can tell."""
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == folder.resolve()
    except OSError:
        return False


def started_at(pid: int) -> float:
    """When the process started, in the kernel's own count; 0 where nobody can tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        return float(stat.rpartition(")")[2].split()[19])  # field 22: the name may hold spaces
    except (OSError, IndexError, ValueError):
        return 0.0

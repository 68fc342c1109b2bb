"""Children on a leash: stopped by pid, restarted with patience, gone with their parent."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from messenger.processes import (
    GaveUpError,
    Patience,
    Program,
    alive,
    keep,
    started_at,
    works_in,
)

WAITS = [sys.executable, "-c", "import signal; signal.pause()"]
DEAF = [
    sys.executable,
    "-c",
    "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); signal.pause()",
]
DIES = [sys.executable, "-c", "raise SystemExit(3)"]
PARENT = """
import asyncio, signal, sys
from messenger.processes import Program
async def main():
    child = Program("child", [sys.executable, "-c", "import signal; signal.pause()"],
                    stop=signal.SIGTERM)
    await child.start()
    print(child.pid, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0.01)


def is_gone(pid: int) -> bool:
    """No more, or waiting for a parent that does not ask."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except FileNotFoundError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


async def test_given_a_program_when_stopped_then_its_end_is_known() -> None:
    program = Program("waits", WAITS, stop=signal.SIGTERM)
    await program.start()
    pid = program.pid or 0
    assert alive(pid)
    assert started_at(pid) > 0

    await program.stop()

    assert (program.running, program.exit_code) == (False, -signal.SIGTERM)
    assert not alive(pid)


async def test_given_a_deaf_program_when_stopped_then_it_is_killed_after_the_patience(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    program = Program("deaf", DEAF, stop=signal.SIGTERM, log=log)
    await program.start()
    await until(lambda: bool(log.read_bytes()))  # its handler is set

    await program.stop(patience_s=0.05)

    assert program.exit_code == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is Linux's")
async def test_given_a_parent_when_it_is_killed_then_its_child_ends_too() -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(await asyncio.wait_for(parent.stdout.readline(), 15))

    parent.kill()
    await parent.communicate()

    await until(lambda: is_gone(child))


async def test_given_a_program_that_dies_when_kept_then_it_is_given_up_after_five_deaths() -> None:
    program = Program("dies", DIES, stop=signal.SIGTERM)
    codes: list[int] = []
    await program.start()

    with pytest.raises(GaveUpError, match="dies died 5 times in 60 s"):
        await asyncio.wait_for(
            keep(
                program,
                program.start,
                lambda _, code: codes.append(code),
                asyncio.get_running_loop().time,
                pause=lambda _: asyncio.sleep(0),
            ),
            15,
        )

    assert codes == [3] * 5


def test_given_deaths_in_a_row_when_asked_then_the_delay_doubles_until_it_gives_up() -> None:
    patience = Patience(iter([0.0, 1.0, 2.0, 3.0, 4.0]).__next__)

    assert [patience.after_death() for _ in range(5)] == [0.5, 1.0, 2.0, 4.0, None]


def test_given_deaths_far_apart_when_asked_then_each_restart_is_quick() -> None:
    patience = Patience(iter([0.0, 61.0, 122.0, 183.0, 244.0, 305.0]).__next__)

    assert [patience.after_death() for _ in range(6)] == [0.5] * 6


def test_given_a_process_when_asked_where_it_works_then_only_its_own_folder_is_true(
    tmp_path: Path,
) -> None:
    assert works_in(os.getpid(), Path.cwd())
    assert not works_in(os.getpid(), tmp_path)
    assert not works_in(2**22 + 1, tmp_path)

"""Ports and stores that a start cannot use, and what a second signal does."""

import asyncio
import signal
import socket
import sys
from pathlib import Path

import pytest

from messenger.preflight import StartRefusedError
from messenger.processes import Program
from messenger.settings import load_settings
from messenger.stores import check, migrated
from messenger.supervisor import Stop, check_ports
from tests.conftest import Stores
from tests.support.ports import free_ports


async def test_given_one_bad_store_of_two_when_checked_then_its_line_comes_alone(
    stores: Stores,
) -> None:
    wrong = stores.database_url.replace("//peyk@", "//nobody_here@")

    with pytest.raises(StartRefusedError, match=r"^DATABASE_URL: role .nobody_here. does not"):
        await check(wrong, stores.redis_url, "production")


async def test_given_no_database_when_migrated_then_one_line_says_so() -> None:
    with pytest.raises(StartRefusedError, match=r"^DATABASE_URL: cannot migrate: "):
        await migrated("postgresql+asyncpg://peyk@127.0.0.1:1/peyk")


def test_given_a_taken_operations_port_when_checked_then_it_is_named(tmp_path: Path) -> None:
    first = free_ports(2)
    wishes = {"home": tmp_path, "port": free_ports(), "ops_port": first, "processes": 2}
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", first + 1))
        stranger.listen(1)

        with pytest.raises(StartRefusedError, match=rf"^ops_port: 127.0.0.1:{first + 1} is taken$"):
            check_ports(load_settings(None, {}, wishes))


def test_given_a_host_that_is_not_ours_when_checked_then_it_is_named(tmp_path: Path) -> None:
    wishes = {"home": tmp_path, "host": "192.0.2.1", "port": free_ports()}

    with pytest.raises(StartRefusedError, match=r"^port: 192\.0\.2\.1:\d+ fails: "):
        check_ports(load_settings(None, {}, wishes))


async def test_given_a_second_signal_when_a_drain_hangs_then_the_nodes_are_killed() -> None:
    node = Program("node-0", [sys.executable, "-c", "input()"], stop=signal.SIGTERM)
    asleep = Program(
        "deaf",
        [sys.executable, "-c", "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"],
        stop=signal.SIGTERM,
    )
    await asleep.start()

    async with asyncio.TaskGroup() as tasks:
        stop = Stop(tasks.create_task(asyncio.sleep(60)))  # type: ignore[arg-type]  # any task
        stop.programs = [node, asleep]
        stop()
        assert asleep.running
        stop()

    assert await asyncio.wait_for(asleep.wait(), 10) == -signal.SIGKILL

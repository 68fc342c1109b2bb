"""`peyk serve` and its children: ready means all of it, killed means nothing is left."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from messenger import state, supervisor
from messenger.embedded.servers import locked
from messenger.home import ready_settings
from messenger.preflight import StartRefusedError
from messenger.processes import Program, alive
from messenger.pulse import Pulse
from messenger.settings import Settings, load_settings
from messenger.stores import borrowed, migrated, opened
from messenger.supervisor import Node, answers, child_environ, supervise
from tests.conftest import Stores
from tests.support.homes import temporary_home
from tests.support.ports import free_ports

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def own_home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


async def until(condition: Callable[[], bool], seconds: float = 40) -> None:
    """Wait for what other processes do."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(0.02)


async def until_ready(port: int) -> None:
    async with asyncio.timeout(40):
        while not await answers(port, "/health/ready"):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)


def platform(home: Path) -> state.Platform:
    found = state.running(home)
    assert found is not None
    return found


def is_ready(home: Path) -> bool:
    found = state.running(home)
    return found is not None and found.ready


def pids(home: Path) -> dict[str, int]:
    return {process.name: process.pid for process in platform(home).processes}


@asynccontextmanager
async def serving(home: Path) -> AsyncIterator["subprocess.Popen[bytes]"]:
    """A `peyk serve` with two nodes, ready; ended with the block."""
    port, ops_port = free_ports(), free_ports(2)
    words = ["serve", "--home", str(home), "--port", str(port), "--processes", "2"]
    environ = {"PATH": os.defpath, "PEYK_OPS_PORT": str(ops_port), "PEYK_DRAIN_NOTICE": "0"}
    with (home / "serve.log").open("ab") as log:
        process = subprocess.Popen(  # noqa: S603, ASYNC220 - returns at once
            [sys.executable, "-m", "messenger", *words], env=environ, stdout=log, stderr=log
        )
    try:
        await until(lambda: is_ready(home) or process.poll() is not None)
        text = (home / "serve.log").read_text(encoding="utf-8")
        assert process.poll() is None, text
        yield process
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 60)


@pytest.mark.slow
async def test_given_a_platform_when_parts_are_killed_then_each_is_replaced_and_a_term_ends_all(
    own_home: Path,
) -> None:
    environ = {"PATH": os.defpath, "PEYK_DRAIN_NOTICE": "0"}
    wishes = {"home": own_home, "port": free_ports(), "ops_port": free_ports(2), "processes": 2}
    settings = ready_settings(None, {}, wishes)
    said: list[str] = []

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervise(settings, environ, said.append))
        await until(lambda: is_ready(own_home))
        assert said == [f"peyk serves on http://127.0.0.1:{settings.port}"]
        before = pids(own_home)
        assert set(before) == {"postgres", "redis", "node-0", "node-1"}

        killed = ("node-0", "redis", "postgres")
        for name in killed:
            os.kill(before[name], signal.SIGKILL)
        await until(lambda: all(pids(own_home)[name] != before[name] for name in killed))
        for number in range(2):
            await until_ready(settings.ops_port + number)
        async with borrowed(settings) as lent:
            assert lent.database_url == platform(own_home).database_url

        children = pids(own_home)
        os.kill(os.getpid(), signal.SIGTERM)

    assert not [name for name, pid in children.items() if alive(pid)]
    assert state.running(own_home) is None


@pytest.mark.slow
async def test_given_a_term_while_starting_when_supervised_then_it_ends_and_leaves_nothing(
    own_home: Path,
) -> None:
    ports = {"port": free_ports(), "ops_port": free_ports(), "processes": 1}
    settings = ready_settings(None, {}, {"home": own_home, **ports})

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervise(settings, {"PATH": os.defpath}, lambda _: None))
        await until(lambda: (own_home / "lock").exists())
        os.kill(os.getpid(), signal.SIGTERM)

    with locked(own_home):
        assert state.running(own_home) is None


async def test_given_given_stores_when_opened_then_they_are_checked_and_not_started(
    settings: Settings,
) -> None:
    async with opened(settings) as (ready, servers):
        assert (ready, servers) == (settings, None)


async def test_given_no_platform_when_a_command_borrows_then_it_starts_its_own(
    own_home: Path,
) -> None:
    settings = ready_settings(None, {}, {"home": own_home})

    async with borrowed(settings) as ready:
        assert str(own_home / "run") in str(ready.database_url) or os.geteuid() == 0
        assert not ready.embedded


@pytest.mark.slow
async def test_given_a_killed_supervisor_when_started_again_then_nothing_is_in_the_way(
    own_home: Path,
) -> None:
    async with serving(own_home) as process:
        children = pids(own_home)
        database_url = platform(own_home).database_url
        process.kill()
        await asyncio.to_thread(process.wait)

        async with serving(own_home):
            assert platform(own_home).database_url == database_url
            assert not set(children.values()) & set(pids(own_home).values())
            assert not [name for name, pid in children.items() if alive(pid)]


async def test_given_a_newer_database_when_migrated_then_one_line_refuses(
    stores: Stores,
) -> None:
    url = stores.database_url.replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE DATABASE newer")
    finally:
        await connection.close()
    newer = stores.database_url.replace("/peyk?", "/newer?")
    await migrated(newer)
    connection = await asyncpg.connect(newer.replace("+asyncpg", ""))
    try:
        await connection.execute("UPDATE schema_version SET version_num = '9999'")
    finally:
        await connection.close()

    with pytest.raises(StartRefusedError, match="at revision 9999, this version knows"):
        await migrated(newer)


@pytest.mark.parametrize(
    ("does", "pulse", "told"),
    [
        ("s = socket.create_server(('127.0.0.1', %d))", partial(Pulse, stalled_s=0.05), "stalled"),
        ("# no port %d", partial(Pulse, stalled_s=0, absent_s=0.05), "listens nowhere"),
    ],
    ids=["still", "no port"],
)
async def test_given_a_node_that_answers_nothing_when_watched_then_it_is_killed_and_why_is_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    does: str,
    pulse: Callable[[float], Pulse],
    told: str,
) -> None:
    monkeypatch.setattr(supervisor, "ASK_S", 0.02)
    settings = load_settings(None, {}, {"home": str(tmp_path), "ops_port": free_ports()})
    node = Node(0, settings, {})
    script = f"import signal, socket\n{does % node.ops_port}\nsignal.pause()"
    node.program = Program("node-0", [sys.executable, "-c", script], stop=signal.SIGTERM)
    await node.program.start()

    watching = asyncio.ensure_future(node.watch_loop(0.01, pulse))
    try:
        assert await asyncio.wait_for(node.program.wait(), 20) == -signal.SIGKILL
    finally:
        watching.cancel()
    assert caplog.messages[0] == f"node {told}"


async def test_given_a_node_that_ends_at_start_when_awaited_then_its_code_is_named(
    tmp_path: Path,
) -> None:
    settings = load_settings(None, {}, {"home": str(tmp_path), "ops_port": free_ports()})
    node = Node(3, settings, {})
    node.program = Program(
        "node-3", [sys.executable, "-c", "raise SystemExit(2)"], stop=signal.SIGTERM
    )
    await node.program.start()

    with pytest.raises(StartRefusedError, match="node-3 ended with 2 at start"):
        await node.wait_ready()


def test_given_embedded_stores_when_a_node_is_started_then_it_is_told_their_addresses(
    stores: Stores, tmp_path: Path
) -> None:
    environ = {"DATABASE_URL": stores.database_url, "REDIS_URL": stores.redis_url}
    settings = load_settings(None, environ, {"home": str(tmp_path), "port": 20001})

    told = child_environ(settings, {"LANG": "C"}, embedded=True)
    untold = child_environ(settings, {"LANG": "C"}, embedded=False)

    assert (told["DATABASE_URL"], told["PEYK_PORT"], told["LANG"]) == (
        stores.database_url,
        "20001",
        "C",
    )
    assert "DATABASE_URL" not in untold

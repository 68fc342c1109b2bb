"""Servers of others on this machine, started for a comparison and stopped after it."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from loadgen.bench.peer_wires import Mqtt, Nats, Wire
from loadgen.platform import PlatformError, free_ports

START_S = 15.0
STOP_S = 10.0
MOSQUITTO = "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\n" + (
    "max_queued_messages 100000\nmax_connections -1\n"
)


class Kind(Struct, frozen=True):
    """How a server is started and spoken to."""

    program: str
    wire: type[Wire]
    arguments: Sequence[str]
    """`{port}` and `{config}` are filled in."""
    config: str = ""


KINDS: Mapping[str, Kind] = {
    "nats": Kind("nats-server", Nats, ("-a", "127.0.0.1", "-p", "{port}")),
    "mosquitto": Kind("mosquitto", Mqtt, ("-c", "{config}"), MOSQUITTO),
}
WITHOUT = ("ejabberd",)
"""Of those the performance design compares with: the driver does not speak their wire."""
PLACES = ":/usr/local/sbin:/usr/sbin:/sbin"
"""Where distributions put servers; not on everybody's path."""


class Peer(Struct):
    """One that runs."""

    name: str
    pid: int
    port: int
    kind: Kind


def installed() -> tuple[list[str], list[str]]:
    """Names of those that are here, and of those that are skipped."""
    found = {name: _program(kind) is not None for name, kind in KINDS.items()}
    missing = [name for name in found if not found[name]]
    return [name for name in found if found[name]], [*missing, *WITHOUT]


@asynccontextmanager
async def peer(name: str) -> AsyncIterator[Peer]:
    """The server, accepting connections on the loopback."""
    kind, port = KINDS[name], free_ports()
    with tempfile.TemporaryDirectory(prefix="peyk-peer-") as folder:
        config = Path(folder) / "config"
        config.write_text(kind.config.format(port=port), encoding="utf-8")
        words = [word.format(port=port, config=config) for word in kind.arguments]
        process = await asyncio.create_subprocess_exec(
            _program(kind) or kind.program,
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            await _wait_listening(name, process, port)
            yield Peer(name, process.pid, port, kind)
        finally:
            await _stop(process)


def _program(kind: Kind) -> str | None:
    return shutil.which(kind.program) or shutil.which(kind.program, path=PLACES[1:])


async def _wait_listening(name: str, process: asyncio.subprocess.Process, port: int) -> None:
    try:
        async with asyncio.timeout(START_S):
            while process.returncode is None:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    return
    except TimeoutError:
        pass
    raise PlatformError(f"{name} does not listen")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

"""`peyk serve`: stores, migrations, one node per core, and their restarts.

It never reports half a platform: ready means that every node answered. All children hang on a
leash, so that kill -9 of the supervisor ends them too.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

from messenger import state
from messenger.embedded.servers import Servers
from messenger.preflight import StartRefusedError
from messenger.processes import Program, keep, started_at
from messenger.pulse import Pulse, look
from messenger.settings import Settings
from messenger.stores import migrated, opened

log = logging.getLogger(__name__)

READY_S = 60.0
DRAIN_S = 40.0  # as long as process managers give
ASK_S = 2.0
POLL_S = 0.05


class Node:
    """One `peyk node` child and the port on which it tells how it is."""

    def __init__(self, number: int, settings: Settings, environ: Mapping[str, str]) -> None:
        self.ops_port = settings.ops_port + number
        self.program = Program(
            f"node-{number}",
            [sys.executable, "-m", "messenger", "node"],
            stop=signal.SIGTERM,
            orphaned=signal.SIGKILL,  # the port must be free for the next start
            environ={**environ, "PEYK_OPS_PORT": str(self.ops_port)},
        )
        self.was_ready = False

    async def wait_ready(self) -> None:
        """Return when it serves. Raises StartRefusedError if it ends or takes too long."""
        try:
            async with asyncio.timeout(READY_S):
                while not await answers(self.ops_port, "/health/ready"):
                    if not self.program.running:
                        raise StartRefusedError(
                            f"{self.program.name} ended with {self.program.exit_code} at start"
                        )
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StartRefusedError(
                f"{self.program.name} is not ready after {READY_S:.0f} s"
            ) from None
        self.was_ready = True

    async def watch_loop(
        self, every_s: float = ASK_S, pulse: Callable[[float], Pulse] = Pulse
    ) -> None:
        """Kill the node when its loop stands still; `keep` then restarts it."""
        now = asyncio.get_running_loop().time
        pid, felt = self.program.pid, pulse(now())
        while True:
            await asyncio.sleep(every_s)
            sign, _ = await look(self.ops_port, "/health/live", ASK_S)
            if not self.program.running or self.program.pid != pid:
                pid, felt = self.program.pid, pulse(now())
                continue
            why = felt.feel(sign, now())
            if why is not None:
                log.error(why, extra={"program": self.program.name})
                self.program.send(signal.SIGKILL)


async def supervise(
    settings: Settings,
    environ: Mapping[str, str],
    report: Callable[[str], None],
    *,
    redis_nodes: int | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartRefusedError, EmbeddedError, GaveUpError."""
    check_ports(settings)
    stores = opened(settings, redis_nodes=redis_nodes)
    async with until_signal() as stop, stores as (ready, servers):
        if settings.env != "production":
            await migrated(_address(ready.database_url))
        nodes = [
            Node(number, ready, child_environ(ready, environ, embedded=servers is not None))
            for number in range(ready.processes)
        ]
        stop.programs = [node.program for node in nodes]
        async with started(nodes):
            await _serve(ready, servers, nodes, report)


async def _serve(
    settings: Settings,
    servers: Servers | None,
    nodes: Sequence[Node],
    report: Callable[[str], None],
) -> None:
    """Returns only by cancellation or an exception."""

    def tell() -> None:
        state.write(settings.home, _state(settings, servers, nodes))

    def on_death(program: Program, code: int) -> None:
        log.error("process died", extra={"program": program.name, "exit": code})

    async def restart(node: Node) -> None:
        await node.program.start()
        tell()

    try:
        tell()
        for node in nodes:
            await node.wait_ready()
        tell()
        report(f"peyk serves on http://{settings.host}:{settings.port}")
        now = asyncio.get_running_loop().time
        async with asyncio.TaskGroup() as tasks:
            if servers is not None:
                tasks.create_task(servers.watch(on_death, tell), name="watch servers")
            for node in nodes:
                name = node.program.name
                kept = keep(node.program, partial(restart, node), on_death, now)
                tasks.create_task(kept, name=f"keep {name}")
                tasks.create_task(node.watch_loop(), name=f"watch {name}")
    except BaseExceptionGroup as group:
        raise innermost(group) from None
    finally:
        state.remove(settings.home)


def check_ports(settings: Settings) -> None:
    """Nobody listens where we want to. Without this, SO_REUSEPORT would share with a stranger."""
    wanted = [("port", settings.host, settings.port)]
    wanted += [("ops_port", "127.0.0.1", settings.ops_port + n) for n in range(settings.processes)]
    for name, host, port in wanted:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(found[0], found[1]) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(found[4])
                probe.listen(1)
        except OSError as error:
            reason = "is taken" if error.errno == errno.EADDRINUSE else f"fails: {error.strerror}"
            raise StartRefusedError(f"{name}: {host}:{port} {reason}") from None


def child_environ(
    settings: Settings, environ: Mapping[str, str], *, embedded: bool
) -> dict[str, str]:
    """What a node must know: our environment, our command line, and addresses we made."""
    own = {
        "PEYK_HOME": str(settings.home),
        "PEYK_HOST": settings.host,
        "PEYK_PORT": str(settings.port),
        "PEYK_PROCESSES": str(settings.processes),
    }
    if embedded:
        own["DATABASE_URL"] = _address(settings.database_url)
        own["REDIS_URL"] = _address(settings.redis_url)
    return {**environ, **own}


@asynccontextmanager
async def started(nodes: Sequence[Node]) -> AsyncIterator[None]:
    """All nodes started; drained together at the end."""
    try:
        for node in nodes:
            await node.program.start()
        yield
    finally:
        async with asyncio.TaskGroup() as tasks:
            for node in nodes:
                tasks.create_task(node.program.stop(DRAIN_S), name=f"stop {node.program.name}")


class Stop:
    """How a signal ends us: the first drains, the second kills."""

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self.programs: Sequence[Program] = ()
        self.asked = False
        self._task = task

    def __call__(self) -> None:
        if not self.asked:
            self.asked = True
            self._task.cancel()
            return
        for program in self.programs:
            program.send(signal.SIGKILL)


@asynccontextmanager
async def until_signal() -> AsyncIterator[Stop]:
    """Leave the block, cleaning up on the way, when the first signal comes."""
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("runs in a task")
    stop = Stop(task)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield stop
    except asyncio.CancelledError:
        if not stop.asked:
            raise
        task.uncancel()  # it was our own way to leave the block
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def answers(port: int, path: str) -> bool:
    """Whether a GET on the loopback is answered by 200 in time."""
    _, well = await look(port, path, ASK_S)
    return well


def innermost(group: BaseException) -> BaseException:
    """The first thing that went wrong in nested task groups."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


def _address(url: str | None) -> str:
    if url is None:
        raise AssertionError("stores are opened first")
    return url


def _state(settings: Settings, servers: Servers | None, nodes: Sequence[Node]) -> state.Platform:
    processes = [
        state.Process(
            name=program.name,
            role=program.name.partition("-")[0],
            pid=program.pid or 0,
            started=program.started,
        )
        for program in (servers.programs if servers is not None else ())
    ]
    processes += [
        state.Process(
            name=node.program.name,
            role="node",
            pid=node.program.pid or 0,
            started=node.program.started,
            port=settings.port,
            ops_port=node.ops_port,
        )
        for node in nodes
    ]
    return state.Platform(
        pid=os.getpid(),
        started=started_at(os.getpid()),
        host=settings.host,
        port=settings.port,
        database_url=_address(settings.database_url),
        redis_url=_address(settings.redis_url),
        processes=tuple(processes),
        ready=all(node.was_ready for node in nodes),
    )

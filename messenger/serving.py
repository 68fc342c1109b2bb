"""One node on its sockets: listen, say when ready, leave in order.

`run_node` returns the process's exit code: 0 after a drain, 1 where work was cut off or a part of
the node died, 2 where the node could not start (one line on stderr says why).
"""

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette

from messenger.asgi import Node, open_node
from messenger.gateway.connection import GatewayProtocol
from messenger.gateway.request_door import RequestDoor
from messenger.logs import configure, node_name
from messenger.preflight import StartRefusedError
from messenger.settings import Settings

BACKLOG = 4_096
GRACEFUL_S = 30
GC_THRESHOLDS = (50_000, 20, 1_000)
"""Python's own are for programs that make cycles; with them the collector took 16 % of a node."""
NOTSENT_LOWAT = getattr(socket, "TCP_NOTSENT_LOWAT", 25)  # Linux's number where Python lacks it

log = logging.getLogger(__name__)


def run_node(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; a second signal ends at once."""
    configure(node_name(settings.host, settings.port))
    try:
        sockets = listening_sockets(settings)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, sockets))
    except StartRefusedError as error:
        print(f"peyk: {error}", file=sys.stderr)  # noqa: T201 - for a person
        return 2
    except ExceptionGroup as group:
        log.critical("node died", exc_info=group)
        return 1


def listening_sockets(settings: Settings) -> list[socket.socket]:
    """The operations one; before it the public one, which a worker alone has not.

    Raises StartRefusedError where a port is taken.
    """
    shared, lowat = settings.processes > 1, settings.notsent_lowat
    public = []
    if "gateway" in settings.roles:
        public = [_listening(settings.host, settings.port, lowat, shared=shared)]
    return [*public, _listening(settings.ops_host, settings.ops_port, lowat, shared=False)]


@asynccontextmanager
async def served(
    settings: Settings, sockets: Sequence[socket.socket]
) -> AsyncIterator[tuple[Node, uvicorn.Server]]:
    """A node that answers on `sockets` inside the block; leaves in order at its end."""
    async with open_node(settings) as node:
        server = uvicorn.Server(_config(node, settings))
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server._serve(list(sockets)), name="uvicorn")
            try:
                async with asyncio.timeout(GRACEFUL_S):
                    while not server.started:  # noqa: ASYNC110 - uvicorn has no event
                        await asyncio.sleep(0.005)
                yield node, server
            finally:
                node.gateway.draining = True
                server.should_exit = True
                await asyncio.wait([serving])


async def _serve(settings: Settings, sockets: Sequence[socket.socket]) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    async with served(settings, sockets) as (node, server):
        gc.collect()
        gc.freeze()  # the modules stay; nothing is won by looking at them again
        gc.set_threshold(*GC_THRESHOLDS)

        def leave() -> None:
            if stopping.is_set():
                server.force_exit = True
            stopping.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, leave)
        ports = {"port": settings.port, "ops_port": settings.ops_port}
        log.info("node ready", extra={**ports, "roles": settings.roles})
        await stopping.wait()
        log.info("node leaves", extra={"sessions": node.gateway.sessions})
        began = loop.time()
        node.gateway.go_away(settings.drain_notice)
        await asyncio.sleep(settings.drain_notice)
    counts = {"unanswered": node.committer.waiting, "sessions": node.gateway.sessions}
    log.info("node left", extra={**counts, "seconds": round(loop.time() - began, 1)})
    return 1 if node.committer.waiting else 0


def _config(node: Node, settings: Settings) -> uvicorn.Config:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        yield {"gateway": node.gateway}

    node.app.router.lifespan_context = lifespan
    return uvicorn.Config(
        node.app,
        http=RequestDoor,
        ws=GatewayProtocol,
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # we believe X-Forwarded-For only from `trusted_proxies`
        backlog=BACKLOG,
        timeout_graceful_shutdown=GRACEFUL_S,
    )


def _listening(host: str, port: int, notsent_lowat: int, *, shared: bool) -> socket.socket:
    """Accepted sockets inherit NOTSENT_LOWAT: a stalled reader shows after ~117 KB, not 3.9 MB."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listening.setsockopt(socket.IPPROTO_TCP, NOTSENT_LOWAT, notsent_lowat)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise StartRefusedError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    listening.setblocking(False)  # noqa: FBT003 - the standard library's
    return listening

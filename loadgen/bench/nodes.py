"""More nodes on the stores of a running platform, as on another machine of a cluster."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from loadgen.bench.driver import Driver
from loadgen.bench.stage import Stage
from loadgen.platform import PlatformError, free_ports, status

READY_S = 60.0
STOP_S = 20.0
NODE = ("-m", "messenger", "node")
LEAVE_AT_ONCE = "drain_notice = 0.0\ndrain_rate = 0.0\n"


class ExtraNode:
    """One `peyk node`, our child."""

    def __init__(self, process: asyncio.subprocess.Process, host: str, port: int) -> None:
        self.process = process
        self.port = port
        self.ops_port = port + 1
        self.driver = Driver(host, port)

    @property
    def url(self) -> str:
        return f"http://{self.driver.host}:{self.port}"

    def leave(self) -> None:
        """Ask it to go, in order."""
        self.process.send_signal(signal.SIGTERM)


@asynccontextmanager
async def extra_node(
    stage: Stage, name: str, config: str = LEAVE_AT_ONCE, program: Sequence[str] = NODE
) -> AsyncIterator[ExtraNode]:
    """A node ready to serve; `config`: more settings, as TOML, before those of the stage."""
    home = stage.platform.home
    state = json.loads((home / "platform.json").read_text())
    file, log = home / f"{name}.toml", home / f"{name}.log"
    file.write_text(config + stage.config, encoding="utf-8")
    port = free_ports()
    words = [sys.executable, *program, "--host", stage.platform.host, "--port", str(port)]
    words += ["--ops-port", str(port + 1), "--home", str(home), "--config", str(file)]
    addresses = {"DATABASE_URL": state["database_url"], "REDIS_URL": state["redis_url"]}
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PEYK_")}
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**kept, **addresses},
            start_new_session=True,
        )
    node = ExtraNode(process, stage.platform.host, port)
    stage.processes.roots.append(process.pid)
    try:
        await _wait_ready(node, log)
        yield node
    finally:
        await node.driver.close()
        await _stop(process)
        stage.processes.roots.remove(process.pid)


async def _wait_ready(node: ExtraNode, log: Path) -> None:
    try:
        async with asyncio.timeout(READY_S):
            while node.process.returncode is None and not await _is_ready(node):  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # it is another process
    except TimeoutError:
        pass
    else:
        if node.process.returncode is None:
            return
    raise PlatformError(f"the node is not ready: {await asyncio.to_thread(log.read_text)}"[-400:])


async def _is_ready(node: ExtraNode) -> bool:
    try:
        return " 200 " in await status(node.driver.host, node.ops_port, "/health/ready")
    except (OSError, EOFError):
        return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            process.kill()
            await process.wait()

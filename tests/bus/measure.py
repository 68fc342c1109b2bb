"""What an operation on the bus costs this process and Redis: `python -m tests.bus.measure`.

Figures of a shared machine are compared with each other, never with those of another run.
"""

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from tests.bus.conftest import Node, running
from tests.bus.redis_server import RedisServer

UPDATE = b'{"t":"message.new","chat":"7301882731","ev":513,"m":{"text":"%b"}}' % (b"x" * 180)
TOTAL = 50_000
log = logging.getLogger(__name__)


async def in_turns(node: Node, batch: int, do: Callable[[int], None]) -> tuple[float, float]:
    """(client us, Redis us) of one operation, `batch` of them to a turn and a round trip."""
    await node.bus.ask("PING", key="")
    began, redis = time.process_time(), await redis_seconds(node)
    for start in range(0, TOTAL, batch):
        for number in range(start, start + batch):
            do(number)
        await node.bus.ask("PING", key="")
    client = time.process_time() - began
    return client / TOTAL * 1e6, (await redis_seconds(node) - redis) / TOTAL * 1e6


async def redis_seconds(node: Node) -> float:
    lines = (await node.bus.ask("INFO", key="")).decode().splitlines()
    info = dict(line.split(":", 1) for line in lines if ":" in line)
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


async def measure(url: str) -> None:
    async with running(url) as node, running(url) as other:
        streams = node.streams
        for account in range(1_000):
            await streams.attach_user(account)
        cases: list[tuple[str, Callable[[int], None]]] = [
            ("append_user, nobody listens", lambda n: streams.append_user(n % 1_000, UPDATE)),
            ("append_user, inactive", lambda n: streams.append_user(5_000_000 + n, UPDATE)),
            ("publish eph", lambda n: node.bus.publish(f"eph:{n % 1_000}", UPDATE)),
        ]
        for name, do in cases:
            for batch in (1, 10, 50, 200) if "nobody" in name else (50,):
                report(name, batch, *await in_turns(node, batch, do))
        for account in range(1_000):
            node.bus.listen(f"user:{account}")
        await node.bus.listening("user:999")
        node.bus.on_message = lambda _topic, _payload: None
        name, do = cases[0]
        report(f"{name[:11]}, received here", 50, *await in_turns(node, 50, do))
        began = time.process_time()
        for account in range(1_000, 21_000):
            other.bus.listen(f"user:{account}")
        await other.bus.listening("user:20999")
        log.info("listen: %.1f us", (time.process_time() - began) / 20_000 * 1e6)


def report(name: str, batch: int, client: float, redis: float) -> None:
    log.info("%-28s x%-4d client %5.1f us   Redis %5.1f us", name, batch, client, redis)


async def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        server = RedisServer(Path(home) / "redis")
        await server.start()
        try:
            await measure(server.url)
        finally:
            await server.kill()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    uvloop.run(main())

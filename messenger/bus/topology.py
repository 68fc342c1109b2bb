"""Who holds which slots of a Redis Cluster, asked from any of its nodes."""

import asyncio
from collections.abc import Iterable
from typing import Any

from messenger.bus.keys import SLOTS
from messenger.bus.link import BusDown, Link
from messenger.bus.shard import OPEN_TIMEOUT_S, Address, BusRefused, checked
from messenger.metrics import Metrics

Slots = list[tuple[int, int, Address]]
"""(first, last, master), sorted, all 16,384 of them."""


async def read_slots(seeds: Iterable[Address], timeout_s: float, metrics: Metrics) -> Slots:
    """What the first node that answers says. Raises BusDown when none does, BusRefused when none
    does and one refuses us."""
    why: BusDown | BusRefused = BusDown("no node of the cluster answers")
    for seed in seeds:
        try:
            async with asyncio.timeout(min(OPEN_TIMEOUT_S, 2 * timeout_s)):
                return _whole(await _ask(seed, timeout_s, metrics), seed)
        except (OSError, TimeoutError):
            continue
        except BusDown as down:
            why = why if isinstance(why, BusRefused) else down
        except BusRefused as refused:
            why = refused  # by this one; another may still know us
    raise why


async def _ask(seed: Address, timeout_s: float, metrics: Metrics) -> list[Any]:
    loop = asyncio.get_running_loop()
    _, link = await loop.create_connection(
        lambda: Link(bound=1 << 20, timeout_s=timeout_s, metrics=metrics),
        seed.host,
        seed.port,
        ssl=seed.tls_context,
    )
    try:
        await checked(link.ask(*seed.hello(2)))
        info = await checked(link.ask("INFO", "cluster"))
        if b"cluster_enabled:1" not in info:
            raise BusRefused("REDIS_URL: redis+cluster://, but this Redis is not in cluster mode")
        return list(await checked(link.ask("CLUSTER", "SLOTS")))
    finally:
        link.close("asked")


def _whole(ranges: list[Any], seed: Address) -> Slots:
    found = [(first, last, _master(seed, node)) for first, last, node, *_ in sorted(ranges)]
    if sum(last - first + 1 for first, last, _ in found) != SLOTS:
        raise BusDown("the cluster does not hold all slots")
    return found


def _master(seed: Address, node: list[Any]) -> Address:
    host = node[0].decode() if node[0] else seed.host
    return Address(host, node[1], seed.user, seed.password, seed.tls)

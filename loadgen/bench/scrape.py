"""A node's own figures: its Prometheus page, reduced to sums over all labels."""

import asyncio

from msgspec import Struct

TIMEOUT_S = 5.0


class Figures(Struct, frozen=True):
    """Samples by name; `series` keeps them by name and labels."""

    sums: dict[str, float]
    series: dict[str, float]

    def get(self, name: str) -> float:
        return self.sums.get(name, 0.0)

    def mean(self, histogram: str) -> float | None:
        """Of all observations since the node started."""
        count = self.get(f"{histogram}_count")
        return round(self.get(f"{histogram}_sum") / count, 1) if count else None


async def scrape(ops_port: int) -> Figures:
    return parse(await _page(ops_port))


def parse(text: str) -> Figures:
    sums: dict[str, float] = {}
    series: dict[str, float] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            what, _, value = line.rpartition(" ")
            series[what] = float(value)
            name = what.partition("{")[0]
            sums[name] = sums.get(name, 0.0) + float(value)
    return Figures(sums, series)


async def _page(ops_port: int) -> str:
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", ops_port)
        try:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            whole = await reader.read()
        finally:
            writer.close()
    return whole.partition(b"\r\n\r\n")[2].decode()

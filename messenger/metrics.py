"""Every metric of the platform, declared once, with its unit in the name and bounded labels.

One node is one event loop, so counts and distributions are plain numbers that only the loop
touches: 0.1 us instead of the 0.5-1.5 us of the library's locked ones, which a message pays
several times. Gauges are the library's own; many are read from a callback at scrape time.
"""

import gc
import os
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

_FAST = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_ROWS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)


class Count:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        self.value += amount


class Spread:
    """A distribution over fixed upper bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> Iterator[tuple[str, float]]:
        """Cumulative, as the text format wants them."""
        below = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += count
            yield str(bound), float(below)
        yield "+Inf", float(below + self.counts[-1])


Child = TypeVar("Child", Count, Spread)


class Labelled(Generic[Child]):
    """One child per combination of label values. Bind children of hot paths once."""

    __slots__ = ("_children", "_make")

    def __init__(self, make: Callable[[], Child]) -> None:
        self._make: Callable[[], Child] = make
        self._children: dict[tuple[object, ...], Child] = {}

    def labels(self, *values: object) -> Child:
        child = self._children.get(values)
        return child if child is not None else self._add(values)

    def _add(self, values: tuple[object, ...]) -> Child:
        return self._children.setdefault(values, self._make())

    def items(self) -> list[tuple[tuple[str, ...], Child]]:
        return [(tuple(map(str, values)), child) for values, child in self._children.items()]


class _Families(Collector):
    """Shows counts and distributions to the library's text format."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, str, tuple[str, ...], Labelled[Count]]] = []
        self.spreads: list[tuple[str, str, tuple[str, ...], Labelled[Spread]]] = []

    def collect(self) -> Iterator[Metric]:
        for name, text, labels, counts in self.counts:
            counter = CounterMetricFamily(name, text, labels=labels)
            for values, count in counts.items():
                counter.add_metric(values, count.value)
            yield counter
        for name, text, labels, spreads in self.spreads:
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for values, spread in spreads.items():
                histogram.add_metric(values, list(spread.buckets()), spread.total)
            yield histogram


class Metrics:
    """The catalogue; attributes carry the metric's name without `peyk_` and `_total`."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.catalogue: list[tuple[str, str, tuple[str, ...], str]] = []
        """(name, type, labels, meaning) of each, in the order of declaration: for the docs."""
        self._families = _Families()
        self._declare_sessions()
        self._declare_rpc()
        self._declare_log()
        self._declare_delivery()
        self._declare_stores()
        self._declare_process()
        self.registry.register(self._families)

    def _declare_sessions(self) -> None:
        self.sessions = self._gauge("sessions", "Sessions open on this node")
        self.connects = self._counts("connects", "Connect commands", "result")
        self.closes = self._counts("closes", "Closed connections", "code")
        self.login_seconds = self._spread("login_seconds", "From connect command to reply")
        self.subscriptions = self._gauge("subscriptions", "Live subscriptions", "kind")
        self.lagging_sessions = self._gauge("lagging_sessions", "Sessions whose socket is full")
        self.outbox_bytes = self._gauge("outbox_bytes", "Queued behind lagging sockets")
        self.recoveries = self._counts("recoveries", "Recoveries by position", "result")
        self.upgrades_refused = self._counts("upgrades_refused", "Upgrades refused", "why")

    def _declare_rpc(self) -> None:
        self.rpc_seconds = self._spreads("rpc_seconds", "From command to answer", "method")
        self.rpc_refused = self._counts("rpc_refused", "Refusals", "method", "code")
        self.rpc_bugs = self._counts("rpc_bugs", "Handlers that raised", "method")
        self.limited = self._counts("limited", "Refused by a rate limit", "class")
        self.limits_open = self._counts("limits_open", "Passed as Redis is down", "class")

    def _declare_log(self) -> None:
        self.commit_seconds = self._spread("commit_seconds", "One group commit")
        self.commit_rows = self._spread("commit_rows", "Sends in one commit", _ROWS)
        self.commit_queue = self._gauge("commit_queue", "Sends waiting for a commit")
        self.commit_retries = self._count("commit_retries", "Batches repeated or halved")
        self.send_to_ack_seconds = self._spread("send_to_ack_seconds", "From send to its ack")
        self.sends = self._counts("sends", "Sends by what became of them", "outcome")
        self.purged_rows = self._counts("purged_rows", "Rows gone by their age", "table")
        self.purge_rounds = self._counts("purge_rounds", "Walks over all keys ended", "job")
        self.purge_skipped = self._counts("purge_skipped", "Keys passed over by a walk", "job")
        self.dedupe_hits = self._count("dedupe_hits", "Sends answered from an earlier commit")

    def _declare_delivery(self) -> None:
        self.published = self._counts("published", "Publications made here", "topic_kind")
        self.published_user = self.published.labels("user")
        self.published_eph = self.published.labels("eph")
        self.published_chat = self.published.labels("chat")
        self.published_dirty = self.published.labels("dirty")
        self.published_generic = self.published.labels("generic")
        self.messages_published = self._count("messages_published", "New messages told of")
        self.frames = self._count("frames", "Frames given to connections")
        self.writes = self._count("writes", "Connections written to, once a loop turn at most")
        self.commit_to_push_seconds = self._spread(
            "commit_to_push_seconds", "From a message's time to its frames, one in 64 publications"
        )
        self.repaired_heads = self._counts(
            "repaired_heads", "Chats told after a node died, or where a send is in doubt", "why"
        )
        self.shed = self._counts("shed", "Dropped under load", "what")
        self.shed_fanout = self.shed.labels("fanout")
        self.ladder_step = self._gauge("ladder_step", "Step of the shedding ladder")

    def _declare_stores(self) -> None:
        self.bus_seconds = self._spread("bus_seconds", "Round trip of a bus link's probe")
        self.bus_reconnects = self._count("bus_reconnects", "Bus links opened again")
        self.bus_up = self._gauge("bus_up", "1 while the links to this Redis are there", "shard")
        self.bus_errors = self._counts("bus_errors", "Bus commands Redis refused", "code")
        self.bus_queue_bytes = self._gauge("bus_queue_bytes", "Unsent on bus links")
        self.redis_seconds = self._spreads("redis_seconds", "Awaited Redis calls", "op")
        self.db_pool_in_use = self._gauge("db_pool_in_use", "Database connections in use")
        self.db_seconds = self._spreads("db_seconds", "Statements by what they do", "statement")
        self.difference = self._counts("difference", "Differences answered", "result")

    def _declare_process(self) -> None:
        self.loop_lag_seconds = self._spread("loop_lag_seconds", "Lateness of the loop")
        self.gc_pause_seconds = self._spread("gc_pause_seconds", "Pauses of the collector")
        self.tasks = self._gauge("tasks", "Background tasks alive", "name")
        self.loop_tasks = self._gauge("loop_tasks", "Tasks of the event loop, handlers included")
        self._gauge("start_time_seconds", "When the process began, Unix time").set(time.time())
        self._gauge("open_fds", "Open file descriptors").set_function(open_fds)
        self._gauge("rss_bytes", "Resident memory").set_function(rss_bytes)
        self.build_info = self._gauge("build_info", "Always 1", "version", "commit")
        self.build_info.labels(version("peyk"), os.environ.get("PEYK_COMMIT", "")).set(1)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        self.catalogue.append((f"peyk_{name}", "gauge", labels, text))
        return Gauge(f"peyk_{name}", text, labels, registry=self.registry)

    def _count(self, name: str, text: str) -> Count:
        return self._counts(name, text).labels()

    def _counts(self, name: str, text: str, *labels: str) -> Labelled[Count]:
        self.catalogue.append((f"peyk_{name}_total", "counter", labels, text))
        family = Labelled(Count)
        self._families.counts.append((f"peyk_{name}", text, labels, family))
        return family

    def _spread(self, name: str, text: str, bounds: tuple[float, ...] = _FAST) -> Spread:
        self.catalogue.append((f"peyk_{name}", "histogram", (), text))
        family = Labelled(lambda: Spread(bounds))
        self._families.spreads.append((f"peyk_{name}", text, (), family))
        return family.labels()

    def _spreads(self, name: str, text: str, *labels: str) -> Labelled[Spread]:
        self.catalogue.append((f"peyk_{name}", "histogram", labels, text))
        family = Labelled(lambda: Spread(_FAST))
        self._families.spreads.append((f"peyk_{name}", text, labels, family))
        return family


class CollectorPauses:
    """Feeds `gc_pause_seconds` from the interpreter's collector hooks while it is open."""

    def __init__(self, metrics: Metrics) -> None:
        self._spread = metrics.gc_pause_seconds
        self._began = 0.0

    def __enter__(self) -> None:
        gc.callbacks.append(self._on_collect)

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(self._on_collect)

    def _on_collect(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self._spread.observe(time.perf_counter() - self._began)


def open_fds(folder: str = "/proc/self/fd") -> float:
    try:
        return float(len(os.listdir(folder)))
    except OSError:  # no /proc: not Linux
        return float("nan")


def rss_bytes(statm: str = "/proc/self/statm") -> float:
    try:
        with open(statm, encoding="ascii") as pages:
            return float(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource  # reads the peak only, hence second choice

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return float(peak if sys.platform == "darwin" else peak * 1024)


def version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"

"""The page a run leaves behind: verdict first, then what it rests on.

One file, no script, no network; readable in light and dark, in both directions of writing. Every
figure on it was counted or timed in this run (MEASURED) or is called "not measured".
"""

from datetime import datetime
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import Struct

from loadgen.demo import charts
from loadgen.demo.agency import Book
from loadgen.demo.conservation import Breach, Verdict
from loadgen.demo.figures import QUANTILES, Latency, Tally, Timeline
from loadgen.machine import Machine


class Cost(Struct, frozen=True):
    """What the server's processes used while the people talked."""

    cpu_s: dict[str, float]
    """gateway, postgres, redis -> CPU seconds."""
    rss_mib: dict[str, float]


class Run(Struct, frozen=True):
    """Everything the page shows."""

    started: datetime
    command: str
    target: str
    seed: int
    people: int
    devices: int
    directs: int
    groups: int
    seconds: float
    """Of the talking part, as it really lasted."""
    phases: tuple[tuple[str, float], ...]
    verdict: Verdict | None
    """None where the run broke off before it could be judged; then `failure` says why."""
    latencies: tuple[Latency, ...]
    timeline: Timeline
    tallies: tuple[Tally, ...]
    refusals: tuple[tuple[str, int], ...]
    cuts: int
    resumed: int
    """Of the cut sockets: how many came back with their place in the personal stream kept."""
    cost: Cost | None
    machine: Machine
    complaints: tuple[str, ...] = ()
    """What the server logged as errors meanwhile."""
    failure: str = ""
    book: Book | None = None
    """Of the agency's channel; None where there was none."""

    @property
    def good(self) -> bool:
        kept = self.book is None or self.book.clean
        return self.verdict is not None and self.verdict.clean and kept and not self.failure


class Tile(Struct, frozen=True):
    """One big number at the top."""

    value: str
    label: str
    persian: str
    good: bool


def render(run: Run) -> str:
    env = Environment(
        loader=PackageLoader("loadgen.demo", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["ms"] = _ms
    env.filters["n"] = lambda value: f"{value:,}"
    env.filters["digits"] = _persian_digits
    line = run.timeline
    return env.get_template("report.html.j2").render(
        run=run,
        tiles=_tiles(run.verdict),
        quantiles=[f"p{100 * q:g}" for q in QUANTILES],
        latency_chart=_latency_chart(run.latencies),
        messages_chart=charts.over_time(
            [_per_second("sent", "s1", line.sent), _per_second("acknowledged", "s2", line.acked)],
            len(line.sent),
            "Messages per second",
        ),
        deliveries_chart=charts.over_time(
            [
                charts.Line("by push", "s1", _bars(line.delivered), filled=True),
                charts.Line("caught up", "s3", _bars(line.caught_up)),
            ],
            len(line.sent),
            "Deliveries per second",
        ),
        away_chart=charts.over_time(
            [charts.Line("sockets cut", "s4", _bars(line.away), filled=True)],
            len(line.sent),
            "Devices without a socket",
        ),
        sends=sum(line.sent),
        deliveries=sum(line.delivered) + sum(line.caught_up),
        deliver=next((one for one in run.latencies if one.name == "deliver"), None),
    )


def write(run: Run, path: Path) -> None:
    path.write_text(render(run), encoding="utf-8")


def _tiles(verdict: Verdict | None) -> list[Tile]:
    names = (
        (Breach.LOST, "lost", "گم‌شده"),
        (Breach.DUPLICATED, "duplicated", "تکراری"),
        (Breach.REORDERED, "reordered", "جابه‌جا"),
        (Breach.UNREAD, "wrong unread", "شمار نخوانده‌ی نادرست"),
        (Breach.WRONG, "otherwise wrong", "نادرستی دیگر"),
    )
    if verdict is None:
        return [
            Tile("–", f"{label}: not measured", persian, good=False) for _, label, persian in names
        ]
    return [
        Tile(f"{verdict.counts[breach]:,}", label, persian, verdict.counts[breach] == 0)
        for breach, label, persian in names
    ]


def _latency_chart(latencies: tuple[Latency, ...]) -> str:
    styles = {"ack": "s2", "deliver": "s1"}
    return charts.percentiles(
        [
            charts.Line(one.label, styles[one.name], one.curve)
            for one in latencies
            if one.name in styles
        ],
        "Latency by percentile",
    )


def _per_second(label: str, style: str, counts: tuple[int, ...]) -> charts.Line:
    return charts.Line(label, style, _bars(counts), filled=style == "s1")


def _bars(counts: tuple[int, ...]) -> list[tuple[float, float]]:
    """Each second's count at its middle."""
    return [(second + 0.5, float(count)) for second, count in enumerate(counts)]


def _ms(value: float | None) -> str:
    if value is None:
        return "–"
    if value >= 1_000:
        return f"{value / 1_000:,.2f} s"
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def _persian_digits(text: str) -> str:
    return text.translate(str.maketrans("0123456789,", "۰۱۲۳۴۵۶۷۸۹٬"))

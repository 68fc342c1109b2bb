"""The page: verdict first, every figure marked, nothing from the network, both directions."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from loadgen.demo.charts import Line, nice, over_time, percentiles
from loadgen.demo.figures import latency, percentile, timeline
from loadgen.demo.report import render, write
from tests.loadgen.runs import finished
from tests.loadgen.world import World

VOID = {"meta", "link", "br", "hr", "img", "line", "path"}


class Page(HTMLParser):
    """Text in order, tags, and whether they close."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.crossed: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "title"):
            self.words.extend(data.split())

    @property
    def text(self) -> str:
        return " ".join(self.words)


@pytest.fixture(scope="module")
def world() -> World:
    return World(7, people=12, seconds=20.0)


def test_given_a_clean_run_when_rendered_then_the_verdict_comes_before_everything(
    world: World,
) -> None:
    page = Page(render(finished(world)))

    assert not page.crossed
    assert not page.open
    verdict = page.text.index("0 lost, 0 duplicated, 0 reordered, unread exact")
    for later in ("How long people waited", "What went through", "The laws of conservation"):
        assert verdict < page.text.index(later)
    for law in ("stored", "seen", "unread", "members"):
        assert law in page.text


def test_given_a_lossy_run_when_rendered_then_it_is_red_and_shows_the_example() -> None:
    world = World(7, people=12, seconds=20.0)
    rows = max(world.ledger.applied.values(), key=len)
    del rows[1]

    html = render(finished(world))

    assert "1 lost, 0 duplicated" in Page(html).text
    assert 'class="verdict bad"' in html
    assert "never took ev" in html


def test_given_a_broken_run_when_rendered_then_it_says_so_and_claims_nothing(world: World) -> None:
    page = Page(render(finished(world, failure="the platform did not start")))

    assert "Broken off: no verdict" in page.text
    assert "the platform did not start" in page.text
    assert "lost: not measured" in page.text


def test_given_a_page_when_read_then_it_needs_no_network_and_no_script(world: World) -> None:
    html = render(finished(world))
    page = Page(html)

    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "img", "iframe")]
    assert not [a for _, a in page.tags if a.keys() & {"src", "href", "onclick"}]
    assert "@import" not in html
    assert "url(" not in html
    assert len(html.encode()) < 200_000


def test_given_a_page_when_read_then_it_serves_both_themes_directions_and_names_its_source(
    world: World,
) -> None:
    run = finished(world)
    html = render(run)

    assert "prefers-color-scheme: dark" in html
    assert 'lang="fa" dir="rtl"' in html
    assert "margin-left" not in html
    assert html.count("MEASURED") >= 8
    for source in (run.machine.commit, run.machine.cpu, "seed", "peyk demo --seconds 30"):
        assert source in html


def test_given_hostile_text_in_an_example_when_rendered_then_it_stays_text(world: World) -> None:
    run = finished(world)
    assert run.verdict is not None
    run.verdict.rules[0].examples.append("lost: <script>alert(1)</script>")
    run.verdict.rules[0].broken = 1

    html = render(run)

    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_given_a_run_when_written_then_the_file_is_utf8(world: World, tmp_path: Path) -> None:
    write(finished(world), tmp_path / "report.html")

    assert "پایستگی" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_given_few_samples_when_ranked_then_no_tail_is_invented() -> None:
    ordered = [float(n) for n in range(1, 51)]

    assert percentile(ordered, 0.5) == 25.0
    assert percentile(ordered, 0.98) == 49.0
    assert percentile(ordered, 0.99) is None
    assert percentile([], 0.5) is None
    assert latency("x", "x", "", [0.001]).at[0] == pytest.approx(1.0)


def test_given_a_ledger_when_laid_on_the_time_axis_then_every_count_is_there(world: World) -> None:
    run = finished(world)

    line = timeline(world.ledger, [], world.plan.seconds)

    assert sum(line.sent) == len(world.ledger.messages)
    assert sum(line.acked) == len(world.messages())
    assert len(line.sent) == len(line.away) == 20
    assert sum(tally.meant for tally in run.tallies) == len(world.plan.steps)


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (0.7, 0.8), (3, 3), (7, 8), (41, 60), (99, 100), (1234, 1500)]
)
def test_given_a_highest_value_when_scaled_then_the_axis_ends_on_a_round_number(
    highest: float, top: float
) -> None:
    scaled, ticks = nice(highest)

    assert scaled == pytest.approx(top)
    assert scaled >= highest
    assert 2 <= len(ticks) <= 6


def test_given_no_points_when_drawn_then_the_charts_are_empty_and_valid() -> None:
    for svg in (over_time([Line("a", "s1", [])], 10, "t"), percentiles([], "t")):
        assert not Page(svg).crossed
        assert 'class="line' not in svg

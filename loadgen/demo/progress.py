"""What a run looks like while it runs: a live panel on a terminal, plain lines elsewhere."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from loadgen.demo.board import Board
from loadgen.demo.figures import percentile

REFRESH_S = 0.25
LINE_EVERY_S = 5.0
SPARK = " ▁▂▃▄▅▆▇█"
SPARK_SECONDS = 40
NARROW = 100


class Rates:
    """Counts per second, from totals looked at now and then."""

    def __init__(self) -> None:
        self.history: deque[int] = deque(maxlen=SPARK_SECONDS)
        self._total = 0
        self._at = time.monotonic()

    def look(self, total: int) -> None:
        now = time.monotonic()
        if now - self._at >= 1.0:
            self.history.append(round((total - self._total) / (now - self._at)))
            self._total, self._at = total, now

    @property
    def newest(self) -> int:
        return self.history[-1] if self.history else 0


class View:
    """Draws a board."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._sent = Rates()
        self._taken = Rates()
        self._spinner = Spinner("dots", style="cyan")
        self._seconds = SPARK_SECONDS if console.width >= NARROW else SPARK_SECONDS // 4
        self._fancy = console.encoding.lower().startswith("utf")

    def look(self) -> None:
        self._sent.look(self._board.sent)
        self._taken.look(self._board.taken)

    def __rich__(self) -> RenderableType:
        board = self._board
        title = f"[bold]peyk demo[/]  {board.people:,} people · {board.devices:,} devices"
        rows: list[RenderableType] = [self._phases()]
        if board.sent:
            rows += [Text(""), self._counts()]
        edge = box.ROUNDED if self._fancy else box.ASCII
        return Panel(Group(*rows), title=title, title_align="left", box=edge, padding=(1, 2))

    def line(self) -> str:
        """The same in one line, for logs."""
        board = self._board
        parts = [f"{board.phase} {board.done:,}/{board.total:,}" if board.total else board.phase]
        if board.sent:
            parts.append(f"sent {board.sent:,}, acked {board.acked:,}, delivered {board.taken:,}")
            parts.append(
                f"deliver p50 {_wait(board.deliveries, 0.5)} p99 {_wait(board.deliveries, 0.99)}"
            )
        return "  ".join(parts)

    def _phases(self) -> Table:
        board = self._board
        table = Table.grid(padding=(0, 2))
        table.add_column(width=2)
        table.add_column(min_width=24)
        table.add_column(width=22)
        table.add_column(justify="right")
        for name, seconds in board.phases:
            done = Text("✓" if self._fancy else "ok", style="green")
            table.add_row(done, name, "", Text(f"{seconds:.1f} s", style="dim"))
        if board.phase:
            bar: RenderableType = ""
            if board.total:
                bar = ProgressBar(total=board.total, completed=board.done, width=22)
            share = f"{board.done:,}/{board.total:,}" if board.total else f"{board.elapsed:.0f} s"
            table.add_row(self._spinner, Text(board.phase, style="bold"), bar, share)
        return table

    def _counts(self) -> Table:
        board = self._board
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=True, header_style="dim")
        table.add_column("", no_wrap=True, min_width=20)
        for name in ("so far", "per s", "p50", "p99"):
            table.add_column(name, justify="right", no_wrap=True, min_width=7)
        table.add_column(f"last {self._seconds} s", style="cyan", no_wrap=True)
        table.add_row(
            "messages sent", f"{board.sent:,}", f"{self._sent.newest:,}", "", "",
            self._spark(self._sent),
        )  # fmt: skip
        table.add_row(
            "acknowledged", f"{board.acked:,}", "",
            _wait(board.acks, 0.5), _wait(board.acks, 0.99), "",
        )  # fmt: skip
        table.add_row(
            "taken in by devices", f"{board.taken:,}", f"{self._taken.newest:,}",
            _wait(board.deliveries, 0.5), _wait(board.deliveries, 0.99), self._spark(self._taken),
        )  # fmt: skip
        table.add_row("sockets cut, resumed", f"{board.cut:,}, {board.answered['cut']:,}")
        if refused := board.refusals.total():
            table.add_row(Text("refused", style="yellow"), f"{refused:,}")
        return table

    def _spark(self, rates: Rates) -> str:
        if not self._fancy:
            return ""
        newest = list(rates.history)[-self._seconds :]
        top = max(newest, default=0) or 1
        return "".join(SPARK[round(8 * value / top)] for value in newest)


@asynccontextmanager
async def shown(board: Board, console: Console) -> AsyncIterator[View]:
    """Keep a view of the board on the console until the block ends."""
    view = View(board, console)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        show = _live if console.is_terminal and not console.is_dumb_terminal else _lines
        tasks.create_task(show(view, board, console, stop), name="progress")
        try:
            yield view
        finally:
            stop.set()


async def _live(view: View, board: Board, console: Console, stop: asyncio.Event) -> None:
    with Live(view, console=console, auto_refresh=False, transient=False) as live:
        while not stop.is_set():
            view.look()
            live.refresh()
            await _pause(stop, REFRESH_S)
        board.end()
        live.refresh()


async def _lines(view: View, board: Board, console: Console, stop: asyncio.Event) -> None:
    printed, said, last = 0, "", 0.0

    def finished(printed: int) -> int:
        for name, seconds in board.phases[printed:]:
            console.print(f"done: {name} ({seconds:.1f} s)", highlight=False)
        return len(board.phases)

    while not stop.is_set():
        view.look()
        printed = finished(printed)
        now = time.monotonic()
        if board.phase and (board.phase != said or now - last >= LINE_EVERY_S):
            console.print(view.line(), highlight=False, soft_wrap=True)
            said, last = board.phase, now
        await _pause(stop, REFRESH_S)
    board.end()
    finished(printed)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def _wait(waits: deque[float], q: float) -> str:
    value = percentile(sorted(waits), q)
    return "–" if value is None else f"{1_000 * value:.0f} ms"

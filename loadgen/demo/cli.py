"""`peyk demo`: 200 virtual people use a real platform, then their books are compared with its own.

Exit codes: 0 nothing was lost, doubled, swapped or miscounted; 1 something was; 2 broken off.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from loadgen.demo.report import Run, write
from loadgen.demo.run import Demo, Options

SEED = 7


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    url = given.url.rstrip("/")
    readers = 0 if url else given.readers  # another platform's readers would need its database
    options = Options(given.seconds, given.people, given.seed, readers, url, given.home)
    # NO_COLOR and dumb terminals are rich's business; a pipe of CI gets plain lines
    console = Console(soft_wrap=not sys.stdout.isatty())
    try:
        demo = Demo(options, console)
    except ValueError as error:
        parser.error(str(error))
    try:
        run = uvloop.run(demo.run())
    except KeyboardInterrupt:
        console.print("stopped; no report")
        return 2
    write(run, given.report)
    _say(run, given.report, console)
    return _exit_code(run)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="peyk demo",
        description="Virtual people over real sockets, and the proof that nothing was lost.",
    )
    add = parser.add_argument
    add("--seconds", type=float, default=40.0, help="how long they talk (default 40)")
    add("--people", type=int, default=200, help="how many there are (default 200)")
    add("--seed", type=int, default=SEED, help=f"the same seed, the same people (default {SEED})")
    add("--readers", type=int, default=2_000, help="of an agency's channel (default 2,000)")
    add("--report", type=Path, default=Path("report.html"), help="the page to write")
    add("--url", default="", help="use the platform there, such as http://127.0.0.1:8000")
    add(
        "--home",
        type=Path,
        default=Path(".peyk"),
        help="with --url: that platform's home, where one-time codes are written",
    )
    return parser


def _say(run: Run, report: Path, console: Console) -> None:
    if run.failure:
        console.print(f"[bold red]broken off[/]: {run.failure}", highlight=False)
    if run.verdict is not None:
        colour = "green" if run.verdict.clean else "red"
        console.print(f"[bold {colour}]{run.verdict.line}[/]", highlight=False)
        console.print(f"{run.verdict.compared:,} comparisons", highlight=False)
        for rule in run.verdict.rules:
            for example in rule.examples:
                console.print(f"  {rule.name}: {example}", highlight=False, markup=False)
    if run.book is not None:
        colour = "green" if run.book.clean else "red"
        console.print(f"[bold {colour}]{run.book.line}[/]", highlight=False)
    if run.complaints:
        console.print(f"[yellow]the server logged {len(run.complaints)} errors[/]; the first:")
        console.print(f"  {run.complaints[0]}", highlight=False, markup=False)
    console.print(f"report: {os.path.relpath(report)}", highlight=False)


def _exit_code(run: Run) -> int:
    if run.verdict is not None and not run.verdict.clean:
        return 1
    if run.book is not None and not run.book.clean:
        return 1
    return 0 if run.good else 2

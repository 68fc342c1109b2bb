"""One demo from the first process to the verdict."""

import asyncio
import logging
import shlex
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct
from rich.console import Console

from loadgen.bench.procstat import CLASSES, Processes, Usage, between
from loadgen.demo import agency
from loadgen.demo.agency import Book, config, new_key
from loadgen.demo.board import Board
from loadgen.demo.conservation import Verdict, check
from loadgen.demo.crowd import Codes, Crowd, CrowdError
from loadgen.demo.device import StrandedError
from loadgen.demo.figures import latencies, tallies, timeline
from loadgen.demo.plan import Plan, plan_demo
from loadgen.demo.population import SMALL_CHAT, Population, populate
from loadgen.demo.progress import shown
from loadgen.demo.reading import Reader
from loadgen.demo.report import Cost, Run
from loadgen.machine import this_machine
from loadgen.platform import Platform, PlatformError
from messenger.client.errors import RpcError
from messenger.client.http import HttpError

log = logging.getLogger(__name__)

EXPECTED = (CrowdError, StrandedError, PlatformError, RpcError, HttpError, OSError, TimeoutError)
"""What may go wrong in a run without being a bug of the demo."""
QUIESCENCE_S = 2.0
"""Unread is exact within this time after the last action (protocol B9, 5): cursors are batched."""
CLOSING_S = 60.0
OVERHEAD_S = 240.0
"""Sign-up, chats, coming to rest and reading, at most; the whole run is bounded by it."""


class Options(Struct, frozen=True):
    """The command line."""

    seconds: float
    people: int
    seed: int
    readers: int
    """Of an agency's channel; 0: there is none."""
    url: str
    """Empty: a platform of our own."""
    home: Path
    """Of the platform at `url`: where its codes are."""


class Demo:
    """Holds what a run has so far, so that a broken run still has a report."""

    def __init__(self, options: Options, console: Console) -> None:
        self._options = options
        self._console = console
        salt = int(time.time()) if options.url else 0  # another platform knows earlier phones
        self.population: Population = populate(options.seed, options.people, salt)
        self.plan: Plan = plan_demo(self.population, options.seconds)
        self.board = Board(options.people, len(self.population.owners), options.seconds)
        self.started = datetime.now(UTC)
        self.target = options.url
        self.crowd: Crowd | None = None
        self.verdict: Verdict | None = None
        self.failure = ""
        self.complaints: list[str] = []
        self._cost: Cost | None = None
        self._book: Book | None = None
        self._talked_s = options.seconds

    async def run(self) -> Run:
        """Never raises for what the platform does; the report says what happened."""
        try:
            async with (
                shown(self.board, self._console),
                asyncio.timeout(self._options.seconds + OVERHEAD_S),
            ):
                await self._all()
        except* EXPECTED as group:
            first = _first(group)
            self.failure = f"{type(first).__name__}: {first}".rstrip(": ")
        self.board.end()
        return self._report()

    async def _all(self) -> None:
        async with AsyncExitStack() as stack:
            home, processes = self._options.home, None
            platform, key = None, new_key()
            if not self._options.url:
                self.board.begin("the platform starts")
                small = f"small_chat = {SMALL_CHAT}\n"
                platform = await stack.enter_async_context(Platform(config=small + config(key)))
                stack.callback(lambda: self.complaints.extend(platform.complaints()))
                self.target, home = platform.url, platform.home
                processes = Processes(platform.pid)
            crowd = Crowd(self.population, self.target, Codes(home / "codes.jsonl"), self.board)
            self.crowd = crowd
            stack.push_async_callback(_close, crowd)
            await crowd.sign_up()
            await crowd.meet()
            before = processes.read() if processes is not None else None
            await crowd.talk(self.plan)
            self._talked_s = crowd.clock.now()
            if processes is not None and before is not None:
                self._cost = _cost(processes, before)
            if platform is not None and self._options.readers:
                seed, readers = self._options.seed, self._options.readers
                self._book = await agency.run(platform, key, readers, seed, self.board)
            await self._judge(crowd)

    async def _judge(self, crowd: Crowd) -> None:
        reader = Reader(crowd)
        self.board.begin("everything comes to rest")
        await crowd.look_at_all()
        await asyncio.sleep(QUIESCENCE_S)
        heads = await reader.heads()
        await crowd.rest(
            {
                account: {chat: at.ev for chat, at in known.items()}
                for account, known in heads.items()
            }
        )
        self.board.begin("the books are compared", len(self.population.places))
        truth = await reader.truth()
        self.verdict = await asyncio.to_thread(check, crowd.ledger, truth)
        self.board.begin("the platform stops")

    def _report(self) -> Run:
        crowd = self.crowd or Crowd(self.population, "", Codes(Path()), self.board)
        options = self._options
        command = ["peyk", "demo", "--seconds", f"{options.seconds:g}"]
        command += ["--people", str(options.people), "--seed", str(options.seed)]
        command += ["--readers", str(options.readers)]
        return Run(
            started=self.started,
            command=shlex.join(command + (["--url", options.url] if options.url else [])),
            target=self.target or "none",
            seed=options.seed,
            people=options.people,
            devices=len(self.population.owners),
            directs=len(self.population.directs),
            groups=len(self.population.places) - len(self.population.directs),
            seconds=self._talked_s,
            phases=tuple(self.board.phases),
            verdict=self.verdict,
            book=self._book,
            latencies=tuple(latencies(crowd.ledger, crowd.absences, crowd.sign_ups)),
            timeline=timeline(crowd.ledger, crowd.absences, self._talked_s),
            tallies=tuple(tallies(crowd.ledger, self.plan, self.board.asked, self.board.answered)),
            refusals=tuple(self.board.refusals.most_common()),
            cuts=self.board.cut,
            resumed=self.board.resumed,
            cost=self._cost,
            machine=this_machine(),
            complaints=tuple(self.complaints),
            failure=self.failure,
        )


def _cost(processes: Processes, before: Usage) -> Cost:
    spent = between(before, processes.read())
    rss = processes.rss()
    return Cost(
        {kind: spent.cpu_s[kind] for kind in CLASSES},
        {kind: rss[kind] / 2**20 for kind in CLASSES},
    )


async def _close(crowd: Crowd) -> None:
    """Sockets that do not close in time are the platform's to end."""
    try:
        async with asyncio.timeout(CLOSING_S):
            await crowd.leave()
    except* EXPECTED as group:
        log.warning("devices did not close", extra={"first": str(_first(group))})


def _first(error: BaseException) -> BaseException:
    """The innermost first error of a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

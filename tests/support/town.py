"""Many devices at several nodes that talk without pause while something breaks, and the books.

People, devices, ledger and the laws of conservation are those of `peyk demo`; what differs is the
clock: a fault comes after so many acks, never after so many seconds.
"""

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from loadgen.demo.board import Board
from loadgen.demo.conservation import Verdict, check
from loadgen.demo.crowd import Codes, Crowd, gather
from loadgen.demo.device import Device
from loadgen.demo.ledger import Message, Outcome
from loadgen.demo.plan import Act, Step, tagged
from loadgen.demo.population import populate
from loadgen.demo.reading import Reader
from messenger.client.waiting import Disconnected
from messenger.client.websocket import Client
from tests.support.people import PATIENCE_S, until
from tests.support.platform import Door

OPEN_MOST = 3
"""Unanswered messages of one device; beyond it the person waits, as people do."""
READS = 0.2
"""Of a person's acts; the others are messages."""
SILENCE_S = 2.0
"""How late a ping may be for these devices, so that a node that hangs is noticed soon."""
CONVERGE_S = 40.0

log = logging.getLogger(__name__)


class Roamer(Device):
    """A device that may be sent to another node, as DNS or a load balancer does it."""

    async def connect(self, url: str, token: str) -> None:
        self._client = await Client.connect(
            url,
            token,
            binary=self.index % 2 == 1,
            patience_s=SILENCE_S,
            on_update=self._updated,
            on_event=self._happened,
        )


class TownCrowd(Crowd):
    """Devices are dealt out over all doors; questions go to the first."""

    doors: Sequence[Door] = ()

    def __init__(self, seed: int, people: int, doors: Sequence[Door]) -> None:
        population = populate(seed, people)
        board = Board(people, len(population.owners), 0)
        super().__init__(population, doors[0].url, Codes(doors[0].home / "codes.jsonl"), board)
        self.doors = doors

    async def _connect(self, index: int) -> None:
        owner = self.population.owners[index]
        device = Roamer(index, self.accounts[owner], self.ledger, self.clock, self.board)
        self.devices[index] = device
        await device.connect(self.doors[index % len(self.doors)].ws_url, self.tokens[index])
        places = self.population.places
        expected = {self.chats[place.index] for place in places if owner in place.members}
        await device.client.wait_until(
            lambda: device.client.ready and expected <= device.client.state.chats.keys()
        )

    async def settles(self) -> None:
        """Returns when every answer is there that will ever come."""
        await self._until_settled()


class Figures(Struct):
    """What a fault was felt as; seconds."""

    sent: int
    refused: int
    repeated: int
    """Answered as known already: the first answer was lost."""
    longest_stall_s: float
    """Between two acks, whoever got them."""
    latest_s: float
    """From an ack to the last device that took the message in."""
    converged_s: float
    """From the last word until the books are right."""

    @property
    def line(self) -> str:
        return (
            f"{self.sent} sent, {self.refused} refused, {self.repeated} repeated; "
            f"longest stall {self.longest_stall_s:.2f} s, latest delivery {self.latest_s:.2f} s, "
            f"converged {self.converged_s:.2f} s after the last word"
        )


class Town:
    """A crowd that can be made to talk."""

    def __init__(self, crowd: TownCrowd, pace_s: float) -> None:
        self.crowd = crowd
        self.figures: Figures | None = None
        self._pace_s = pace_s
        self._events = itertools.count(1)
        self._over = False
        self._first_event = 1
        self._sessions: dict[int, object] = {}

    @property
    def devices(self) -> list[Device]:
        return list(self.crowd.devices.values())

    def at(self, door: Door) -> list[Device]:
        return [device for device in self.devices if device.client.url == door.ws_url]

    def moves(self, away_from: Door, to: Sequence[Door]) -> list[Device]:
        """Where the devices of a node go when they lose it; which these are."""
        moving = self.at(away_from)
        for device, door in zip(moving, itertools.cycle(to), strict=False):
            device.client.url = door.ws_url
            self._sessions[device.index] = device.client.session
        return moving

    def has_moved(self, device: Device) -> bool:
        """It has another session than the one it had when it was to move."""
        return device.client.connected and (
            device.client.session is not self._sessions[device.index]
        )

    async def acks(self, more: int, patience_s: float = 30.0) -> None:
        """The clock: wait until so many more messages are acked."""
        wanted = self.crowd.board.acked + more

        async def enough() -> bool:
            return self.crowd.board.acked >= wanted

        await until(enough, patience_s)

    @asynccontextmanager
    async def talking(self, places: Sequence[int] | None = None) -> AsyncIterator[None]:
        """Everybody writes and reads until the block ends; in `places` alone where given."""
        self._over = False
        self._first_event = next(self._events)
        self.crowd.board.refusals.clear()
        async with asyncio.TaskGroup() as tasks:
            for device in self.devices:
                tasks.create_task(self._talks(device, places), name=f"device {device.index}")
            try:
                yield
            finally:
                self._over = True

    async def books_are_right(self) -> Figures:
        """0 lost, 0 duplicated, 0 reordered, unread exact; what the fault was felt as."""
        began = self.crowd.clock.now()
        await self.crowd.settles()
        verdict = await self._verdict(began)
        examples = [example for rule in verdict.rules for example in rule.examples]
        assert verdict.clean, f"{verdict.line}: {examples}"
        unanswered = [m for m in self._messages() if m.outcome is Outcome.OPEN]
        assert not unanswered, f"{len(unanswered)} messages were never answered"
        self.figures = self._felt(began)
        log.info("%s (%d comparisons)", self.figures.line, verdict.compared)
        return self.figures

    async def _verdict(self, began: float) -> Verdict:
        """What heals is waited for; what was taken twice or out of order stays in the ledger."""
        reader = Reader(self.crowd)
        while True:
            heads = await reader.heads()
            await self.crowd.rest(
                {
                    account: {chat: head.ev for chat, head in known.items()}
                    for account, known in heads.items()
                }
            )
            verdict = check(self.crowd.ledger, await reader.truth())
            if verdict.clean or self.crowd.clock.now() - began > CONVERGE_S:
                return verdict

    async def _talks(self, device: Device, places: Sequence[int] | None) -> None:
        owner = self.crowd.population.owners[device.index]
        mine = [
            place.index
            for place in self.crowd.population.places
            if owner in place.members and (places is None or place.index in places)
        ]
        draw = random.Random(f"{device.index}/{self._first_event}")  # noqa: S311 - demand
        while mine and not self._over:
            place = draw.choice(mine)
            chat = self.crowd.chats[place]
            if draw.random() < READS:
                await device.read(chat)
            else:
                await self._sends(device, place, chat)
            await asyncio.sleep(draw.uniform(0, 2 * self._pace_s))  # a pace, not a wait

    async def _sends(self, device: Device, place: int, chat: str) -> None:
        event = next(self._events)
        text = tagged("سلام", event)
        step = Step(self.crowd.clock.now(), event, device.index, Act.SEND, place, text=text)
        await device.send(step, chat, None)
        core = device.client.core
        assert core is not None
        while len(core.unsent) >= OPEN_MOST and not self._over:
            try:
                await device.client.wait_until(lambda: len(core.unsent) < OPEN_MOST, PATIENCE_S)
            except (Disconnected, TimeoutError):
                continue  # it is repeated by the client, whatever happens to sockets

    def _messages(self) -> list[Message]:
        return [m for m in self.crowd.ledger.messages.values() if m.event > self._first_event]

    def _felt(self, began: float) -> Figures:
        mine = self._messages()
        times = sorted(m.acked_s for m in mine if m.outcome is Outcome.ACKED)
        acked_at = {m.event: m.acked_s for m in mine}
        lags = [
            row.at_s - acked_at[row.event]
            for rows in self.crowd.ledger.applied.values()
            for row in rows
            if row.event in acked_at
        ]
        return Figures(
            sent=len(mine),
            refused=sum(self.crowd.board.refusals.values()),
            repeated=sum(m.dup for m in mine),
            longest_stall_s=max((b - a for a, b in itertools.pairwise(times)), default=0.0),
            latest_s=max(lags, default=0.0),
            converged_s=self.crowd.clock.now() - began,
        )


@asynccontextmanager
async def a_town(
    seed: int, people: int, doors: Sequence[Door], pace_s: float
) -> AsyncIterator[Town]:
    """People with devices at every door who know each other; they leave with the block."""
    crowd = TownCrowd(seed, people, doors)
    try:
        await crowd.sign_up()
        await crowd.meet()
        yield Town(crowd, pace_s)
    finally:
        await gather(crowd.devices.values(), Device.close, at_once=100)

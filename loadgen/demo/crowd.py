"""The people of one run: they sign up, meet, talk as planned, and come to rest."""

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from loadgen.demo.board import Board
from loadgen.demo.device import Clock, Device
from loadgen.demo.figures import Absence
from loadgen.demo.ledger import Ledger, Outcome
from loadgen.demo.plan import Act, Plan, Step
from loadgen.demo.population import Person, Place, Population
from messenger.client.errors import Json
from messenger.client.http import call

AT_ONCE = 12
CODE_TIMEOUT_S = 10.0
SETTLE_S = 30.0
REST_S = 15.0
T = TypeVar("T")


class CrowdError(Exception):
    """The run cannot go on; the text says in one line at which step and why."""


class Codes:
    """The file the platform's `file` sender writes one-time codes to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._codes: dict[str, str] = {}

    async def wait(self, phone: str) -> str:
        """The newest code of a phone, once."""
        async with asyncio.timeout(CODE_TIMEOUT_S):
            while phone not in self._codes:
                self._catch_up()
                if phone not in self._codes:
                    await asyncio.sleep(0.01)
        return self._codes.pop(phone)

    def _catch_up(self) -> None:
        try:
            with self._path.open("rb") as file:
                file.seek(self._read)
                fresh = file.read()
        except FileNotFoundError:
            return
        whole = fresh.rfind(b"\n") + 1
        self._read += whole
        for line in fresh[:whole].splitlines():
            message = json.loads(line)
            self._codes[message["phone"]] = message["code"]


class Crowd:
    """Everyone of a population with their devices, chats and the ledger they keep."""

    def __init__(self, population: Population, url: str, codes: Codes, board: Board) -> None:
        self.population = population
        self.url = url
        self.ledger = Ledger()
        self.clock = Clock()
        self.board = board
        self.absences: list[Absence] = []
        self.sign_ups: list[float] = []
        self.accounts: dict[int, str] = {}
        """Person -> account."""
        self.tokens: dict[int, str] = {}
        """Device -> access token."""
        self.devices: dict[int, Device] = {}
        self.chats: dict[int, str] = {}
        """Place -> chat."""
        self._codes = codes

    async def sign_up(self) -> None:
        """Everybody proves their phone number, once per device."""
        self.board.begin("people sign up", len(self.population.owners))
        await gather(self.population.people, self._sign_up)

    async def meet(self) -> None:
        """The chats are made and every device connects and knows them all."""
        self.board.begin("chats are made", len(self.population.places))
        await gather(self.population.places, self._make_chat)
        self.board.begin("devices connect", len(self.population.owners))
        await gather(range(len(self.population.owners)), self._connect)
        for device in self.devices.values():
            device.watch()

    async def talk(self, plan: Plan) -> None:
        """Fire every step at its time; returns when all are answered or given up."""
        self.board.begin("people talk", len(plan.steps))
        self.clock.start()
        async with asyncio.TaskGroup() as tasks:
            for step in plan.steps:
                if (wait_s := step.at_s - self.clock.now()) > 0:
                    await asyncio.sleep(wait_s)
                tasks.create_task(self._play(step), name=f"step {step.event}")
                self.board.done += 1
        self.board.begin("the last answers come")
        await self._until_settled()

    async def look_at_all(self) -> None:
        """Bring the large chat on every screen: what was only marked as changed is fetched."""
        square = self.population.square
        if square is None:
            return
        members = [
            self.devices[d] for m in square.members for d in self.population.people[m].devices
        ]
        chat = self.chats[square.index]

        async def look(device: Device) -> None:
            await device.look(chat)

        await gather(members, look)

    async def rest(self, heads: dict[str, dict[str, int]]) -> None:
        """Wait until every device is at the heads; what is missing after that is lost."""

        async def wait(device: Device) -> None:
            at = heads[device.account]
            try:
                await device.client.wait_until(lambda: device.caught_up(at), REST_S)
            except TimeoutError:
                return  # the ledger will say what is missing

        await gather(self.devices.values(), wait, at_once=len(self.devices))

    async def leave(self) -> None:
        await gather(self.devices.values(), Device.close, at_once=len(self.devices))

    async def _sign_up(self, person: Person) -> None:
        for index in person.devices:
            began = time.monotonic()
            ticket = await self._http("accounts.request_code", {"phone": person.phone})
            code = await self._codes.wait(person.phone)
            request = {
                "ticket": ticket["ticket"],
                "code": code,
                "device": {"name": f"demo {index}", "platform": "loadgen", "app": "1.0"},
                "name": person.name,
            }
            signed_in = await self._http("accounts.sign_in", request)
            self.sign_ups.append(time.monotonic() - began)
            self.accounts[person.index] = signed_in["account"]
            self.tokens[index] = signed_in["token"]
            self.board.done += 1

    async def _make_chat(self, place: Place) -> None:
        owner = place.members[0]
        token = self.tokens[self.population.people[owner].devices[0]]
        others = [self.accounts[member] for member in place.members[1:]]
        if place.title:
            rid = str(random.Random(f"{self.population.seed}/{place.index}").getrandbits(62) + 1)
            request: Json = {"kind": "group", "title": place.title, "members": others}
            made = await self._http("chats.create", {**request, "random_id": rid}, token)
            if made.get("skipped"):
                raise CrowdError(f"chats.create left out {made['skipped']}")
        else:
            made = await self._http("chats.open_direct", {"account": others[0]}, token)
        chat = made["chat"]
        self.chats[place.index] = chat if isinstance(chat, str) else chat["id"]
        self.board.done += 1

    async def _connect(self, index: int) -> None:
        owner = self.population.owners[index]
        device = Device(index, self.accounts[owner], self.ledger, self.clock, self.board)
        self.devices[index] = device
        websocket = self.url.replace("http", "ws", 1) + "/connection/websocket"
        await device.connect(websocket, self.tokens[index])
        expected = {
            self.chats[place.index] for place in self.population.places if owner in place.members
        }
        client = device.client
        try:
            await client.wait_until(lambda: client.ready and expected <= client.state.chats.keys())
        except TimeoutError:
            missing = len(expected - client.state.chats.keys())
            raise CrowdError(f"device {index} does not know {missing} of its chats") from None
        self.board.done += 1

    async def _play(self, step: Step) -> None:
        device = self.devices[step.device]
        chat = self.chats[step.place] if step.place >= 0 else ""
        if step.act is Act.SEND:
            await device.send(step, chat, self._seq_of(step.of))
        elif step.act in (Act.EDIT, Act.DELETE):
            await device.change(step, chat)
        elif step.act is Act.READ:
            await device.read(chat)
        elif step.act is Act.TYPING:
            await device.type(chat)
        elif step.act in (Act.OPEN, Act.SHUT):
            self.board.asked[step.act] += 1
            look = device.look if step.act is Act.OPEN else device.look_away
            self.board.answered[step.act] += await look(chat)
        elif device.online:
            await self._lose(device, step)

    async def _lose(self, device: Device, step: Step) -> None:
        self.board.asked["cut"] += 1
        self.board.cut += 1
        cut_s, back_s = await device.lose_socket(step.away_s)
        self.absences.append(Absence(device.index, cut_s, back_s))
        self.board.answered["cut"] += 1

    def _seq_of(self, event: int) -> int | None:
        """A reply needs the number of its message; before the ack nobody could have seen it."""
        meant = self.ledger.messages.get(event)
        if meant is None or meant.outcome is not Outcome.ACKED:
            return None
        gone = any(c.of == event and not c.text for c in self.ledger.changes.values())
        return None if gone else meant.seq

    async def _until_settled(self) -> None:
        async def settle(device: Device) -> None:
            client = device.client
            core = client.core
            if core is not None:
                with contextlib.suppress(TimeoutError):  # it stays open in the ledger
                    await client.wait_until(lambda: not core.unsent and client.ready, SETTLE_S)

        await gather(self.devices.values(), settle, at_once=len(self.devices))

    async def _http(self, method: str, data: Json, token: str | None = None) -> Json:
        try:
            return await call(self.url, method, data, token)
        except (OSError, TimeoutError) as error:
            raise CrowdError(f"{method}: {type(error).__name__} {error}".rstrip()) from error


async def gather(
    items: Iterable[T], work: Callable[[T], Awaitable[None]], *, at_once: int = AT_ONCE
) -> None:
    """`work` for every item, `at_once` at a time; the first error ends all."""
    waiting: Sequence[T] = list(items)
    places = asyncio.Semaphore(max(1, at_once))

    async def one(item: T) -> None:
        async with places:
            await work(item)

    async with asyncio.TaskGroup() as tasks:
        for item in waiting:
            tasks.create_task(one(item))

"""Persons with several devices: real clients that keep what they heard and what they applied."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from messenger.client import link
from messenger.client.errors import Json
from messenger.client.websocket import Client
from tests.support.platform import Door, SignedIn

PATIENCE_S = 10.0
POLL_S = 0.02


class Device:
    """A signed-in device; `client` is there once it came on line."""

    def __init__(self, signed_in: SignedIn, *, binary: bool) -> None:
        self.signed_in = signed_in
        self.binary = binary
        self.heard: list[tuple[str, Json]] = []
        """(topic, update) of every publication, as it came."""
        self.applied: list[Json] = []
        """Updates in the order in which the model took them in."""
        self.away = False
        self.recovered: list[bool] = []
        """What became of each recovery that was asked for."""
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        assert self._client is not None
        return self._client

    @property
    def account(self) -> str:
        return self.signed_in.account

    async def comes(self, door: Door) -> None:
        """Connect for the first time, knowing nothing; returns once it knows all."""
        self._client = Client(
            door.ws_url,
            self.signed_in.token,
            binary=self.binary,
            on_update=self.applied.append,
            on_event=self._note,
        )
        await self._client.start()
        await self._client.wait_until(lambda: self.client.ready)

    def goes(self) -> None:
        """Lose the connection, without a word."""
        self.away = True
        self.client.cut()

    async def returns(self, door: Door) -> None:
        """Come back, perhaps to another node."""
        self.client.url = door.ws_url
        await self.client.resume()
        self.away = False

    def applied_in_order(self) -> None:
        """Every fact once and in the order of its line, over all reconnects."""
        last: dict[str, int] = {}
        for update in self.applied:
            if "aev" in update:
                line, number = "account", update["aev"]
            elif "ev" in update and update["t"] != "chat.dirty":
                line, number = update["chat"], update["ev"]
            else:
                continue
            if number <= last.get(line, 0):
                raise AssertionError(f"{line}: {number} after {last[line]}: {update}")
            last[line] = number

    def replaces(self, other: "Device") -> None:
        """Go on with the client of `other`."""
        self._client = other._client

    async def closes(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _note(self, event: link.Event) -> None:
        if isinstance(event, link.Published):
            self.heard.append((event.topic, msgspec.json.decode(event.publication.data)))
        elif isinstance(event, link.Subscribed) and event.result.was_recovering:
            self.recovered.append(event.result.recovered)


class Person:
    """An account and its devices."""

    def __init__(self, name: str, devices: Sequence[Device]) -> None:
        self.name = name
        self.devices = devices

    @property
    def account(self) -> str:
        return self.devices[0].account

    async def closes(self) -> None:
        for device in self.devices:
            await device.closes()


async def a_person(name: str, doors: Sequence[Door]) -> Person:
    """A new account with a device on each door: the first speaks JSON, the others Protobuf."""
    first = await doors[0].signs_up(name)
    more = [await door.signs_up(name, phone=first.phone) for door in doors[1:]]
    devices = [Device(one, binary=number > 0) for number, one in enumerate([first, *more])]
    for device, door in zip(devices, doors, strict=True):
        await device.comes(door)
    return Person(name, devices)


@asynccontextmanager
async def people(names: Sequence[str], doors: Sequence[Door]) -> AsyncIterator[list[Person]]:
    """Persons who leave at the end of the block."""
    async with AsyncExitStack() as stack:
        found = [await a_person(name, doors) for name in names]
        for person in found:
            stack.push_async_callback(person.closes)
        yield found


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = PATIENCE_S) -> None:
    """Wait for what no event of ours tells: another process, a row of a table."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - nobody here could set an event
            await asyncio.sleep(POLL_S)


async def becomes(
    read: Callable[[], Awaitable[object]], wanted: object, seconds: float = PATIENCE_S
) -> None:
    """Wait until `read` gives what is wanted; if it never does, show what it gives."""

    found = await read()

    async def is_wanted() -> bool:
        nonlocal found
        found = await read()
        return found == wanted

    try:
        await until(is_wanted, seconds)
    except TimeoutError:
        raise AssertionError(f"{found} does not become {wanted}") from None

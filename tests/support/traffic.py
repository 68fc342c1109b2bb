"""People who write without pause while something breaks, and the reckoning afterwards."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from messenger.client.outbox import Sending
from tests.support.people import Device, Person, becomes
from tests.support.rows import Rows

PACE_S = 0.02
PATIENCE_S = 15.0


class Traffic:
    """Every intention to send, and what became of it."""

    def __init__(self, persons: Sequence[Person], chat: str) -> None:
        self.persons = persons
        self.chat = chat
        self.sendings: list[Sending] = []
        self.senders: dict[str, str] = {}
        """random_id -> account."""
        self.acked = 0
        self._over = False
        self._progress = asyncio.Condition()

    @property
    def devices(self) -> list[Device]:
        return [device for person in self.persons for device in person.devices]

    async def acks(self, more: int) -> None:
        """Wait until so many more sends are acked."""
        wanted = self.acked + more
        async with asyncio.timeout(PATIENCE_S), self._progress:
            await self._progress.wait_for(lambda: self.acked >= wanted)

    async def sends(self, device: Device, text: str) -> Sending:
        """One intention, which counts from here on."""
        sending = await device.client.send(self.chat, text)
        self.sendings.append(sending)
        self.senders[sending.random_id] = device.account
        return sending

    async def writes(self, device: Device) -> None:
        """One message after the other, three in flight; ends with the traffic."""
        mine: list[Sending] = []
        while not self._over:
            text = f"{device.signed_in.device} {len(mine)}"
            mine.append(await self.sends(device, text))
            await device.client.wait_until(
                lambda: len(mine) < 3 or mine[-3].result is not None, PATIENCE_S
            )
            async with self._progress:
                self.acked = sum(1 for one in self.sendings if one.result is not None)
                self._progress.notify_all()
            await asyncio.sleep(PACE_S)  # a pace, not a wait

    def ends(self) -> None:
        self._over = True


@asynccontextmanager
async def traffic(persons: Sequence[Person]) -> AsyncIterator[Traffic]:
    """A group of all in which the first device of each writes, until the block ends."""
    owner, *others = persons
    members = [person.account for person in others]
    request = {"kind": "group", "title": "busy", "members": members, "random_id": "3"}
    answer = await owner.devices[0].client.rpc("chats.create", request)
    busy = Traffic(persons, answer["chat"]["id"])
    for device in busy.devices:
        await device.client.wait_until(lambda device=device: busy.chat in device.client.state.chats)
    async with asyncio.TaskGroup() as tasks:
        for person in persons:
            tasks.create_task(busy.writes(person.devices[0]), name=person.name)
        try:
            yield busy
        finally:
            busy.ends()


async def reckoned(busy: Traffic, rows: Rows) -> None:
    """Every intention is stored once, where its answer says; every device knows all of it."""
    for device in busy.devices:
        await device.client.wait_until(
            lambda device=device: device.client.ready and not device.client.core.unsent,
            PATIENCE_S,
        )
    said = {one.result["seq"]: one.request["text"] for one in busy.sendings if one.result}
    assert [one.error for one in busy.sendings if one.error] == []
    assert len(said) == len(busy.sendings), "two intentions became one message"
    assert await rows.texts(busy.chat) == said, "acked = stored, once"
    last_seq, last_ev = await rows.head(busy.chat)
    assert sorted(said) == list(range(1, last_seq + 1))
    assert await rows.evs(busy.chat) == list(range(1, last_ev + 1))
    newest: dict[str, int] = {}
    for one in busy.sendings:
        account = busy.senders[one.random_id]
        newest[account] = max(newest.get(account, 0), one.result["seq"] if one.result else 0)
    await becomes(partial(rows.cursors, busy.chat), newest, PATIENCE_S)
    for device in busy.devices:
        await becomes(partial(_shown, device, busy.chat), (last_ev, last_seq), PATIENCE_S)
        chat = device.client.state.chats[busy.chat]
        unread = await rows.unread(busy.chat, device.account)
        await becomes(partial(_unread, device, busy.chat), unread)
        assert {seq: one["text"] for seq, one in chat.messages.items()}.items() <= said.items()
        assert max(chat.messages) == last_seq
        device.applied_in_order()


async def _shown(device: Device, chat: str) -> tuple[int, int]:
    known = device.client.state.chats[chat]
    return known.ev, known.last_seq


async def _unread(device: Device, chat: str) -> int:
    return device.client.state.chats[chat].unread

"""A random history: persons act at once, each one thing after the other, while sockets break.

All choices come from the seed. Sends go through the clients' outboxes, everything else is
repeated until it is answered; what the answers say goes into the plain model beside.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from messenger.client.errors import Json, RpcError
from messenger.client.outbox import Sending
from messenger.client.waiting import Disconnected
from messenger.wire.codes import ErrorCode
from tests.properties.truth import ChatTruth
from tests.support.people import Device, Person
from tests.support.platform import Door

WORDS = ("salaam", "خوبی؟", "می‌آیم", "👍🏽 yes", "\u0065\u0301t\u00e9", "a\nb", "x" * 300)
EMOJI = ("👍", "❤️", "😂", None)
WEIGHTS = {
    "sends": 26, "sends_twice": 5, "sends_everywhere": 5, "edits": 8, "deletes": 5, "hides": 4,
    "reacts": 9, "pins": 4, "reads": 12, "clears": 1, "mutes": 3, "renames": 2, "joins_or_goes": 5,
    "looks": 4,
}  # fmt: skip
QUIET = {"sends": "reacts", "reads": "hides", "clears": "mutes"}
"""What the last person does instead in the firm group: much stays unread there, some of it gone."""
CUT_EACH = 9
"""One socket breaks for so many actions."""
LATE = {ErrorCode.NO_CHAT, ErrorCode.NO_MESSAGE, ErrorCode.CONFLICT}
"""What one hears who acts on something that another one has just taken away."""


class History:
    """Plays `steps` actions of each person. `firm` chats keep their members; `loose` does not."""

    def __init__(self, seed: int, persons: Sequence[Person], doors: Sequence[Door]) -> None:
        self.persons = persons
        self.doors = doors
        self.firm: list[ChatTruth] = []
        self.loose = ChatTruth("0", "0")
        self.inside: set[str] = set()
        """Members of the loose chat."""
        self.done: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self._seed = seed
        self._weather = random.Random(f"{seed} weather")  # noqa: S311 - a seed is to be repeated
        self._moves = asyncio.Lock()
        self._actions = 0
        self._returning: asyncio.TaskGroup | None = None
        self._back_at: dict[Device, int] = {}

    @property
    def chats(self) -> list[ChatTruth]:
        return [*self.firm, self.loose]

    @property
    def groups(self) -> list[ChatTruth]:
        return [self.firm[-1], self.loose]

    @property
    def devices(self) -> list[Device]:
        return [device for person in self.persons for device in person.devices]

    def members(self, chat: ChatTruth) -> set[str]:
        if chat is self.loose:
            return self.inside
        return set(chat.read)

    # Before

    async def begins(self) -> None:
        """A firm group of all, two direct chats, a loose group; all devices know them."""
        one, two, three, *_ = self.persons
        for a, b in ((one, two), (two, three)):
            answer = await a.devices[0].client.rpc("chats.open_direct", {"account": b.account})
            self.firm.append(self._chat(answer, [a, b]))
        self.firm.append(await self._group("firm", self.persons))
        self.loose = await self._group("loose", self.persons[:3])
        self.inside = {person.account for person in self.persons[:3]}
        for chat in self.chats:
            for device in self.devices:
                if device.account in self.members(chat):
                    await device.client.wait_until(
                        lambda device=device, chat=chat: chat.id in device.client.state.chats
                    )

    async def _group(self, title: str, persons: Sequence[Person]) -> ChatTruth:
        owner = persons[0]
        others = [person.account for person in persons[1:]]
        request = {"kind": "group", "title": title, "members": others, "random_id": "1"}
        request["random_id"] = str(self._weather.getrandbits(62) + 1)
        answer = await owner.devices[0].client.rpc("chats.create", request)
        assert answer["skipped"] == []
        return self._chat(answer, persons)

    def _chat(self, answer: Json, persons: Sequence[Person]) -> ChatTruth:
        chat = ChatTruth(answer["chat"]["id"], persons[0].account)
        chat.titles[0] = answer["chat"].get("title", "")
        chat.read.update({person.account: 0 for person in persons})
        return chat

    # Acting

    async def plays(self, steps: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._returning = tasks
            async with asyncio.TaskGroup() as lives:
                for number, person in enumerate(self.persons):
                    lives.create_task(self._lives(person, number, steps), name=person.name)
            for device in [*self._back_at]:
                self._comes_back(device)

    async def _lives(self, person: Person, number: int, steps: int) -> None:
        rng = random.Random(f"{self._seed} {number}")  # noqa: S311 - as above
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        for name in rng.choices(names, weights, k=steps):
            self._weather_changes()
            device = rng.choice(person.devices)
            mine = [chat for chat in self.chats if person.account in self.members(chat)]
            chat = rng.choice([*mine, self.firm[-1], self.firm[-1]])
            if person is self.persons[-1] and chat is self.firm[-1]:
                name = QUIET.get(name, name)
            act: Callable[[Person, Device, ChatTruth, random.Random], Awaitable[None]]
            act = getattr(self, f"_{name}")
            try:
                await act(person, device, chat, rng)
            except RpcError as refused:
                if refused.code not in LATE:
                    raise
                self.late[name] += 1
            else:
                self.done[name] += 1

    def _weather_changes(self) -> None:
        """Sockets break and heal by the count of actions; of a person at most one at a time."""
        self._actions += 1
        for device, at in [*self._back_at.items()]:
            if at <= self._actions:
                self._comes_back(device)
        if self._weather.randrange(CUT_EACH) == 0:
            person = self._weather.choice(self.persons)
            device = self._weather.choice(person.devices)
            if not any(one.away or not one.client.connected for one in person.devices):
                device.goes()
                self._back_at[device] = self._actions + self._weather.choice((2, 10, 40))

    def _comes_back(self, device: Device) -> None:
        assert self._returning is not None
        del self._back_at[device]
        self._returning.create_task(device.returns(self._weather.choice(self.doors)))

    async def _insists(self, person: Person, device: Device, method: str, request: Json) -> Json:
        """Repeat until it is answered, through whichever device is on line."""
        while True:
            if device.away:
                device = next(one for one in person.devices if one is not device)
            try:
                await device.client.wait_until(lambda device=device: device.client.connected)
                return await device.client.rpc(method, request)
            except Disconnected:
                continue

    # Actions

    async def _sends(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        """Not waited for; on a device without a connection it waits in the outbox."""
        await self._send(device, chat, rng)

    async def _send(self, device: Device, chat: ChatTruth, rng: random.Random) -> Sending:
        text = f"{rng.choice(WORDS)} {rng.getrandbits(20)}"
        more: Json = {"silent": True} if rng.random() < 0.2 else {}
        if chat.senders and rng.random() < 0.2:
            more["reply"] = rng.choice(sorted(chat.senders))
        random_id = str(rng.getrandbits(62) + 1)
        sending = await device.client.send(chat.id, text, random_id, **more)
        sending.settled = lambda sending: self._settled(device, chat, text, sending)
        if sending.result or sending.error:
            self._settled(device, chat, text, sending)
        return sending

    def _settled(self, device: Device, chat: ChatTruth, text: str, sending: Sending) -> None:
        if sending.error is not None:
            assert chat is self.loose, sending.error
            assert sending.error.code in LATE, sending.error
            self.late["message"] += 1
            return
        assert sending.result is not None
        chat.sent(device.account, text, sending.result)
        self.done["message"] += 1

    async def _sends_twice(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        """The same key from the other device is another message; again from this one it is not."""
        if (chat := self._elsewhere(person, rng)) is None:
            return
        request = {"chat": chat.id, "random_id": str(rng.getrandbits(62) + 1), "text": "twice"}
        first, second = [
            [await self._over_http(one, request, rng) for _ in range(2)] for one in person.devices
        ]
        assert first[0]["seq"] != second[0]["seq"]
        for answers in (first, second):
            assert [answer.get("dup", False) for answer in answers] == [False, True]
            assert answers[0]["seq"] == answers[1]["seq"]
            chat.sent(person.account, "twice", answers[0])
        self.done["message"] += 2

    async def _sends_everywhere(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        """One key at once: on the socket and at both nodes."""
        if (chat := self._elsewhere(person, rng)) is None:
            return
        sending = await self._send(device, chat, rng)
        answers = await asyncio.gather(
            *(door.post("messages.send", sending.request, device.signed_in.token)
              for door in self.doors)
        )  # fmt: skip
        await device.client.wait_until(
            lambda: device.away or sending.result is not None, timeout_s=10.0
        )
        places = {(answer["seq"], answer["ev"], answer["at"]) for answer in answers}
        if sending.result is not None:
            places.add((sending.result["seq"], sending.result["ev"], sending.result["at"]))
        assert len(places) == 1, places
        chat.sent(person.account, sending.request["text"], answers[0])

    def _elsewhere(self, person: Person, rng: random.Random) -> ChatTruth | None:
        """A firm chat of the person; not the group where the last one keeps quiet."""
        quiet = [self.firm[-1]] if person is self.persons[-1] else []
        chats = [c for c in self.firm if person.account in self.members(c) and c not in quiet]
        return rng.choice(chats) if chats else None

    async def _over_http(self, device: Device, request: Json, rng: random.Random) -> Json:
        return await rng.choice(self.doors).post("messages.send", request, device.signed_in.token)

    async def _edits(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        if (seq := chat.pick(rng.choice, by=person.account)) is not None:
            text = f"edited {rng.choice(WORDS)} {rng.getrandbits(20)}"
            request = {"chat": chat.id, "seq": seq, "text": text}
            answer = await self._insists(person, device, "messages.edit", request)
            chat.said(seq, answer["ev"], text)

    async def _deletes(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        """One's own for everybody; the owner of a group those of others too."""
        mine = chat in self.groups and chat.owner == person.account
        if (seq := chat.pick(rng.choice, by=None if mine else person.account)) is not None:
            request = {"chat": chat.id, "seqs": [seq], "for": "all"}
            await self._insists(person, device, "messages.delete", request)
            chat.deleted.add(seq)

    async def _hides(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        if (seq := chat.pick(rng.choice)) is not None:
            request = {"chat": chat.id, "seqs": [seq], "for": "me"}
            await self._insists(person, device, "messages.delete", request)
            chat.hidden[person.account].add(seq)

    async def _reacts(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        if (seq := chat.pick(rng.choice)) is not None:
            emoji = rng.choice(EMOJI)
            request = {"chat": chat.id, "seq": seq, "emoji": emoji}
            await self._insists(person, device, "messages.react", request)
            chat.reactions[seq].pop(person.account, None)
            if emoji is not None:
                chat.reactions[seq][person.account] = emoji

    async def _pins(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        """In groups the owner alone may."""
        if chat in self.groups and chat.owner != person.account:
            return
        if (seq := chat.pick(rng.choice)) is not None:
            on = rng.random() < 0.7
            request = {"chat": chat.id, "seq": seq, "on": on}
            answer = await self._insists(person, device, "chats.pin_message", request)
            before = chat.pins.get(seq, (0, False))
            chat.pins[seq] = max(before, (answer["ev"], on))

    async def _reads(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        if (seq := chat.pick(rng.choice)) is not None:
            request = {"cursors": [{"chat": chat.id, "seq": seq}]}
            await self._insists(person, device, "messages.read", request)
            chat.read[person.account] = max(chat.read[person.account], seq)

    async def _clears(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        if (seq := chat.pick(rng.choice)) is not None:
            request = {"chat": chat.id, "up_to_seq": seq}
            await self._insists(person, device, "chats.clear", request)
            chat.cleared[person.account] = max(chat.cleared[person.account], seq)

    async def _mutes(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        until = rng.choice((0, 4_000_000_000_000))
        request = {"chat": chat.id, "until": until}
        await self._insists(person, device, "chats.mute", request)
        chat.muted[person.account] = until

    async def _renames(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        for one in [c for c in self.groups if c.owner == person.account]:
            title = f"title {rng.getrandbits(20)}"
            request = {"chat": one.id, "title": title}
            answer = await self._insists(person, device, "chats.update", request)
            one.titles[answer["ev"]] = title

    async def _joins_or_goes(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        """In the loose group: leave it, take somebody in, or put somebody out."""
        async with self._moves:
            loose, me = self.loose, person.account
            if me not in self.inside:
                return
            if me != loose.owner and rng.random() < 0.4:
                self.inside.discard(me)
                loose.moved.add(me)
                await self._insists(person, device, "chats.leave", {"chat": loose.id})
                return
            other = rng.choice([one.account for one in self.persons if one.account != loose.owner])
            loose.moved.add(other)
            if other not in self.inside:
                request: Json = {"chat": loose.id, "accounts": [other]}
                await self._insists(person, device, "chats.add_members", request)
                self.inside.add(other)
            elif me == loose.owner:
                self.inside.discard(other)
                request = {"chat": loose.id, "account": other}
                await self._insists(person, device, "chats.remove_member", request)

    async def _looks(
        self, person: Person, device: Device, chat: ChatTruth, rng: random.Random
    ) -> None:
        """Open a big chat on the screen of a device, or close it."""
        if device.away or not device.client.connected:
            return
        known = device.client.state.chats.get(chat.id)
        topic = f"chat:{chat.id}"
        try:
            if topic in device.client.link.wanted:
                await device.client.unsubscribe(topic)
            elif known is not None and known.big:
                await device.client.subscribe(topic)
        except Disconnected:
            return

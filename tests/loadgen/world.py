"""A run without a server: a plan played on a plain model, so that a fault can be planted in it."""

import random
from dataclasses import dataclass, field

from loadgen.demo.ledger import Applied, Change, Ledger, Message, Opened, Outcome, Via
from loadgen.demo.plan import Act, Plan, Step, event_of, plan_demo
from loadgen.demo.population import Population, populate
from loadgen.demo.truth import ChatTruth, Fact, Head, Shown, Stored, Truth


@dataclass
class Room:
    """A chat of the model: its log and nothing else."""

    members: frozenset[str]
    messages: list[Stored] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    read: dict[str, int] = field(default_factory=dict)

    def note(self, kind: str, seq: int) -> int:
        self.facts.append(Fact(len(self.facts) + 1, kind, seq))
        return len(self.facts)

    def unread(self, account: str) -> int:
        return sum(1 for m in self.messages if m.seq > self.read.get(account, 0) and not m.deleted)


class World:
    """An honest run: ledger and truth agree in everything until a test changes one of them."""

    def __init__(self, seed: int, people: int = 6, seconds: float = 12.0) -> None:
        self.population: Population = populate(seed, people)
        self.plan: Plan = plan_demo(self.population, seconds)
        self.ledger = Ledger()
        self.rooms = {
            f"c{place.index}": Room(frozenset(f"a{person}" for person in place.members))
            for place in self.population.places
        }
        for device, owner in enumerate(self.population.owners):
            self.ledger.watch(device, f"a{owner}")
            for chat, room in self.rooms.items():
                if f"a{owner}" in room.members:
                    self.ledger.open(device, chat, Opened(0, 0, 0))
        draw = random.Random(seed)  # noqa: S311 - seeded faults, not secrets
        for step in self.plan.steps:
            self._play(step, draw)

    def truth(self) -> Truth:
        chats = {
            chat: ChatTruth(
                room.members, len(room.messages), len(room.facts), (*room.messages,), (*room.facts,)
            )
            for chat, room in self.rooms.items()
        }
        devices: dict[int, dict[str, Shown]] = {}
        heads: dict[str, dict[str, Head]] = {}
        for device, chat in self.ledger.opened:
            account, room = self.ledger.accounts[device], self.rooms[chat]
            texts = {m.seq: None if m.deleted else m.text for m in room.messages}
            read = room.read.get(account, 0)
            shown = Shown(len(room.facts), read, room.unread(account), texts)
            devices.setdefault(device, {})[chat] = shown
            heads.setdefault(account, {})[chat] = Head(len(room.facts), len(room.messages), read)
        return Truth(chats, devices, heads)

    def messages(self) -> list[Message]:
        return [m for m in self.ledger.messages.values() if m.outcome is Outcome.ACKED]

    def _play(self, step: Step, draw: random.Random) -> None:
        chat, account = f"c{step.place}", f"a{self.population.owners[step.device]}"
        if step.act is Act.SEND:
            self._send(step, chat, account, draw)
        elif step.act in (Act.EDIT, Act.DELETE):
            self._change(step, chat)
        elif step.act is Act.READ:
            seq = len(self.rooms[chat].messages)
            self.ledger.reading(account, chat, seq)
            self.ledger.read(account, chat, seq)
            self._read(chat, account, seq)

    def _send(self, step: Step, chat: str, account: str, draw: random.Random) -> None:
        message = Message(step.event, step.device, account, chat, step.text, step.at_s)
        self.ledger.intend(message)
        fate = draw.random()
        if fate < 0.05:
            self.ledger.refused(step.event, 1010)
            return
        if fate < 0.10:  # the answer was lost; half of them were stored all the same
            if fate < 0.075:
                self._store(step, chat, account)
            return
        seq, ev = self._store(step, chat, account)
        self.ledger.acked(step.event, seq, ev, step.at_s + 0.01)

    def _store(self, step: Step, chat: str, account: str) -> tuple[int, int]:
        room = self.rooms[chat]
        seq = len(room.messages) + 1
        ev = room.note("message.new", seq)
        room.messages.append(Stored(seq, ev, account, step.text))
        self._read(chat, account, seq)
        self._deliver(chat, ev, "message.new", seq, step)
        return seq, ev

    def _change(self, step: Step, chat: str) -> None:
        change = Change(step.event, step.of, chat, step.text)
        self.ledger.change(change)
        meant = self.ledger.messages[step.of]
        room = self.rooms[chat]
        if meant.outcome is not Outcome.ACKED or room.messages[meant.seq - 1].deleted:
            self.ledger.refused(step.event, 1301)
            return
        kind = "message.edited" if step.text else "message.deleted"
        ev = room.note(kind, meant.seq)
        old = room.messages[meant.seq - 1]
        new = Stored(old.seq, old.ev, old.sender, step.text, deleted=not step.text)
        room.messages[meant.seq - 1] = new
        self.ledger.changed(step.event, ev)
        self._deliver(chat, ev, kind, meant.seq, step)

    def _deliver(self, chat: str, ev: int, kind: str, seq: int, step: Step) -> None:
        at_s = step.at_s + 0.02
        for device, room in self.ledger.opened:
            if room == chat:
                tag = event_of(step.text)
                self.ledger.take(device, Applied(chat, ev, kind, seq, tag, at_s, Via.PUSH))

    def _read(self, chat: str, account: str, seq: int) -> None:
        read = self.rooms[chat].read
        read[account] = max(read.get(account, 0), seq)

"""Snapshot + events == fresh snapshot, from every cut point, with the client's own model.

Random histories of sends, edits, deletions, reactions and reads by two people. A device that was
cut off at any event and catches up knows what a device knows that starts cold; and its unread
count is what counting says.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from messenger.client.model import Chat, Model
from messenger.ids import ChatId
from tests.messages.office import Json, Office, Person

JOINED = 1  # aev of the fact that both joined, which the office does not publish

who, pick = st.integers(0, 1), st.integers(0, 30)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("send"), who, st.sampled_from("abc")),
        st.tuples(st.just("send"), who, st.sampled_from("abc")),
        st.tuples(st.just("edit"), pick, st.sampled_from("xyz")),
        st.tuples(st.just("delete"), pick, pick),
        st.tuples(st.just("hide"), who, pick),
        st.tuples(st.just("react"), who, pick, st.sampled_from(["👍", "❤️", None])),
        st.tuples(st.just("read"), who, pick),
    ),
    min_size=4,
    max_size=18,
)


class History:
    """Plays actions, and keeps the plain truth beside: sets of numbers and dictionaries."""

    def __init__(self, people: list[Person], chat: ChatId) -> None:
        self.people, self.chat = people, chat
        self.senders: dict[int, int] = {}
        self.texts: dict[int, str] = {}
        self.reactions: dict[int, dict[int, str]] = {}
        self.hidden: list[set[int]] = [set(), set()]
        self.read = [0, 0]

    async def play(self, action: tuple[Any, ...]) -> None:
        name, *rest = action
        await getattr(self, f"_{name}")(*rest)

    def unread(self, person: int) -> int:
        gone = self.hidden[person] | (self.senders.keys() - self.texts.keys())
        return len([seq for seq in self.senders if seq > self.read[person] and seq not in gone])

    async def _send(self, who: int, text: str) -> None:
        seq = (await self.people[who].sends(self.chat, text))["seq"]
        self.senders[seq], self.texts[seq], self.read[who] = who, text, seq

    async def _edit(self, pick: int, text: str) -> None:
        if seq := self._one(pick, self.texts):
            person = self.people[self.senders[seq]]
            await person.call("messages.edit", chat=str(self.chat), seq=seq, text=text)
            self.texts[seq] = text

    async def _delete(self, first: int, second: int) -> None:
        if seq := self._one(first, self.senders):
            sender = self.senders[seq]
            own = [one for one, who in self.senders.items() if who == sender]
            seqs = sorted({seq, own[second % len(own)]})
            data = {"chat": str(self.chat), "seqs": seqs, "for": "all"}
            await self.people[sender].call("messages.delete", **data)
            for one in seqs:
                self.texts.pop(one, None)
                self.reactions.pop(one, None)

    async def _hide(self, who: int, pick: int) -> None:
        if seq := self._one(pick, self.senders):
            data = {"chat": str(self.chat), "seqs": [seq], "for": "me"}
            await self.people[who].call("messages.delete", **data)
            self.hidden[who].add(seq)

    async def _react(self, who: int, pick: int, emoji: str | None) -> None:
        if seq := self._one(pick, self.texts):
            data = {"chat": str(self.chat), "seq": seq, "emoji": emoji}
            await self.people[who].call("messages.react", **data)
            given = self.reactions.setdefault(seq, {})
            given.pop(who, None)
            if emoji:
                given[who] = emoji

    async def _read(self, who: int, pick: int) -> None:
        if seq := self._one(pick, self.senders):
            data = [{"chat": str(self.chat), "seq": seq}]
            await self.people[who].call("messages.read", cursors=data)
            self.read[who] = max(self.read[who], seq)

    def _one(self, pick: int, among: dict[int, Any]) -> int | None:
        seqs = sorted(among)
        return seqs[pick % len(seqs)] if seqs else None


async def a_cold_device(person: Person, chat: ChatId) -> Model:
    """Knows nothing, and fetches all: heads, then the newest page."""
    model = Model(person.id)
    result = await person.call("sync.heads")
    model.aev = result["aev"]
    _, epoch, ev, seq, read_seq, big = next(row for row in result["heads"] if row[0] == str(chat))
    known = model.put(
        {"id": str(chat), "epoch": epoch, "big": big, "last": {"seq": seq},
         "me": {"read_seq": read_seq}}
    )  # fmt: skip
    known.ev = ev
    known.page(await person.history(chat, limit=100))
    return model


async def catch_up(person: Person, model: Model, chat: ChatId) -> None:
    known = model.chats[str(chat)]
    while True:
        result = await person.call(
            "sync.difference", aev=model.aev, chats=[[str(chat), 1, known.ev]]
        )
        for update in result["acct"]:
            model.account_fact(update)
        model.aev = result["aev"]
        part = result["chats"][0]
        for update in part["events"]:
            assert update["ev"] == known.ev + 1
            model.chat_fact(update)
        if not part.get("more"):
            return


def seen(chat: Chat) -> Json:
    """What one sees of a chat; what is hidden and what is deleted look the same."""
    shown = {
        seq: {key: value for key, value in message.items() if value}
        for seq, message in chat.messages.items()
        if seq not in chat.hidden | chat.deleted
    }
    return {
        "shown": shown,
        "gone": chat.hidden | chat.deleted,
        "ev": chat.ev,
        "last_seq": chat.last_seq,
        "unread": chat.unread,
    }


async def live_updates(person: Person, chat: ChatId, aev: int, ev: int) -> list[Json]:
    """All facts that the person's devices were sent, in an order a device applies them in."""
    facts: dict[tuple[str, int], Json] = {("aev", JOINED): {"t": "chat.joined", "aev": JOINED}}
    async with asyncio.timeout(8):
        while len([key for key in facts if key[0] == "ev"]) < ev or ("aev", aev) not in facts:
            update = await person.heard.get()
            if update["t"] == "chat.dirty":
                continue  # says where the chat stands, and is no event of it
            for name in ("aev", "ev"):
                if name in update and update.get("chat") == str(chat):
                    facts[name, update[name]] = update
    return [facts[key] for key in sorted(facts, key=lambda key: key[1]) if key != ("aev", JOINED)]


async def quiescence(office: Office, history: History) -> None:
    """Until reactions and the cursors of own messages have been told."""
    late = "select 1 from post_stat where chat_id = $1 and reactions ? 'late'"
    cursors = "select account_id, read_seq from member where chat_id = $1"
    wanted = {
        (person.account, seq) for person, seq in zip(history.people, history.read, strict=True)
    }
    await office.cursors.flush()
    async with asyncio.timeout(8):
        while await office.rows(late, history.chat):
            continue
        while set(map(tuple, await office.rows(cursors, history.chat))) != wanted:
            continue


@pytest.mark.timeout(60)
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes: an example is short anyway
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(actions=actions)
async def test_given_any_history_when_a_device_catches_up_from_any_cut_then_it_knows_all(
    office: Office, actions: list[tuple[Any, ...]]
) -> None:
    people = await office.people(2)
    chat = await office.chat(people)
    history = History(people, chat)
    for action in actions:
        await history.play(action)
    await quiescence(office, history)
    reza = people[1]
    cold = await a_cold_device(reza, chat)
    fresh = cold.chats[str(chat)]

    counts: dict[int, dict[str, int]] = {}
    for seq, given_by in history.reactions.items():
        for emoji in given_by.values():
            counts.setdefault(seq, {}).setdefault(emoji, 0)
            counts[seq][emoji] += 1
    assert fresh.unread == history.unread(1)
    assert {
        seq: (message["text"], message.get("reactions", {}))
        for seq, message in seen(fresh)["shown"].items()
    } == {
        seq: (text, counts.get(seq, {}))
        for seq, text in history.texts.items()
        if seq not in history.hidden[1]
    }
    updates = await live_updates(reza, chat, cold.aev, fresh.ev)
    for cut in range(len(updates) + 1):
        device = Model(reza.id)
        device.put({"id": str(chat), "epoch": 1, "me": {"read_seq": 0}})
        for update in updates[:cut]:
            (device.account_fact if "aev" in update else device.chat_fact)(update)
        # the device applied facts of both kinds up to its cut, each kind without a hole
        device.aev = max((one["aev"] for one in updates[:cut] if "aev" in one), default=JOINED)
        await catch_up(reza, device, chat)
        assert seen(device.chats[str(chat)]) == seen(fresh)

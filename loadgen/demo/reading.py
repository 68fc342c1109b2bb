"""Read the truth of a run anew: histories and differences over HTTP, and what the devices show.

It uses other doors than the devices did (no socket, no client state), so that an error in the live
path cannot hide itself.
"""

import asyncio

from loadgen.demo.crowd import Crowd, gather
from loadgen.demo.truth import ChatTruth, Fact, Head, Stored, Truth
from messenger.client.errors import Json, RpcError
from messenger.client.http import call

HISTORY_PAGE = 100
PAGES = 2_000
"""Of one chat; a history that never ends is a bug, not a reason to wait for ever."""
WAITS = 20


class Reader:
    """Reads as the members of a finished crowd."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    async def heads(self) -> dict[str, dict[str, Head]]:
        """account -> chat -> head, as the server answers each account."""
        found: dict[str, dict[str, Head]] = {}

        async def one(person: int) -> None:
            heads: dict[str, Head] = {}
            request: Json = {}
            for _ in range(PAGES):
                result = await self._ask(person, "sync.heads", request)
                for chat, _epoch, ev, seq, read_seq, _big in result["heads"]:
                    heads[chat] = Head(ev, seq, read_seq)
                if not result.get("next"):
                    break
                request = {"after": result["next"]}
            found[self._crowd.accounts[person]] = heads

        await gather(range(len(self._crowd.population.people)), one)
        return found

    async def truth(self) -> Truth:
        """Every chat, every device, every head; the crowd must have come to rest."""
        chats: dict[str, ChatTruth] = {}

        async def one(place: int) -> None:
            chats[self._crowd.chats[place]] = await self._chat(place)
            self._crowd.board.done += 1

        await gather(range(len(self._crowd.population.places)), one)
        devices = {device.index: device.shown() for device in self._crowd.devices.values()}
        return Truth(chats, devices, await self.heads())

    async def _chat(self, place: int) -> ChatTruth:
        crowd = self._crowd
        chat = crowd.chats[place]
        members = crowd.population.places[place].members
        reader = members[place % len(members)]
        messages, last_seq = await self._history(reader, chat)
        opened = [at.ev for (_, name), at in crowd.ledger.opened.items() if name == chat]
        facts, last_ev = await self._facts(reader, chat, min(opened, default=0))
        accounts = frozenset(crowd.accounts[member] for member in members)
        return ChatTruth(accounts, last_seq, last_ev, tuple(messages), tuple(facts))

    async def _history(self, person: int, chat: str) -> tuple[list[Stored], int]:
        messages: list[Stored] = []
        after, last_seq = 0, 0
        for _ in range(PAGES):
            request = {"chat": chat, "after": after, "limit": HISTORY_PAGE}
            page = await self._ask(person, "messages.history", request)
            messages.extend(_stored(message) for message in page["messages"])
            last_seq = page["last_seq"]
            if not page.get("more") or not page["messages"]:
                break
            after = max(message["seq"] for message in page["messages"])
        return sorted(messages, key=lambda message: message.seq), last_seq

    async def _facts(self, person: int, chat: str, ev: int) -> tuple[list[Fact], int]:
        """The chat's events after `ev`, from the log itself."""
        facts: list[Fact] = []
        epoch = await self._epoch(person, chat)
        for _ in range(PAGES):
            request = {"aev": 0, "chats": [[chat, epoch, ev]]}
            result = await self._ask(person, "sync.difference", request)
            part = next((part for part in result["chats"] if part["chat"] == chat), None)
            if part is None or part.get("too_long"):
                break  # at the head already, or more than a difference holds: `dense` will say
            facts.extend(_fact(update) for update in part["events"])
            ev = part["to"]
            if not part.get("more"):
                break
        return facts, ev

    async def _epoch(self, person: int, chat: str) -> int:
        device = self._crowd.population.people[person].devices[0]
        return self._crowd.devices[device].client.state.chats[chat].epoch

    async def _ask(self, person: int, method: str, data: Json) -> Json:
        """Like any client, it waits where a limit says so."""
        token = self._crowd.tokens[self._crowd.population.people[person].devices[0]]
        for _ in range(WAITS):
            try:
                return await call(self._crowd.url, method, data, token)
            except RpcError as error:
                if error.retry_after_s is None:
                    raise
                await asyncio.sleep(error.retry_after_s)
        raise TimeoutError(f"{method} was put off {WAITS} times")


def _stored(message: Json) -> Stored:
    deleted = bool(message.get("deleted"))
    text = "" if deleted else message.get("text", "")
    return Stored(message["seq"], message["ev"], message["from"], text, deleted)


def _fact(update: Json) -> Fact:
    seqs = update.get("seqs") or [update.get("seq", update.get("m", {}).get("seq", 0))]
    return Fact(update["ev"], update["t"], seqs[0])

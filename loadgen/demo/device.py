"""A device of a virtual person: it does what the plan says and notes what comes of it.

It speaks through `messenger.client`, as tests do; the rules of order and catch-up are that
client's. What is noted is what came out of the rules, so a fault of theirs shows as well.
"""

import asyncio
import contextlib
import time
from collections import Counter

from loadgen.demo.board import Board
from loadgen.demo.ledger import Applied, Change, Ledger, Message, Opened, Outcome, Via
from loadgen.demo.plan import Step, event_of
from loadgen.demo.truth import Shown
from messenger.client import link
from messenger.client.errors import Json, RpcError
from messenger.client.outbox import Sending
from messenger.client.waiting import Disconnected
from messenger.client.websocket import Client

INSIST_S = 30.0
"""How long an edit, a deletion or a cursor is repeated over cut sockets."""
CONNECT_TRIES = 3
HINTS = ("chat.dirty",)
"""Updates that tell of an event without being it."""


class StrandedError(Exception):
    """A cut device could not connect again; the text says how its last try ended."""


class Clock:
    """Seconds since the talking began; negative before."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def start(self) -> None:
        self._start = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._start


class Device:
    """One signed-in device with its socket."""

    def __init__(
        self, index: int, account: str, ledger: Ledger, clock: Clock, board: Board
    ) -> None:
        self.index = index
        self.account = account
        self._ledger = ledger
        self._clock = clock
        self._board = board
        self._client: Client | None = None
        self._watching = False
        self._fresh: list[tuple[float, Json]] = []
        """Updates applied since the last event: the event that follows says how they came."""
        self._replaying: Counter[str] = Counter()
        """Publications still to come from a recovery, by topic."""
        self._settled: dict[int, asyncio.Event] = {}

    @property
    def client(self) -> Client:
        if self._client is None:
            raise AssertionError("not connected yet")
        return self._client

    @property
    def online(self) -> bool:
        return self._client is not None and self._client.connected

    async def connect(self, url: str, token: str) -> None:
        """Half of the devices speak JSON, the others Protobuf."""
        binary = self.index % 2 == 1
        for attempt in range(1, CONNECT_TRIES + 1):
            try:
                self._client = await Client.connect(
                    url, token, binary=binary, on_update=self._updated, on_event=self._happened
                )
                return
            except (Disconnected, TimeoutError):
                if attempt == CONNECT_TRIES:
                    raise

    def watch(self) -> None:
        """From now on the ledger expects this device to see every event of its chats."""
        self._ledger.watch(self.index, self.account)
        for chat in self.client.state.chats.values():
            opened = Opened(chat.ev, chat.last_seq, chat.read_seq)
            self._ledger.open(self.index, chat.id, opened)
        self._watching = True

    async def send(self, step: Step, chat: str, reply: int | None) -> None:
        """Hand the message to the client, which repeats it until it is answered."""
        message = Message(step.event, self.index, self.account, chat, step.text, step.at_s)
        message.sent_s = self._clock.now()
        message.cut = not self.online
        self._ledger.intend(message)
        self._board.sent += 1
        done = self._settled[step.event] = asyncio.Event()

        def settled(sending: Sending) -> None:
            self._answered(message, sending)
            done.set()

        more: Json = {} if reply is None else {"reply": reply}
        sending = await self.client.send(chat, step.text, **more)
        if sending.result is None and sending.error is None:
            sending.settled = settled
        else:  # the answer overtook us
            settled(sending)

    async def change(self, step: Step, chat: str) -> None:
        """Edit (with a text) or delete for all (without) an own message once it is stored."""
        change = Change(step.event, step.of, chat, step.text)
        self._ledger.change(change)
        message = self._ledger.messages[step.of]
        try:
            async with asyncio.timeout(INSIST_S):
                await self._settled[step.of].wait()
        except TimeoutError:
            return  # the message stays unanswered, and so does this
        if message.outcome is not Outcome.ACKED:
            self._ledger.refused(step.event, 0)
            return
        if step.text:
            data: Json = {"chat": chat, "seq": message.seq, "text": step.text}
            result = await self._insist("messages.edit", data, step.event)
        else:
            data = {"chat": chat, "seqs": [message.seq], "for": "all"}
            result = await self._insist("messages.delete", data, step.event)
        if result is not None:
            self._ledger.changed(step.event, result["ev"])

    async def read(self, chat: str) -> None:
        """Read up to the newest message this device has."""
        seq = self.client.state.chats[chat].last_seq
        if not seq:
            return
        self._board.asked["read"] += 1
        self._ledger.reading(self.account, chat, seq)
        cursor = {"cursors": [{"chat": chat, "seq": seq}]}
        if await self._insist("messages.read", cursor) is not None:
            self._board.answered["read"] += 1
            self._ledger.read(self.account, chat, seq)

    async def type(self, chat: str) -> None:
        """Tell the others; nobody insists on that."""
        self._board.asked["typing"] += 1
        try:
            await self.client.rpc("messages.typing", {"chat": chat, "kind": "text"})
        except RpcError as error:
            self._board.refusals[error.message] += 1
        except (Disconnected, TimeoutError):
            return
        self._board.answered["typing"] += 1

    async def look(self, chat: str) -> bool:
        """Have a chat on screen, now; only a big one has a topic of its own for that."""
        topic = f"chat:{chat}"
        if not self.client.state.chats[chat].big or topic in self.client.link.wanted:
            return True
        try:
            await self.client.subscribe(topic)
        except (Disconnected, TimeoutError):
            return False  # the client wants the topic; it subscribes when it is back
        return True

    async def look_away(self, chat: str) -> bool:
        if f"chat:{chat}" not in self.client.link.wanted:
            return True
        try:
            await self.client.unsubscribe(f"chat:{chat}")
        except (Disconnected, TimeoutError):
            return False  # nothing is subscribed without a socket
        return True

    async def lose_socket(self, away_s: float) -> tuple[float, float]:
        """Be cut off as a phone in a tunnel; returns (cut, back) in run time."""
        cut_s = self._clock.now()
        for message in self._ledger.messages.values():
            if message.device == self.index and message.outcome is Outcome.OPEN:
                message.cut = True
        self.client.cut()
        await asyncio.sleep(away_s)
        try:
            await self.client.resume()
        except TimeoutError:
            why = f"device {self.index} did not come back: {self.client.closed_with}"
            raise StrandedError(why) from None
        return cut_s, self._clock.now()

    def caught_up(self, heads: dict[str, int]) -> bool:
        """Ready, and every chat is at its head."""
        chats = self.client.state.chats
        at_heads = all(chat in chats and chats[chat].ev >= ev for chat, ev in heads.items())
        return self.client.ready and at_heads

    def shown(self) -> dict[str, Shown]:
        """What this device shows now."""
        shown = {}
        for chat in self.client.state.chats.values():
            texts = {
                seq: None if message.get("deleted") else message.get("text", "")
                for seq, message in chat.messages.items()
            }
            shown[chat.id] = Shown(chat.ev, chat.read_seq, chat.unread, texts)
        return shown

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _insist(self, method: str, data: Json, event: int = 0) -> Json | None:
        """Repeat over cut sockets and short refusals; None once it is refused or given up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(INSIST_S):
                return await self._repeat(method, data, event)
        return None

    async def _repeat(self, method: str, data: Json, event: int) -> Json | None:
        while True:
            await self.client.wait_until(lambda: self.client.connected, INSIST_S)
            try:
                return await self.client.rpc(method, data)
            except RpcError as error:
                self._board.refusals[error.message] += 1
                if error.retry_after_s is None:
                    if event:
                        self._ledger.refused(event, error.code)
                    return None
                await asyncio.sleep(error.retry_after_s)
            except (Disconnected, TimeoutError):
                await asyncio.sleep(0)  # the same request again: all three are idempotent

    def _answered(self, message: Message, sending: Sending) -> None:
        if sending.error is not None:
            self._board.refusals[sending.error.message] += 1
            self._ledger.refused(message.event, sending.error.code)
        elif sending.result is not None:
            result, now = sending.result, self._clock.now()
            dup = bool(result.get("dup"))
            self._ledger.acked(message.event, result["seq"], result["ev"], now, dup=dup)
            self._board.acked += 1
            if not message.cut:
                self._board.acks.append(now - message.intended_s)

    def _updated(self, update: Json) -> None:
        fact = "ev" in update and "chat" in update and update["t"] not in HINTS
        if self._watching and fact:
            self._fresh.append((self._clock.now(), update))

    def _happened(self, event: link.Event) -> None:
        if isinstance(event, link.Subscribed):
            if event.result.was_recovering:
                self._board.resumed += event.topic.startswith("user:") and event.result.recovered
                self._replaying[event.topic] = len(event.result.publications)
            return
        topic = event.topic if isinstance(event, link.Published) else ""
        replayed = self._replaying[topic] > 0
        for at_s, update in self._fresh:
            self._take(at_s, update, _via(event, update, self.account, replayed=replayed))
        self._fresh.clear()
        if replayed:
            self._replaying[topic] -= 1

    def _take(self, at_s: float, update: Json, via: Via) -> None:
        message = update.get("m", {})
        seqs = update.get("seqs") or [update.get("seq", message.get("seq", 0))]
        event = event_of(message.get("text", ""))
        row = Applied(update["chat"], update["ev"], update["t"], seqs[0], event, at_s, via)
        self._ledger.take(self.index, row)
        self._board.taken += update["t"] == "message.new"
        if via is Via.PUSH and update["t"] == "message.new" and event in self._ledger.messages:
            meant = self._ledger.messages[event]
            if meant.account != self.account and not meant.cut:
                self._board.deliveries.append(at_s - meant.intended_s)


def _via(event: link.Event, update: Json, account: str, *, replayed: bool) -> Via:
    """How an update came, by the event of the connection that brought it."""
    if isinstance(event, link.Published):
        return Via.RECOVERED if replayed else Via.PUSH
    own = update["t"] == "message.new" and update["m"].get("from") == account
    return Via.ANSWER if own else Via.DIFFERENCE

"""A device of the product without sockets and clocks: updates in, rpcs out, a model in between.

Whoever drives it hands in what the topics bring and what rpcs answer, sends the calls that are
ready, and calls `tick` when `due` says so. Times are seconds of any steady clock.
"""

from collections.abc import Callable, Mapping

from messenger.client.calls import Call, Calls
from messenger.client.catchup import CatchUp
from messenger.client.errors import Json, RpcError
from messenger.client.feed import Feed
from messenger.client.model import Model
from messenger.client.outbox import Outbox, Sending, own_message

BIG_HEADS_SPREAD_S = 2.0
RESYNC_SPREAD_S = 30.0
CHECK_S = 600.0
_FNV_OFFSET, _FNV_PRIME, _MASK64 = 0xCBF29CE484222325, 0x100000001B3, 2**64 - 1


class Core:
    """One device. `on_update` gets every update once it is applied, and the ephemeral ones."""

    def __init__(
        self,
        account: str,
        *,
        random_id: Callable[[], int],
        spread: Callable[[float], float],
        on_update: Callable[[Json], None],
    ) -> None:
        """`spread(s)`: a random time up to s, so that a million devices do not act at once."""
        self.state = Model(account)
        self.calls = Calls()
        self._random_id = random_id
        self._spread = spread
        self._on_update = on_update
        self._feed = Feed(self.state, on_update)
        self._catchup = CatchUp(self.state, self._feed, self.calls, self._caught_up)
        self._outbox = Outbox(account, self.calls, self._own)
        self.connected = False
        self._complete = False
        """The model was whole at some time: only then may a recovery continue it."""
        self._start_at: float | None = None
        self._big_heads_at: float | None = None
        self._check_at: float | None = None

    @property
    def ready(self) -> bool:
        """Connected, caught up, nothing sent that is unanswered."""
        return self.connected and self._complete and self.calls.idle

    @property
    def unsent(self) -> Mapping[str, Sending]:
        return self._outbox.pending

    @property
    def problems(self) -> list[RpcError]:
        """Refusals of catch-up calls: each is a bug here or there."""
        return self._catchup.problems

    # What the connection tells

    def on_connected(self, *, recovered: bool, now: float) -> None:
        """After the connect reply, before its publications: `recovered` speaks of `user:`."""
        self._catchup.now = now
        self.connected = True
        self._check_at = now + CHECK_S
        if recovered and self._complete:
            self._ask_big_heads()
            self._outbox.repeat()
        else:
            self._start()

    def on_disconnected(self) -> None:
        self.connected = False
        self._start_at = self._big_heads_at = self._check_at = None
        if self._feed.paused or self._feed.fetching:
            self._complete = False  # broken off: what waits in the lines is fetched again
        self.calls.clear()
        self._catchup.stop()

    def on_publication(self, update: Json, now: float) -> None:
        """The data of a publication on `user:`, `eph:` or `chat:`."""
        self._catchup.now = now
        if "aev" in update or ("ev" in update and update["t"] != "chat.dirty"):
            self._fact(update, now)
        else:
            self._ephemeral(update, now)

    def on_result(self, method: str, request: Json, result: Json, now: float) -> None:
        """An rpc of the application succeeded: the facts it made count as heard of."""
        self._catchup.now = now
        if method == "messages.send" and "seq" in result:
            self._own(own_message(self.state.account, request, result))
        elif "ev" in result and "chat" in request:
            self._feed.hear(request["chat"], result["ev"], now)
        elif "aev" in result and method != "sync.heads":
            self._feed.hear_account(result["aev"], now)

    def on_answer(self, call: Call, answer: Json | RpcError, now: float) -> None:
        """The answer to one of `calls.ready()`."""
        self._catchup.now = now
        if isinstance(answer, RpcError):
            self.calls.refused(call, answer, now)
        else:
            self.calls.answered(call, answer)
        self._fetch_joined()

    # What the application wants

    def send(self, chat: str, text: str, random_id: str | None = None, **more: object) -> Sending:
        """Queue a message; it is repeated until the server answers, over any reconnect."""
        key = random_id or str(self._random_id())
        sending = Sending(chat, {"chat": chat, "random_id": key, "text": text, **more})
        self._outbox.add(sending)
        if self.connected and self._complete and not self._feed.paused:
            self._outbox.send(sending)
        return sending

    def open_big(self, chat: str) -> None:
        """A big chat comes on screen and its topic is subscribed: fetch what changed."""
        self._catchup.open_big(chat)

    def close_big(self, chat: str) -> None:
        self._catchup.visible.discard(chat)

    def resync(self) -> None:
        """Run the whole catch-up now."""
        self._start()

    def digest(self) -> str:
        """FNV-1a over the heads known here, for `sync.check`."""
        chats = sorted(self.state.chats.values(), key=lambda chat: int(chat.id))
        text = "".join(f"{chat.id}:{chat.epoch}:{max(chat.ev, chat.head_ev)};" for chat in chats)
        return fnv1a(f"{text}{self.state.aev}")

    # Time

    def due(self) -> float | None:
        """When `tick` has something to do."""
        times = [line.due for line in (self._feed.account, *self._feed.chats.values())]
        times += [self._start_at, self._check_at, self.calls.due()]
        if not self._feed.paused:
            times.append(self._big_heads_at)
        return min((time for time in times if time is not None), default=None)

    def tick(self, now: float) -> None:
        self._catchup.now = now
        if not self.connected:
            return
        if self._start_at is not None and now >= self._start_at:
            self._start()
        if self._check_at is not None and now >= self._check_at:
            self._check(now)
        if not self._feed.paused:
            self._fetch_big_heads(now)
            self._repair_overdue(now)

    # Inside

    def _start(self) -> None:
        self._start_at = self._big_heads_at = None
        self.calls.clear()
        self._catchup.stop()
        self._catchup.start()

    def _ask_big_heads(self) -> None:
        """Soon: all members of a chat that becomes big ask at once."""
        if self._big_heads_at is None:
            self._big_heads_at = self._catchup.now + self._spread(BIG_HEADS_SPREAD_S)

    def _fetch_big_heads(self, now: float) -> None:
        if self._big_heads_at is not None and now >= self._big_heads_at:
            self._big_heads_at = None
            self._catchup.big_heads()

    def _check(self, now: float) -> None:
        """Now and then: is what we believe to know what the server knows?"""
        self._check_at = now + CHECK_S

        def compared(result: Json) -> None:
            if not result["same"]:
                self._start()

        if self.ready:
            self._catchup.ask("sync.check", {"digest": self.digest()}, compared)

    def _caught_up(self) -> None:
        if not self._feed.paused:
            return  # a repair of one line, not the whole
        self._complete = True
        self._feed.resume(self._catchup.now)
        self._outbox.repeat()

    def _fact(self, update: Json, now: float) -> None:
        self._feed.receive(update, now)
        self._fetch_joined()

    def _fetch_joined(self) -> None:
        """A chat that was joined is fetched as a whole, from a head that is older than the call."""
        if self._feed.grown:
            self._feed.grown = False
            self._ask_big_heads()
        joined, self._feed.joined = self._feed.joined, []
        for update in joined:
            line = self._feed.line(update["chat"])
            if line.applied is None and not line.asked:
                line.asked = True
                self._catchup.fetch(update["chat"], _joined_ev(update))

    def _repair_overdue(self, now: float) -> None:
        if self._feed.account.overdue(now):
            self._catchup.repair_account()
        for chat, line in list(self._feed.chats.items()):
            if line.overdue(now):
                line.asked = True
                if line.applied is None:  # never heard of it: perhaps `chat.joined` is to come
                    self._catchup.fetch(chat, 0)
                else:
                    self._catchup.repair(chat)

    def _own(self, update: Json) -> None:
        self._feed.receive(update, self._catchup.now)

    def _ephemeral(self, update: Json, now: float) -> None:
        kind = update.get("t")
        if kind == "chat.dirty":
            self._dirty(update, now)
        elif kind == "receipt":
            self.state.receipt(update)
        elif kind == "resync":
            self._start_at = now + self._spread(RESYNC_SPREAD_S)
        self._on_update(update)

    def _dirty(self, update: Json, now: float) -> None:
        chat = self.state.chats.get(update["chat"])
        if chat is None or update["ev"] <= chat.ev:
            return
        if chat.big and chat.id not in self._catchup.visible:
            chat.head_ev = max(chat.head_ev, update["ev"])
            chat.last_seq = max(chat.last_seq, update["seq"])
            return
        line = self._feed.line(chat.id)
        line.hear(update["ev"])
        if not self._feed.paused and not line.asked:
            line.asked = True
            self._catchup.repair(chat.id)


def _joined_ev(update: Json) -> int:
    last = update.get("info", {}).get("last", {})
    return int(last.get("ev", 0))


def fnv1a(text: str) -> str:
    """FNV-1a, 64 bits, as 16 hexadecimal digits."""
    value = _FNV_OFFSET
    for byte in text.encode():
        value = (value ^ byte) * _FNV_PRIME & _MASK64
    return f"{value:016x}"

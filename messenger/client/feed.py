"""Updates on their way into the model, each behind the gap rule of its line.

While a catch-up runs the feed is paused: everything waits in the lines and is spliced by number
afterwards, so that nothing falls between what was fetched and what came live.
"""

from collections.abc import Callable, Iterable

from messenger.client.errors import Json
from messenger.client.line import Line
from messenger.client.model import Model


class Feed:
    """All lines of one device."""

    def __init__(self, model: Model, applied: Callable[[Json], None]) -> None:
        self._model = model
        self._applied = applied
        self.paused = False
        self.account = Line(0)
        self.chats: dict[str, Line] = {}
        self.joined: list[Json] = []
        """`chat.joined` facts applied since last looked at: these chats must be fetched."""
        self.grown = False
        """A chat became big, or a big one was joined: nobody tells its heads here yet."""

    def receive(self, update: Json, now: float) -> None:
        """A fact, live from a topic."""
        if "aev" in update:
            self.account.offer(update["aev"], update)
            self._flush_account(now)
        else:
            self.line(update["chat"]).offer(update["ev"], update)
            self._flush(update["chat"], now)

    def hear(self, chat: str, ev: int, now: float) -> None:
        """The number of a chat's event is known, its update is not here (yet)."""
        self.line(chat).hear(ev)
        self._flush(chat, now)

    def hear_account(self, aev: int, now: float) -> None:
        self.account.hear(aev)
        self._flush_account(now)

    @property
    def fetching(self) -> bool:
        """Some chat is being fetched as a whole."""
        return any(line.applied is None for line in self.chats.values())

    def unknown(self, chat: str) -> bool:
        """The chat has no position here: it must be fetched as a whole."""
        line = self.chats.get(chat)
        return line is None or line.applied is None or chat not in self._model.chats

    def line(self, chat: str) -> Line:
        return self.chats.setdefault(chat, Line())

    def start_chat(self, chat: str, ev: int, now: float) -> None:
        """The chat's line begins anew: all up to `ev` was fetched as a whole."""
        line = self.line(chat)
        line.applied = None
        line.jump(ev)
        self._model.chats[chat].ev = ev
        self._flush(chat, now)

    def events(self, chat: str, events: Iterable[Json], to: int, now: float) -> None:
        """A dense slice of a difference, up to and with `to`."""
        line = self.line(chat)
        for update in events:
            if line.applied is None or update["ev"] > line.applied:
                self._apply(update)
                line.jump(update["ev"])
        line.jump(to)
        if (known := self._model.chats.get(chat)) is not None:
            known.ev = max(known.ev, to)
        self._flush(chat, now)

    def account_events(self, updates: Iterable[Json], aev: int, now: float) -> None:
        """The account part of a difference; numbers may be missing in it, `aev` is its end."""
        for update in updates:
            if update["aev"] > (self.account.applied or 0):
                self._apply(update)
        self.account.jump(aev)
        self._model.aev = self.account.applied or 0
        self._flush_account(now)

    def drop_chat(self, chat: str) -> None:
        self.chats.pop(chat, None)

    def pause(self) -> None:
        """From here on everything waits; what has waited so far will be fetched."""
        self.paused = True
        for line in (self.account, *self.chats.values()):
            line.drop_held()

    def resume(self, now: float) -> None:
        """The catch-up is over: what waited is applied, or starts to wait for its gap."""
        self.paused = False
        self._flush_account(now)
        for chat in list(self.chats):
            self._flush(chat, now)

    def _flush(self, chat: str, now: float) -> None:
        if not self.paused:
            for update in self.chats[chat].take(now):
                self._apply(update)

    def _flush_account(self, now: float) -> None:
        if not self.paused:
            for update in self.account.take(now):
                self._apply(update)
            self._model.aev = self.account.applied or 0

    def _apply(self, update: Json) -> None:
        if "aev" not in update:
            self._model.chat_fact(update)
            self.grown |= update["t"] == "chat.big"
        else:
            self._model.account_fact(update)
            if update["t"] == "chat.left":
                self.line(update["chat"]).leave()
            elif update["t"] == "chat.joined":
                self.joined.append(update)
                self.grown |= update.get("info", {}).get("big", False)
        self._applied(update)

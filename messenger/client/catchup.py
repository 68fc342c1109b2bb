"""Catching up with the server (docs/client-rules.md): as a state machine without I/O.

Everything is fetched after subscribing, with the feed paused; the numbers splice what was fetched
and what came live. One run asks for heads, then only for what differs.
"""

from collections.abc import Callable, Collection, Iterator

from messenger.client.calls import Calls
from messenger.client.errors import Json, RpcError
from messenger.client.feed import Feed
from messenger.client.model import Model
from messenger.wire.codes import ErrorCode

GET_CHATS = 100
DIFFERENCE_CHATS = 200
PAGE = 50


class CatchUp:
    """Repairs of the whole model or of one line; `done` is called when none is running."""

    def __init__(self, model: Model, feed: Feed, calls: Calls, done: Callable[[], None]) -> None:
        self._model = model
        self._feed = feed
        self._calls = calls
        self._done = done
        self._open = 0
        """Answers that are waited for."""
        self._heads: dict[str, Json] = {}
        self._head_aev: int | None = None
        self._changed: list[str] = []
        self.now = 0.0
        self.visible: set[str] = set()
        """Big chats on screen: the others are only marked as changed."""
        self.problems: list[RpcError] = []

    def start(self) -> None:
        """The whole procedure: cold, or after a recovery that failed."""
        self._begin()
        self._feed.pause()
        self._ask_heads({}, self._plan)

    def big_heads(self) -> None:
        """After a short drop: what big chats told on `eph:` meanwhile is lost."""
        self._begin()
        self._ask_heads({"big_only": True}, self._mark_big)

    def repair(self, chat: str) -> None:
        """A gap in one chat."""
        self._changed.append(chat)
        self._differences()

    def repair_account(self) -> None:
        """A gap in the account's facts."""
        self._differences(always=True)

    def fetch(self, chat: str, ev: int) -> None:
        """A chat that is not known here; `ev` was its head before this call."""
        self._get_chats([chat], {chat: ev})

    def open_big(self, chat: str) -> None:
        """A big chat comes on screen."""
        self.visible.add(chat)
        if not self._feed.unknown(chat):
            self.repair(chat)

    def stop(self) -> None:
        """The connection is gone; the next one starts again."""
        self._open = 0
        self._changed.clear()
        for line in (self._feed.account, *self._feed.chats.values()):
            line.asked = False

    def _begin(self) -> None:
        self._heads = {}
        self._head_aev = None

    # Heads

    def _ask_heads(self, request: Json, plan: Callable[[], None]) -> None:
        def page(result: Json) -> None:
            if self._head_aev is None:
                self._head_aev = result["aev"]
            for chat, epoch, ev, seq, read_seq, big in result["heads"]:
                self._heads[chat] = {
                    "epoch": epoch, "ev": ev, "seq": seq, "read_seq": read_seq, "big": big,
                }  # fmt: skip
            if result.get("next"):
                self._ask_heads({**request, "after": result["next"]}, plan)
            else:
                plan()

        self.ask("sync.heads", request, page)

    def _plan(self) -> None:
        self._keep_only(self._heads)
        if not self._feed.account.applied:
            self._feed.account_events((), self._head_aev or 0, self.now)
        unknown = [chat for chat, head in self._heads.items() if self._is_new(chat, head)]
        self._get_chats(unknown, {chat: self._heads[chat]["ev"] for chat in unknown})
        rest = self._heads.keys() - set(unknown)
        for chat in sorted(rest, key=lambda chat: self._heads[chat]["seq"], reverse=True):
            self._compare(chat, self._heads[chat])
        self._differences(always=(self._head_aev or 0) > (self._feed.account.applied or 0))

    def _is_new(self, chat: str, head: Json) -> bool:
        """Not known here, or known from before a backup was restored: nothing can be continued."""
        return self._feed.unknown(chat) or self._model.chats[chat].epoch != head["epoch"]

    def _compare(self, chat: str, head: Json) -> None:
        known = self._model.chats[chat]
        known.read_seq = max(known.read_seq, head["read_seq"])
        if head["big"] and chat not in self.visible:
            self._mark(chat, head)
        elif known.ev != head["ev"]:
            self._changed.append(chat)

    def _mark_big(self) -> None:
        for chat, head in self._heads.items():
            if chat in self._model.chats:
                self._compare(chat, head)
        self._differences()

    def _mark(self, chat: str, head: Json) -> None:
        known = self._model.chats[chat]
        known.big = True
        known.head_ev = max(known.head_ev, head["ev"])
        known.last_seq = max(known.last_seq, head["seq"])

    # Chats as a whole

    def _get_chats(self, chats: list[str], evs: dict[str, int]) -> None:
        """`evs`: heads read before this call; 0 = not known, take the one that comes with it."""
        for batch in _batches(chats, GET_CHATS):
            for chat in batch:
                self._feed.line(chat).asked = True

            def got(result: Json, batch: list[str] = batch) -> None:
                found = {info["id"]: info for info in result["chats"]}
                cut = set(result.get("left", ()))  # they did not fit into the answer
                if cut:
                    self._get_chats([chat for chat in batch if chat in cut], evs)
                for chat in batch:
                    if chat in cut:
                        continue
                    if chat in found:
                        self._model.put(found[chat])
                        last = found[chat]["last"]["ev"]
                        self._take_newest(chat, min(evs[chat] or last, last))
                    else:  # left or deleted meanwhile
                        self._feed.drop_chat(chat)

            self.ask("chats.get", {"chats": batch}, got)

    def _take_newest(self, chat: str, ev: int) -> None:
        """Replace the range by the newest page; the line goes on from `ev`, which is older."""
        self._model.chats[chat].forget()
        line = self._feed.line(chat)
        line.applied, line.asked = None, True  # what comes live waits for the page

        def page(result: Json) -> None:
            line.asked = False
            if (known := self._model.chats.get(chat)) is not None:
                known.page(result)
                self._feed.start_chat(chat, ev, self.now)

        def refused() -> None:
            self._feed.drop_chat(chat)

        self.ask("messages.history", {"chat": chat, "limit": PAGE}, page, refused)

    def _list_chats(self, after: str | None, seen: dict[str, Json]) -> None:
        """After an absence so long that the account's facts are gone.

        Among them what was hidden: only the pages' gaps still tell that, so each is taken anew.
        """

        def page(result: Json) -> None:
            seen.update({info["id"]: info for info in result["chats"]})
            if result.get("next"):
                self._list_chats(result["next"], seen)
                return
            self._keep_only(seen)
            for chat, info in seen.items():
                self._model.put(info)
                if not (self._feed.unknown(chat) and self._feed.line(chat).asked):
                    self._take_newest(chat, info["last"]["ev"])

        self.ask("chats.list", {"after": after} if after else {}, page)

    def _keep_only(self, chats: Collection[str]) -> None:
        self._model.keep_only(chats)
        for gone in self._feed.chats.keys() - set(chats):
            self._feed.drop_chat(gone)

    # Differences

    def _differences(self, *, always: bool = False) -> None:
        """Ask for all chats in `_changed`; the account's facts come with any difference."""
        wanted = [chat for chat in dict.fromkeys(self._changed) if chat in self._model.chats]
        self._changed.clear()
        batches = list(_batches(wanted, DIFFERENCE_CHATS))
        if always and not batches:
            batches = [[]]
        for batch in batches:
            for chat in batch:
                self._feed.line(chat).asked = True
            self._feed.account.asked = True
            chats = [self._model.chats[chat] for chat in batch]
            request = {
                "aev": self._feed.account.applied or 0,
                "chats": [[chat.id, chat.epoch, chat.ev] for chat in chats],
            }
            self.ask("sync.difference", request, self._difference)

    def _difference(self, result: Json) -> None:
        self._feed.account.asked = False
        if result.get("acct_too_long"):
            self._feed.account_events((), result["aev"], self.now)
            self._list_chats(None, {})
        else:
            self._feed.account_events(result.get("acct", ()), result["aev"], self.now)
            self._feed.account.believe()
        for part in result.get("chats", ()):
            self._part(part)
        self._changed.extend(result.get("left", ()))
        self._differences()

    def _part(self, part: Json) -> None:
        chat = part["chat"]
        line = self._feed.line(chat)
        line.asked = False
        if self._feed.unknown(chat):
            return  # left, or joined again, since it was asked for
        if part.get("too_long"):
            head = part["head"]
            if self._model.chats[chat].epoch != part["epoch"]:
                self._get_chats([chat], {chat: head["ev"]})
            else:
                self._take_newest(chat, head["ev"])
        else:
            self._feed.events(chat, part["events"], part["to"], self.now)
            if part.get("more"):
                self._changed.append(chat)
            else:
                line.believe()

    # Bookkeeping

    def ask(
        self,
        method: str,
        data: Json,
        then: Callable[[Json], None],
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._open += 1

        def answered(result: Json) -> None:
            then(result)
            self._landed()

        def failed(error: RpcError) -> None:
            if error.code != ErrorCode.NO_CHAT:  # left meanwhile: `chat.left` is on its way
                self.problems.append(error)
            refused()
            self._landed()

        self._calls.ask(method, data, answered, failed)

    def _landed(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._done()


def _batches(items: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]

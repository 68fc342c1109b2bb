"""What a device knows: chats with their newest messages, cursors and settings.

Applying an update is idempotent and never fails on a field it does not know; order and gaps are
settled before an update comes here.
"""

from collections.abc import Callable, Iterable

from msgspec import Struct

from messenger.client.errors import Json

_ENVELOPE = ("t", "aev", "chat")
_CONTENT = ("text", "ents", "media", "reply", "fwd", "edited", "reactions", "silent", "views")


class Chat(Struct):
    """One chat. `messages` is the newest contiguous range; unread is computed, never stored."""

    id: str
    epoch: int = 0
    ev: int = 0
    big: bool = False
    info: Json = {}
    last_seq: int = 0
    read_seq: int = 0
    cleared_seq: int = 0
    messages: dict[int, Json] = {}
    deleted: set[int] = set()
    hidden: set[int] = set()
    pins: set[int] = set()
    members: dict[str, str] = {}
    settings: Json = {}
    """muted_until, pin, folder, draft: whatever the account has set for this chat."""
    receipts: dict[str, int] = {}
    head_ev: int = 0
    """Of a big chat that is not on screen: how far it has moved on."""
    closed: bool = False
    """Deleted by its owner."""

    @property
    def unread(self) -> int:
        floor = max(self.read_seq, self.cleared_seq)
        gone = sum(1 for seq in self.deleted | self.hidden if floor < seq <= self.last_seq)
        return max(0, self.last_seq - floor - gone)

    @property
    def texts(self) -> list[str]:
        """The texts one would see on screen, oldest first."""
        return [
            message.get("text", "")
            for seq, message in sorted(self.messages.items())
            if not message.get("deleted") and seq not in self.hidden and seq > self.cleared_seq
        ]

    @property
    def changed(self) -> bool:
        return self.head_ev > self.ev

    def newest(self, count: int) -> list[Json]:
        """The newest messages, oldest first; tombstones too, without those hidden here."""
        shown = [seq for seq in sorted(self.messages) if seq not in self.hidden]
        return [self.messages[seq] for seq in shown[-count:]]

    def forget(self) -> None:
        """Drop the range: it is no longer contiguous with what the server has."""
        self.messages.clear()
        self.deleted.clear()
        self.pins.clear()

    def page(self, history: Json) -> None:
        """Take over a page of `messages.history`."""
        for message in history["messages"]:
            self._put(message)
        self.last_seq = max(self.last_seq, history.get("last_seq", 0))
        floor = max(self.read_seq, self.cleared_seq)
        for low, high in history.get("gaps", ()):
            self.deleted.update(range(max(low, floor + 1), high + 1))

    def new(self, update: Json, account: str) -> None:
        message = update["m"]
        self._put(message)
        self.last_seq = max(self.last_seq, message["seq"])
        if message.get("from") == account:
            self.read_seq = max(self.read_seq, message["seq"])

    def edited(self, update: Json) -> None:
        if update["m"]["seq"] in self.messages:
            self._put(update["m"])

    def remove(self, update: Json) -> None:
        self.deleted.update(update["seqs"])
        self.pins.difference_update(update["seqs"])
        for seq in update["seqs"]:
            if (message := self.messages.get(seq)) is not None:
                rest = {key: value for key, value in message.items() if key not in _CONTENT}
                self.messages[seq] = rest | {"deleted": True}

    def reacted(self, update: Json) -> None:
        message = self.messages.get(update["seq"])
        if message is None or message.get("deleted"):
            return
        message.pop("reactions", None)
        if update["counts"]:
            message["reactions"] = update["counts"]

    def pinned(self, update: Json) -> None:
        (self.pins.add if update["on"] else self.pins.discard)(update["seq"])

    def updated(self, update: Json) -> None:
        _merge(self.info, update["set"])

    def member_changed(self, update: Json) -> None:
        self.members[update["account"]] = update["role"]

    def became_big(self, update: Json) -> None:
        self.big = True

    def close(self, update: Json) -> None:
        self.closed = True

    def read(self, update: Json) -> None:
        self.read_seq = max(self.read_seq, update["read_seq"])

    def cleared(self, update: Json) -> None:
        self.cleared_seq = max(self.cleared_seq, update["cleared_seq"])

    def hide(self, update: Json) -> None:
        self.hidden.update(update["seqs"])

    def set(self, update: Json) -> None:
        changed = {key: value for key, value in update.items() if key not in _ENVELOPE}
        _merge(self.settings, changed)

    def _put(self, message: Json) -> None:
        """`rid` is the sender's own business; the model is the same on every device."""
        kept = {key: value for key, value in message.items() if key != "rid"}
        self.messages[message["seq"]] = kept
        if message.get("deleted"):
            self.deleted.add(message["seq"])


_CHAT_FACTS: dict[str, Callable[[Chat, Json], None]] = {
    "message.edited": Chat.edited,
    "message.deleted": Chat.remove,
    "message.reactions": Chat.reacted,
    "message.pinned": Chat.pinned,
    "chat.updated": Chat.updated,
    "member.changed": Chat.member_changed,
    "chat.big": Chat.became_big,
    "chat.deleted": Chat.close,
}
_ACCOUNT_FACTS: dict[str, Callable[[Chat, Json], None]] = {
    "read.self": Chat.read,
    "chat.cleared": Chat.cleared,
    "message.hidden": Chat.hide,
    "chat.muted": Chat.set,
    "chat.pinned": Chat.set,
    "chat.folder": Chat.set,
    "chat.draft": Chat.set,
}


class Model:
    """All chats of one account on one device."""

    def __init__(self, account: str) -> None:
        self.account = account
        self.aev = 0
        self.chats: dict[str, Chat] = {}
        self.facts: list[Json] = []
        """Account facts that are not about a chat, newest last; the oldest fall out."""

    def put(self, info: Json) -> Chat:
        """Take over a Chat object of the server, or what `chat.joined` tells of one."""
        chat = self.chats.get(info["id"])
        if chat is None or chat.epoch != info.get("epoch", chat.epoch):
            self.chats[info["id"]] = chat = Chat(info["id"])
        known = {"id", "epoch", "big", "last", "me"}
        _merge(chat.info, {key: value for key, value in info.items() if key not in known})
        chat.epoch = info.get("epoch", chat.epoch)
        chat.big = info.get("big", chat.big)
        chat.last_seq = max(chat.last_seq, info.get("last", {}).get("seq", 0))
        me = dict(info.get("me", {}))
        chat.read_seq = max(chat.read_seq, me.pop("read_seq", 0))
        chat.cleared_seq = max(chat.cleared_seq, me.pop("cleared_seq", 0))
        _merge(chat.settings, me)
        return chat

    def keep_only(self, chats: Iterable[str]) -> None:
        for gone in self.chats.keys() - set(chats):
            del self.chats[gone]

    def chat_fact(self, update: Json) -> None:
        chat = self.chats.get(update["chat"])
        if chat is None:
            return
        if update["t"] == "message.new":
            chat.new(update, self.account)
        elif (apply := _CHAT_FACTS.get(update["t"])) is not None:
            apply(chat, update)
        chat.ev = max(chat.ev, update["ev"])

    def account_fact(self, update: Json) -> None:
        kind = update["t"]
        if kind == "chat.left":
            self.chats.pop(update["chat"], None)
        elif kind == "chat.joined":
            if update["chat"] not in self.chats:  # else older than what was fetched
                self.put({"id": update["chat"], **update.get("info", {})})
        elif (apply := _ACCOUNT_FACTS.get(kind)) is not None:
            if (chat := self.chats.get(update["chat"])) is not None:
                apply(chat, update)
        else:
            self.facts = [*self.facts[-99:], update]

    def receipt(self, update: Json) -> None:
        if (chat := self.chats.get(update["chat"])) is not None:
            account = update["account"]
            chat.receipts[account] = max(chat.receipts.get(account, 0), update["read_seq"])


def _merge(into: Json, fields: Json) -> None:
    """Take over `fields`; null = gone."""
    for name, value in fields.items():
        if value is None:
            into.pop(name, None)
        else:
            into[name] = value

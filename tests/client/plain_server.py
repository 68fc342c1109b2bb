"""The product as one account sees it, in a page of plain Python: the truth the client is held to.

Limits are tiny, so that a few events already need pages, `more`, `left` and `too_long`.
"""

from dataclasses import dataclass, field

from messenger.client.core import fnv1a
from messenger.client.errors import Json

ME, OTHER = "71", "72"
HEADS, LIST, SLICE, PAGE, KEPT, KEPT_FACTS, CHATS_A_CALL = 2, 2, 3, 5, 7, 6, 2


@dataclass
class PlainChat:
    id: str
    big: bool = False
    epoch: int = 1
    events: list[Json] = field(default_factory=list)
    messages: dict[int, Json] = field(default_factory=dict)
    read_seq: int = 0
    cleared_seq: int = 0
    hidden: set[int] = field(default_factory=set)
    title: str = ""
    muted_until: int = 0
    member: bool = True

    @property
    def ev(self) -> int:
        return len(self.events)

    @property
    def last_seq(self) -> int:
        return len(self.messages)

    @property
    def unread(self) -> int:
        floor = max(self.read_seq, self.cleared_seq)
        return sum(
            1
            for seq, message in self.messages.items()
            if seq > floor and not message.get("deleted") and seq not in self.hidden
        )

    def last(self) -> Json:
        return {"seq": self.last_seq, "ev": self.ev, "at": 0}


class PlainServer:
    """Every change returns the update it makes; `answer` is what the rpcs say."""

    def __init__(self) -> None:
        self.chats: dict[str, PlainChat] = {}
        self.facts: list[Json] = []
        self.sent: dict[str, Json] = {}
        self.sent_to: dict[str, str] = {}
        self.page = 100
        """Chats that fit into one answer to `chats.get`."""

    @property
    def aev(self) -> int:
        return len(self.facts)

    # Changes

    def event(self, chat: PlainChat, kind: str, **fields: object) -> Json:
        update: Json = {"t": kind, "chat": chat.id, "ev": chat.ev + 1, **fields}
        chat.events.append(update)
        return update

    def fact(self, kind: str, **fields: object) -> Json:
        update: Json = {"t": kind, "aev": self.aev + 1, **fields}
        self.facts.append(update)
        return update

    def join(self, id: str, *, big: bool = False) -> Json:
        chat = self.chats.setdefault(id, PlainChat(id, big))
        chat.member = True
        info = {"epoch": chat.epoch, "big": chat.big, "last": chat.last()}
        return self.fact("chat.joined", chat=id, info=info)

    def leave(self, chat: PlainChat) -> Json:
        chat.member = False
        return self.fact("chat.left", chat=chat.id, why="left")

    def post(self, chat: PlainChat, sender: str, text: str) -> Json:
        seq = chat.last_seq + 1
        message = {"seq": seq, "ev": chat.ev + 1, "from": sender, "at": 0, "k": "text"}
        chat.messages[seq] = {**message, "text": text}
        return self.event(chat, "message.new", m=dict(chat.messages[seq]))

    def edit(self, chat: PlainChat, seq: int, text: str) -> Json | None:
        if chat.messages[seq].get("deleted"):
            return None
        chat.messages[seq] = {**chat.messages[seq], "text": text, "edited": 1}
        return self.event(chat, "message.edited", m=dict(chat.messages[seq]))

    def delete(self, chat: PlainChat, seq: int) -> Json:
        message = {k: v for k, v in chat.messages[seq].items() if k not in ("text", "edited")}
        message.pop("reactions", None)
        chat.messages[seq] = {**message, "deleted": True}
        return self.event(chat, "message.deleted", seqs=[seq], by=OTHER)

    def react(self, chat: PlainChat, seq: int, counts: dict[str, int]) -> Json | None:
        message = chat.messages[seq]
        if message.get("deleted"):
            return None
        message.pop("reactions", None)
        if counts:
            message["reactions"] = counts
        return self.event(chat, "message.reactions", seq=seq, counts=counts)

    def rename(self, chat: PlainChat, title: str) -> Json:
        chat.title = title
        return self.event(chat, "chat.updated", set={"title": title})

    def read(self, chat: PlainChat, seq: int) -> Json | None:
        if seq <= chat.read_seq:
            return None
        chat.read_seq = seq
        return self.fact("read.self", chat=chat.id, read_seq=seq)

    def clear(self, chat: PlainChat, seq: int) -> Json | None:
        if seq <= chat.cleared_seq:
            return None
        chat.cleared_seq = seq
        return self.fact("chat.cleared", chat=chat.id, cleared_seq=seq)

    def hide(self, chat: PlainChat, seq: int) -> Json:
        chat.hidden.add(seq)
        return self.fact("message.hidden", chat=chat.id, seqs=[seq])

    def mute(self, chat: PlainChat, until: int) -> Json:
        chat.muted_until = until
        return self.fact("chat.muted", chat=chat.id, muted_until=until)

    def restore(self, chat: PlainChat, ev: int) -> None:
        """The database comes back from a backup that ended at `ev`."""
        chat.epoch += 1
        chat.events = chat.events[:ev]
        chat.messages = {seq: dict(m) for seq, m in chat.messages.items() if m["ev"] <= ev}
        for key, id in self.sent_to.items():
            if id == chat.id and self.sent.get(key, {"ev": 0})["ev"] > ev:
                del self.sent[key]

    def mine(self) -> list[PlainChat]:
        chats = [chat for chat in self.chats.values() if chat.member]
        return sorted(chats, key=lambda chat: int(chat.id))

    # Rpcs

    def answer(self, method: str, data: Json) -> Json:
        handler = getattr(self, "_" + method.replace(".", "_"))
        result: Json = handler(data)
        return result

    def _sync_heads(self, data: Json) -> Json:
        chats = [chat for chat in self.mine() if chat.big or not data.get("big_only")]
        after = int(data.get("after", 0))
        rest = [chat for chat in chats if int(chat.id) > after]
        page = rest[:HEADS]
        heads = [[c.id, c.epoch, c.ev, c.last_seq, c.read_seq, c.big] for c in page]
        result: Json = {"aev": self.aev, "heads": heads}
        if len(rest) > HEADS:
            result["next"] = page[-1].id
        return result

    def _chats_get(self, data: Json) -> Json:
        wanted = set(data["chats"])
        found = [chat for chat in self.mine() if chat.id in wanted]
        page, left = found[: self.page], found[self.page :]
        result: Json = {"chats": [self._info(chat) for chat in page]}
        if left:
            result["left"] = [chat.id for chat in left]
        return result

    def _chats_list(self, data: Json) -> Json:
        after = int(data.get("after", 0))
        rest = [chat for chat in self.mine() if int(chat.id) > after]
        page = rest[:LIST]
        result: Json = {"chats": [self._info(chat) for chat in page], "aev": self.aev}
        if len(rest) > LIST:
            result["next"] = page[-1].id
        return result

    def _info(self, chat: PlainChat) -> Json:
        me = {
            "role": "member",
            "read_seq": chat.read_seq,
            "cleared_seq": chat.cleared_seq,
            "muted_until": chat.muted_until,
        }
        return {
            "id": chat.id,
            "epoch": chat.epoch,
            "big": chat.big,
            "title": chat.title,
            "last": chat.last(),
            "me": me,
        }

    def _messages_history(self, data: Json) -> Json:
        chat = self.chats[data["chat"]]
        seqs = sorted(set(chat.messages) - chat.hidden)[-PAGE:]
        gone = {seq for seq, m in chat.messages.items() if m.get("deleted")} | chat.hidden
        floor = min(max(chat.read_seq, chat.cleared_seq), min(seqs, default=1) - 1)
        return {
            "messages": [dict(chat.messages[seq]) for seq in seqs],
            "gaps": [[seq, seq] for seq in sorted(gone) if seq > floor],
            "last_seq": chat.last_seq,
        }

    def _sync_difference(self, data: Json) -> Json:
        result: Json = {"aev": self.aev, "chats": []}
        if self.aev - data["aev"] > KEPT_FACTS:
            result["acct_too_long"] = True
        else:
            result["acct"] = self._latest(self.facts[data["aev"] :])
        asked = data["chats"]
        for id, epoch, ev in asked[:CHATS_A_CALL]:
            if (chat := self.chats.get(id)) is not None and chat.member:
                result["chats"].append(self._difference(chat, epoch, ev))
        if len(asked) > CHATS_A_CALL:
            result["left"] = [id for id, _, _ in asked[CHATS_A_CALL:]]
        return result

    def _latest(self, facts: list[Json]) -> list[Json]:
        """Of reads and mutes only the newest for each chat is kept."""
        kept: dict[tuple[object, ...], Json] = {}
        for fact in facts:
            latest_wins = fact["t"] in ("read.self", "chat.muted", "chat.cleared")
            kept[(fact["t"], fact["chat"]) if latest_wins else (fact["aev"],)] = fact
        return sorted(kept.values(), key=lambda fact: int(fact["aev"]))

    def _difference(self, chat: PlainChat, epoch: int, ev: int) -> Json:
        if epoch != chat.epoch or chat.ev - ev > KEPT:
            head = {"ev": chat.ev, "seq": chat.last_seq, "read_seq": chat.read_seq}
            return {"chat": chat.id, "epoch": chat.epoch, "too_long": True, "head": head}
        events = [self._current(chat, event) for event in chat.events[ev : ev + SLICE]]
        part: Json = {"chat": chat.id, "epoch": chat.epoch, "from": ev, "to": ev + len(events)}
        part["events"] = events
        if ev + len(events) < chat.ev:
            part["more"] = True
        return part

    def _current(self, chat: PlainChat, event: Json) -> Json:
        """A difference shows a message as it is now."""
        if event["t"] != "message.new":
            return event
        return {**event, "m": dict(chat.messages[event["m"]["seq"]])}

    def _messages_send(self, data: Json) -> Json:
        key = data["random_id"]
        if key in self.sent:
            return {**self.sent[key], "dup": True}
        chat = self.chats[data["chat"]]
        update = self.post(chat, ME, data["text"])
        self.sent_to[key] = chat.id
        self.sent[key] = {"seq": update["m"]["seq"], "ev": update["ev"], "at": 0}
        return self.sent[key]

    def _sync_check(self, data: Json) -> Json:
        heads = "".join(f"{chat.id}:{chat.epoch}:{chat.ev};" for chat in self.mine())
        return {"same": data["digest"] == fnv1a(f"{heads}{self.aev}")}

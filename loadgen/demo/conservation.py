"""Was anything lost, doubled, swapped or miscounted? The ledger against the server's own answer.

Pure. Three accounts of the same run are compared: what the senders were told, what the server
holds now (history and differences, read anew), and what every device saw as it happened. A breach
is a fact with its counter-example, never a rate.
"""

from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum

from msgspec import Struct

from loadgen.demo.ledger import Applied, Change, Ledger, Message, Opened, Outcome
from loadgen.demo.plan import event_of
from loadgen.demo.truth import ChatTruth, Stored, Truth


class Breach(StrEnum):
    """What a counter-example shows."""

    LOST = "lost"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    UNREAD = "unread"
    WRONG = "wrong"
    """Stored or shown with another text, sender or number than was answered; or to a stranger."""


Found = Iterator[tuple[Breach, str] | None]
"""One item per comparison: None where it held."""


class Rule(Struct):
    """One law of conservation, how often it was checked, and what broke it."""

    name: str
    says: str
    compared: int = 0
    broken: int = 0
    examples: list[str] = []


class Verdict(Struct):
    """The outcome of a run, as counts and counter-examples."""

    rules: list[Rule]
    counts: dict[Breach, int]

    @property
    def clean(self) -> bool:
        return not any(self.counts.values())

    @property
    def compared(self) -> int:
        return sum(rule.compared for rule in self.rules)

    @property
    def line(self) -> str:
        """The one sentence a run ends with."""
        counts = self.counts
        unread = "exact" if not counts[Breach.UNREAD] else f"wrong {counts[Breach.UNREAD]}x"
        wrong = f", {counts[Breach.WRONG]} wrong" if counts[Breach.WRONG] else ""
        return (
            f"{counts[Breach.LOST]} lost, {counts[Breach.DUPLICATED]} duplicated, "
            f"{counts[Breach.REORDERED]} reordered, unread {unread}{wrong}"
        )


EXAMPLES = 3


def check(ledger: Ledger, truth: Truth) -> Verdict:
    """Walk every law over the whole run."""
    laws = (
        ("stored", "each acked message is in its chat once, where the ack said", _stored),
        (
            "unacked",
            "a refused message is nowhere, an unanswered one is there once or never",
            _loose,
        ),
        ("dense", "seq and ev of each chat have no hole", _dense),
        ("text", "every message reads as its last acked edit, or is a tombstone", _texts),
        (
            "order",
            "the messages of one device in one chat keep the order they were sent in",
            _sender,
        ),
        ("seen", "each device took in every event of its chats once and in order", _seen),
        ("shown", "what a device shows at the end is what the server holds", _shown),
        (
            "unread",
            "unread on every device and on the server is the count over the messages",
            _unread,
        ),
        ("members", "nothing reached a stranger, nothing is there that nobody wrote", _strangers),
    )
    counts = dict.fromkeys(Breach, 0)
    rules = []
    for name, says, law in laws:
        rule = Rule(name, says)
        for found in law(ledger, truth):
            rule.compared += 1
            if found is None:
                continue
            breach, example = found
            rule.broken += 1
            counts[breach] += 1
            if len(rule.examples) < EXAMPLES:
                rule.examples.append(f"{breach}: {example}")
        rules.append(rule)
    return Verdict(rules, counts)


def _places(truth: Truth) -> dict[int, list[tuple[str, Stored]]]:
    """Where each intention came to rest. The tag survives an edit; a tombstone has lost it."""
    places: dict[int, list[tuple[str, Stored]]] = defaultdict(list)
    for chat, held in truth.chats.items():
        for stored in held.messages:
            if not stored.deleted:
                places[event_of(stored.text)].append((chat, stored))
    return places


def _stored(ledger: Ledger, truth: Truth) -> Found:
    by_seq = {
        (chat, stored.seq): stored for chat, held in truth.chats.items() for stored in held.messages
    }
    places = _places(truth)
    for message in ledger.messages.values():
        if message.outcome is Outcome.ACKED:
            yield _at_its_seq(message, by_seq.get((message.chat, message.seq)))
            yield from _once(message, places[message.event])


def _at_its_seq(message: Message, stored: Stored | None) -> tuple[Breach, str] | None:
    name = f"event {message.event} acked as seq {message.seq} of chat {message.chat}"
    if stored is None:
        return Breach.LOST, f"{name} is not in the history"
    if stored.sender != message.account or stored.ev != message.ev:
        return Breach.WRONG, f"{name} ev {message.ev} is held as {stored}"
    if not stored.deleted and event_of(stored.text) != message.event:
        return Breach.LOST, f"{name}: that place holds {stored.text!r}"
    return None


def _once(message: Message, places: list[tuple[str, Stored]]) -> Found:
    for chat, stored in places:
        if (chat, stored.seq) != (message.chat, message.seq):
            yield (
                Breach.DUPLICATED,
                f"event {message.event} acked as seq {message.seq} of {message.chat} "
                f"is also seq {stored.seq} of {chat}",
            )


def _loose(ledger: Ledger, truth: Truth) -> Found:
    places = _places(truth)
    for message in ledger.messages.values():
        if message.outcome is Outcome.ACKED:
            continue
        found = places[message.event]
        if message.outcome is Outcome.REFUSED and found:
            yield Breach.WRONG, f"event {message.event} was refused and is stored: {found}"
        elif len(found) > 1:
            yield Breach.DUPLICATED, f"event {message.event} was not answered, stored {found}"
        else:
            yield None


def _dense(ledger: Ledger, truth: Truth) -> Found:
    watched: dict[str, int] = {}
    for (_, chat), opened in ledger.opened.items():
        watched[chat] = min(opened.ev, watched.get(chat, opened.ev))
    for chat, held in truth.chats.items():
        yield from _holes(chat, "seq", 1, [stored.seq for stored in held.messages], held.last_seq)
        start = watched.get(chat, held.last_ev) + 1
        yield from _holes(chat, "ev", start, [fact.ev for fact in held.facts], held.last_ev)


def _holes(chat: str, what: str, start: int, numbers: list[int], last: int) -> Found:
    """Every number from `start` to `last`, once."""
    for number, expected in zip(sorted(numbers), range(start, last + 1), strict=False):
        if number != expected:
            yield Breach.LOST, f"chat {chat}: {what} {expected} is missing"
            return
        yield None
    if len(numbers) != last - start + 1:
        yield Breach.LOST, f"chat {chat}: {len(numbers)} numbers of {what} up to {last}"


def _texts(ledger: Ledger, truth: Truth) -> Found:
    changes: dict[int, list[Change]] = defaultdict(list)
    for change in ledger.changes.values():
        changes[change.of].append(change)
    held = {
        (chat, stored.seq): stored for chat, one in truth.chats.items() for stored in one.messages
    }
    for message in ledger.messages.values():
        stored = held.get((message.chat, message.seq))
        if message.outcome is not Outcome.ACKED or stored is None:
            continue
        allowed = _final_texts(message, changes[message.event])
        now = None if stored.deleted else stored.text
        if now in allowed:
            yield None
        else:
            yield Breach.WRONG, f"event {message.event} reads {now!r}, not one of {allowed}"


def _final_texts(message: Message, changes: list[Change]) -> list[str | None]:
    """What the message may read now: an unanswered change is there or it is not."""
    acked = [change for change in changes if change.outcome is Outcome.ACKED]
    loose = [change.text or None for change in changes if change.outcome is Outcome.OPEN]
    if any(not change.text for change in acked):
        return [None]
    last = max(acked, key=lambda change: change.ev, default=None)
    return [message.text if last is None else last.text, *loose]


def _sender(ledger: Ledger, _: Truth) -> Found:
    last: dict[tuple[int, str], Message] = {}
    for message in ledger.messages.values():
        if message.outcome is not Outcome.ACKED:
            continue
        key = (message.device, message.chat)
        before = last.get(key)
        last[key] = message
        if before is not None and before.seq > message.seq:
            yield (
                Breach.REORDERED,
                f"device {message.device} sent event {before.event} before {message.event}; "
                f"they are seq {before.seq} and {message.seq} of chat {message.chat}",
            )
        else:
            yield None


def _seen(ledger: Ledger, truth: Truth) -> Found:
    taken: dict[tuple[int, str], list[Applied]] = defaultdict(list)
    for device, rows in ledger.applied.items():
        for row in rows:
            taken[device, row.chat].append(row)
    for (device, chat), opened in ledger.opened.items():
        held = truth.chats.get(chat)
        if held is None:
            yield Breach.LOST, f"chat {chat} of device {device} is gone"
            continue
        yield from _one_stream(f"device {device}, chat {chat}", opened, taken[device, chat], held)


def _one_stream(name: str, opened: Opened, rows: list[Applied], held: ChatTruth) -> Found:
    facts = {fact.ev: fact for fact in held.facts}
    seen: set[int] = set()
    highest = opened.ev
    for row in rows:
        fact = facts.get(row.ev)
        if row.ev in seen or row.ev <= opened.ev:
            yield Breach.DUPLICATED, f"{name} took ev {row.ev} again ({row.kind}, {row.via})"
        elif row.ev < highest:
            yield Breach.REORDERED, f"{name} took ev {row.ev} after {highest} ({row.via})"
        elif fact is None or (fact.kind, fact.seq) != (row.kind, row.seq):
            yield Breach.WRONG, f"{name} took {row}, the server holds {fact}"
        else:
            yield None
        seen.add(row.ev)
        highest = max(highest, row.ev)
    for ev in range(opened.ev + 1, held.last_ev + 1):
        if ev not in seen:
            yield Breach.LOST, f"{name} never took ev {ev} ({facts.get(ev)})"


def _shown(ledger: Ledger, truth: Truth) -> Found:
    for (device, chat), opened in ledger.opened.items():
        held = truth.chats.get(chat)
        shown = truth.devices.get(device, {}).get(chat)
        if held is None or shown is None:
            yield Breach.LOST, f"device {device} shows no chat {chat}"
            continue
        for stored in held.messages:
            if stored.seq <= opened.seq:
                continue
            now = None if stored.deleted else stored.text
            if stored.seq not in shown.texts:
                yield Breach.LOST, f"device {device} does not show seq {stored.seq} of chat {chat}"
            elif shown.texts[stored.seq] != now:
                yield (
                    Breach.WRONG,
                    f"device {device}, chat {chat}, seq {stored.seq}: shows "
                    f"{shown.texts[stored.seq]!r}, stored is {now!r}",
                )
            else:
                yield None


def _unread(ledger: Ledger, truth: Truth) -> Found:
    for (device, chat), opened in ledger.opened.items():
        account = ledger.accounts[device]
        held = truth.chats.get(chat)
        if held is None:
            continue
        allowed = _unread_of(ledger, account, chat, held, opened)
        shown = truth.devices.get(device, {}).get(chat)
        if shown is None or shown.unread not in allowed:
            now = None if shown is None else shown.unread
            yield Breach.UNREAD, f"device {device}, chat {chat}: shows {now}, counted {allowed}"
        else:
            yield None
        head = truth.heads.get(account, {}).get(chat)
        told = None if head is None else _count_above(head.read_seq, held)
        if (
            head is None
            or told not in allowed
            or (head.ev, head.seq) != (held.last_ev, held.last_seq)
        ):
            yield (
                Breach.UNREAD,
                f"account {account}, chat {chat}: server says {head} = {told}, counted {allowed}",
            )
        else:
            yield None


def _unread_of(
    ledger: Ledger, account: str, chat: str, held: ChatTruth, opened: Opened
) -> set[int]:
    """One number; two where the last cursor was never answered."""
    own = max((stored.seq for stored in held.messages if stored.sender == account), default=0)
    sure = max(own, ledger.cursors.get((account, chat), 0), opened.read_seq)
    perhaps = max(sure, ledger.cursors_open.get((account, chat), 0))
    return {_count_above(sure, held), _count_above(perhaps, held)}


def _count_above(read_seq: int, held: ChatTruth) -> int:
    return sum(1 for stored in held.messages if stored.seq > read_seq and not stored.deleted)


def _strangers(ledger: Ledger, truth: Truth) -> Found:
    for device, rows in ledger.applied.items():
        for row in rows:
            held = truth.chats.get(row.chat)
            if held is None or ledger.accounts[device] not in held.members:
                yield Breach.WRONG, f"device {device} is no member and took {row}"
            else:
                yield None
    for chat, held in truth.chats.items():
        for stored in held.messages:
            event = event_of(stored.text)
            known = event in ledger.messages or event in ledger.changes
            if stored.deleted or known:
                yield None
            else:
                yield Breach.WRONG, f"chat {chat} holds what nobody wrote: {stored}"

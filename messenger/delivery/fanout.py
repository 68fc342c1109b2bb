"""After the commit: encode once, and tell those whom it concerns.

A chat of up to 200 members: each event goes to the `user:` topic of every member. A big chat: once
to `chat:<id>`, for those who have it open, and a coalesced `chat.dirty` for those who do not.
Everything here is a fast path: what it drops or a crash takes is found again by the numbers.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

from messenger.bus.bus import Bus
from messenger.bus.streams import Streams
from messenger.delivery.audience import Audience
from messenger.delivery.members import Deliver, MemberLists
from messenger.delivery.recent import Recent
from messenger.delivery.soles import SoleDevices
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.log.events import Event
from messenger.log.repair import Untold
from messenger.log.sends import Written
from messenger.metrics import Metrics

BIG = 1  # bit of chat.flags: events go to `chat:<id>`
DIRTY_EVERY_S = 1.0  # per chat and node; nodes thin it out further for their sessions
FLUSH_S = 2.0  # of a leaving node's time
FLUSH_LOOK_S = 0.02
TOLD_AGAIN = 1_000  # small chats a round, ~20,000 appends: a tenth of what one Redis does

CROWD_CHECK = 32  # accounts between two looks at what the link holds
APPENDS_AT_ONCE = 64  # of one account in one script, so that no call holds Redis for long

WrittenUpdate = Callable[[Written], bytes]
OwnCopy = Callable[[bytes, Written], bytes]
"""From the update for everyone the one for the sender's own devices."""


class Dirty(msgspec.Struct, frozen=True, tag_field="t", tag="chat.dirty"):
    """The head of a big chat (or one repaired after a crash), for members not looking at it."""

    chat: str
    epoch: int
    ev: int
    seq: int
    at: int


class Delivery:
    """Who hears of what. Every method returns at once; nothing is encoded per recipient."""

    def __init__(
        self,
        bus: Bus,
        streams: Streams,
        members: MemberLists,
        soles: SoleDevices,
        updates: tuple[WrittenUpdate, OwnCopy],
        metrics: Metrics,
    ) -> None:
        self._bus = bus
        self._streams = streams
        self._members = members
        self._soles = soles
        self._written_update, self._own_copy = updates
        self._metrics = metrics
        self._dirty: dict[ChatId, Event] = {}
        self._told_at_once: set[ChatId] = set()  # since the last round
        self.audience: Callable[[ChatId], Audience] = lambda _chat: Audience.USUAL
        self._recent = Recent(time.monotonic)

    def messages_written(self, batch: Sequence[Written]) -> None:
        """The committer's `on_batch`: new messages, in the order of their chats' numbers.

        What one account gets of the batch leaves in one append.
        """
        last: dict[ChatId, Written] = {}
        told: dict[AccountId, list[bytes]] = {}
        self._metrics.messages_published.inc(len(batch))
        for written in batch:
            update = self._written_update(written)
            last[written.send.chat] = written
            if written.chat_flags & BIG:
                self._to_big(_event_of(written), update)
                if own := self._own(written, update):
                    told.setdefault(written.send.account, []).append(own)
            else:
                self._to_members(written, update, told)
        events = [_event_of(written) for written in last.values()]
        if not self._tell(told):
            for event in events:
                self._owe(event)
        self._wrote(events)

    def chat_event(self, event: Event, update: bytes) -> None:
        """An edit, deletion, pin, role...: `update` is its complete JSON."""
        self._route(event, update)
        self._wrote([event])

    def remind(self, event: Event) -> None:
        """Say where the chat stands: for an event whose first telling may have been lost.

        A repeat of a change that was made before changes nothing and has nothing to send; whoever
        missed the event sees by the head that one is missing.
        """
        self._wrote([event])
        update = dirty_update(event)
        if event.chat_flags & BIG:
            self._tell_head(event)
            return

        def deliver(accounts: Sequence[AccountId]) -> None:
            for account in accounts:
                self.ephemeral(account, update)

        self._members.with_members(event.chat, event.member_ver, deliver)

    def account_fact(self, account: AccountId, update: bytes) -> None:
        """Append to `user:<account>` where it is active. At most once; healed by `aev`."""
        self._metrics.published_user.inc()
        self._streams.append_user(account, update)

    def ephemeral(self, account: AccountId, update: bytes) -> None:
        """Tell the sessions of `account` that are connected now; never recovered."""
        self._metrics.published_eph.inc()
        self._bus.publish(f"eph:{account}", update)

    def ephemeral_chat(
        self, chat: ChatId, member_ver: int, update: bytes, except_account: AccountId
    ) -> None:
        """Tell the other members of a small chat; never recovered."""

        def deliver(accounts: Sequence[AccountId]) -> None:
            for account in accounts:
                if account != except_account:
                    self.ephemeral(account, update)

        self._members.with_members(chat, member_ver, deliver)

    def members_changed(self, chat: ChatId) -> None:
        self._members.forget(chat)

    def expel(self, chat: ChatId, account: AccountId) -> None:
        """End the account's subscriptions to `chat:<id>` and its heads on all nodes; in order."""
        order = b"x %d" % account
        self._bus.publish(f"chat:{chat}", order)
        self._bus.publish(f"dirty:{chat}", order)

    def close_device(self, account: AccountId, device: DeviceId, code: int) -> None:
        """Close the live sockets of a device, on whatever node; device 0: all of the account."""
        self._bus.publish(f"eph:{account}", b"x close %d %d" % (device, code))

    def repaired(self, untold: Untold) -> None:
        """A chat whose node died before it told anybody: say where it stands (at most twice)."""
        head = untold.head
        update = msgspec.json.encode(
            Dirty(str(untold.chat), epoch=head.epoch, ev=head.ev, seq=head.seq, at=head.at)
        )
        if head.flags & BIG:
            self._bus.publish(f"dirty:{untold.chat}", update)
        for account in untold.members:  # kept: the dead node's own clients are just reconnecting
            self.account_fact(account, update)

    def link_back(self) -> None:
        """The link to Redis was lost and is back: what was told last may have gone with it."""
        if self._bus.up:
            self._recent.link_back()

    @property
    def owes(self) -> bool:
        """Something that was committed is still to be told."""
        return bool(self._dirty or self._members.waiting or self._recent.due)

    async def run(self) -> None:
        """Send the coalesced heads of big chats, and what was lost with a link, until cancelled."""
        while True:
            await asyncio.sleep(DIRTY_EVERY_S)
            self._round()

    async def flush(self) -> None:
        """The node leaves: tell what waits, as far as `FLUSH_S` reaches; the rest is swept."""
        deadline = time.monotonic() + FLUSH_S
        self._round()
        while self.owes and time.monotonic() < deadline:
            await asyncio.sleep(FLUSH_LOOK_S)
            self._round()

    def _round(self) -> None:
        for event in self._recent.take_due(TOLD_AGAIN):
            self._tell_again(event)
            self._recent.note(event, sent=self._bus.up)  # it may go with the next link
        dirty, self._dirty = self._dirty, {}
        self._told_at_once.clear()
        for event in dirty.values():
            self._tell_head(event)

    def _tell_head(self, event: Event) -> None:
        self._metrics.published_dirty.inc()
        mark = self.audience(event.chat).value
        self._bus.publish(f"dirty:{event.chat}", mark + dirty_update(event))

    def _tell_again(self, event: Event) -> None:
        """Where the chat stands; whoever lacks something asks for it."""
        if event.chat_flags & BIG:
            self._dirty.setdefault(event.chat, event)
            return
        update = dirty_update(event)

        def deliver(accounts: Sequence[AccountId]) -> None:
            if not self._tell_each(accounts, update):
                self._recent.owe(event)

        if not self._members.with_members(event.chat, event.member_ver, deliver):
            self._recent.owe(event)

    def _tell(self, told: dict[AccountId, list[bytes]]) -> bool:
        """False: the link holds too much, and not everybody was told."""
        append = self._streams.append_user
        for number, (account, updates) in enumerate(told.items()):
            if number % CROWD_CHECK == 0 and self._bus.crowded:
                return False
            for at in range(0, len(updates), APPENDS_AT_ONCE):
                append(account, *updates[at : at + APPENDS_AT_ONCE])
        return True

    def _tell_each(
        self,
        accounts: Sequence[AccountId],
        update: bytes,
        sender: AccountId | None = None,
        own: bytes | None = None,
    ) -> bool:
        """The same update to each, `own` (if any) to the sender. False: the link holds too much,
        and nobody was told."""
        if self._bus.crowded:
            return False
        append = self._streams.append_user
        for account in accounts:
            copy = own if account == sender else update
            if copy is not None:
                append(account, copy)
        self._metrics.published_user.inc(len(accounts))
        return True

    def _owe(self, event: Event) -> None:
        """Say later where the chat stands: its devices ask for what they lack."""
        self._metrics.shed_fanout.inc()
        self._recent.owe(event)

    def _route(self, event: Event, update: bytes) -> None:
        if event.chat_flags & BIG:
            self._to_big(event, update)
            return

        def deliver(accounts: Sequence[AccountId]) -> None:
            if not self._tell_each(accounts, update):
                self._owe(event)

        self._with_members(event, deliver)

    def _to_big(self, event: Event, update: bytes) -> None:
        self._metrics.published_chat.inc()
        self._bus.publish(f"chat:{event.chat}", b"%d %b" % (event.ev, update))
        self._head_moved(event)

    def _to_members(
        self, written: Written, update: bytes, told: dict[AccountId, list[bytes]]
    ) -> None:
        """Into `told` where the members are known, else by itself once they are loaded."""
        sender, own = written.send.account, self._own(written, update)
        accounts = self._members.known(written.send.chat, written.member_ver)
        if accounts is None:
            self._to_members_later(written, update, own)
            return
        for account in accounts:
            copy = own if account == sender else update
            if copy is not None:
                told.setdefault(account, []).append(copy)
        self._metrics.published_user.inc(len(accounts))

    def _to_members_later(self, written: Written, update: bytes, own: bytes | None) -> None:
        event = _event_of(written)

        def deliver(accounts: Sequence[AccountId]) -> None:
            if not self._tell_each(accounts, update, written.send.account, own):
                self._owe(event)

        self._with_members(event, deliver)

    def _own(self, written: Written, update: bytes) -> bytes | None:
        """The sender's copy, with its `rid`; None where no other device would hear it."""
        send = written.send
        if send.device and self._soles.alone(send.account, send.device):
            return None
        return self._own_copy(update, written)

    def _with_members(self, event: Event, deliver: Deliver) -> None:
        if not self._members.with_members(event.chat, event.member_ver, deliver):
            self._owe(event)

    def _head_moved(self, event: Event) -> None:
        """Once a round; the first of a verified channel at once, the urgent lane."""
        if event.chat not in self._told_at_once and self.audience(event.chat) is Audience.URGENT:
            self._told_at_once.add(event.chat)
            self._tell_head(event)
            return
        last = self._dirty.get(event.chat)
        if last is None or (event.epoch, event.ev) > (last.epoch, last.ev):
            self._dirty[event.chat] = event

    def _wrote(self, events: Sequence[Event]) -> None:
        sent = self._bus.up
        for event in events:
            self._recent.note(event, sent=sent)


def _event_of(written: Written) -> Event:
    """The message as an event of its chat."""
    return Event(
        chat=written.send.chat,
        ev=written.ev,
        at=written.at,
        seq=written.seq,
        chat_kind=written.chat_kind,
        chat_flags=written.chat_flags,
        member_ver=written.member_ver,
        epoch=written.epoch,
    )


def dirty_update(event: Event) -> bytes:
    return msgspec.json.encode(
        Dirty(str(event.chat), epoch=event.epoch, ev=event.ev, seq=event.seq, at=event.at)
    )

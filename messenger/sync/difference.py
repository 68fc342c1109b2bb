"""What a device lacks, from the numbers it knows: facts of the account, then slices of chats.

Five reads, whatever the number of chats. Slices are dense; a device too far behind is told the
head and starts that chat anew from its newest page.
"""

from collections.abc import Mapping, Sequence

from msgspec import Raw, Struct

from messenger.feature import Caller, Refused
from messenger.ids import ChatId, parse_id
from messenger.log.events import CHANNEL, ChatFlag
from messenger.log.store import Head as ChatHead
from messenger.messages.feed import ChatFeed, Events
from messenger.metrics import Count, Labelled
from messenger.sync.account_events import AccountEvents
from messenger.sync.heads import HeadStore, Place
from messenger.sync.protocol import PAGE_BYTES, Difference, GetDifference, Head, Slice
from messenger.wire.codes import ErrorCode

BEHIND = 2_000  # events; beyond it the newest page is cheaper for everybody
ROOM = 256  # bytes of a slice around its events


class _Want(Struct, frozen=True, gc=False):
    """What the device knows of one chat."""

    chat: ChatId
    epoch: int
    ev: int


class Differences:
    """The rpc `sync.difference`."""

    def __init__(
        self,
        heads: HeadStore,
        feed: ChatFeed,
        facts: AccountEvents,
        slice_events: int,
        counts: Labelled[Count],
    ) -> None:
        self._heads = heads
        self._feed = feed
        self._facts = facts
        self._slice_events = slice_events
        self._counts = counts

    async def difference(self, request: GetDifference, caller: Caller) -> Difference:
        """Chats that the account is not in are left out: `acct` says why they are gone."""
        answer = await self._read(request, caller)
        self._counts.labels(_result(answer)).inc()
        return answer

    async def _read(self, request: GetDifference, caller: Caller) -> Difference:
        wanted = [_want(*one) for one in request.chats]
        facts = await self._facts.since(caller.account, request.aev, PAGE_BYTES - ROOM)
        if not wanted:
            return Difference(facts.aev, facts.updates, facts.too_long, [], [])
        chats = {want.chat for want in wanted}
        own = await self._heads.own_of(caller.account, chats)
        places = await self._heads.places(caller.account, chats)
        mine = [
            want
            for want in {want.chat: want for want in wanted}.values()
            if want.chat in own and want.chat in places
        ]
        limits = _limits(mine, places, self._slice_events, request.limit)
        events = await self._events(mine, places, limits)
        slices: list[Slice] = []
        left = [str(want.chat) for want in mine if want.chat not in limits]
        budget = PAGE_BYTES - facts.size
        for want in mine[: len(limits)]:
            head, read_seq = places[want.chat].head, own[want.chat]
            part, size = _slice(want, head, read_seq, events.get(want.chat, []), budget)
            if part is None:
                left.append(str(want.chat))
                continue
            slices.append(part)
            budget -= size
        return Difference(facts.aev, facts.updates, facts.too_long, slices, left)

    async def _events(
        self,
        wanted: Sequence[_Want],
        places: Mapping[ChatId, Place],
        limits: Mapping[ChatId, int],
    ) -> Mapping[ChatId, Events]:
        reads = [
            (want.chat, want.ev, limits[want.chat]) for want in wanted if limits.get(want.chat)
        ]
        floors = {chat: _floor(places[chat]) for chat, _, _ in reads}
        channels = {chat for chat, _, _ in reads if places[chat].head.kind == CHANNEL}
        return await self._feed.since_many(reads, floors, channels) if reads else {}


def _result(answer: Difference) -> str:
    if answer.acct_too_long or any(part.too_long for part in answer.chats):
        return "too_long"
    return "part" if answer.left else "whole"


def _floor(place: Place) -> int:
    """Messages up to this one are shown without content."""
    if place.head.flags & ChatFlag.DELETED:
        return place.head.seq
    return place.joined_seq if place.head.flags & ChatFlag.NO_HISTORY else 0


def is_too_long(want: _Want, head: ChatHead) -> bool:
    """Another life of the chat, a position from the future, one no longer kept, or too far."""
    if want.epoch != head.epoch or want.ev > head.ev:
        return True
    return want.ev < head.purged_ev or head.ev - want.ev > BEHIND


def _limits(
    wanted: Sequence[_Want], places: Mapping[ChatId, Place], slice_events: int, total: int
) -> dict[ChatId, int]:
    """Events to read per chat, `total` in all; the last chats are missing where that is spent."""
    limits: dict[ChatId, int] = {}
    for want in wanted:
        head = places[want.chat].head
        need = 0 if is_too_long(want, head) else min(head.ev - want.ev, slice_events)
        if need > total:
            if limits:
                break
            need = total
        limits[want.chat] = need
        total -= need
    return limits


def _slice(
    want: _Want, head: ChatHead, read_seq: int, events: Events, budget: int
) -> tuple[Slice | None, int]:
    """The chat's part of the answer and its size; None where not even one event fits.

    A page of its own holds at least one event, so that no device asks for the same for ever.
    """
    chat = str(want.chat)
    missing = want.ev < head.ev and not events
    if is_too_long(want, head) or missing:
        now = Head(head.ev, head.seq, read_seq)
        return Slice(chat=chat, epoch=head.epoch, too_long=True, head=now), ROOM
    size, taken = ROOM, 0
    for _, update in events:
        if size + len(update) + 1 > budget and (taken or budget < PAGE_BYTES):
            break
        size += len(update) + 1
        taken += 1
    if events and not taken:
        return None, 0
    to = want.ev + taken
    part = Slice(
        chat=chat,
        epoch=head.epoch,
        start=want.ev,
        to=to,
        events=[Raw(update) for _, update in events[:taken]],
        more=to < head.ev,
    )
    return part, size


def _want(chat: str, epoch: int, ev: int) -> _Want:
    number = parse_id(chat)
    if number is None:
        raise Refused(ErrorCode.INVALID, {"field": "chats", "why": "beyond 63 bits"})
    return _Want(ChatId(number), epoch, ev)

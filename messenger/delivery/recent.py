"""Chats that were written lately, for the moment when the link to Redis is lost.

What was on its way then is lost without a trace: the stream of an account holds no hole, so no
position shows it. Whoever published remembers the last few seconds, and says where those chats
stand once the link is back.
"""

from collections import OrderedDict
from collections.abc import Callable

from messenger.ids import ChatId
from messenger.log.events import Event

RECENT_S = 5.0  # a dead link is noticed after `redis_timeout`, 1 s
MOST = 50_000  # chats, ~10 MB; beyond it a chat heals by its next event or by sync.check


class Recent:
    """The newest event of each chat; the oldest are forgotten while all is well."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._events: OrderedDict[ChatId, tuple[float, Event]] = OrderedDict()
        self._due: OrderedDict[ChatId, Event] = OrderedDict()

    def note(self, event: Event, *, sent: bool) -> None:
        """An event was published; `sent` False: there was no link to send it on."""
        now = self._clock()
        _, last = self._events.get(event.chat, (0.0, event))
        newer = (event.epoch, event.ev) >= (last.epoch, last.ev)
        self._events[event.chat] = now, event if newer else last
        self._events.move_to_end(event.chat)
        if sent:
            self._forget_until(now - RECENT_S)
        if len(self._events) > MOST:
            self._events.popitem(last=False)

    def link_back(self) -> None:
        """All that is remembered may have been lost: it is due to be told again."""
        for _, event in self._events.values():
            self.owe(event)
        self._events.clear()

    def owe(self, event: Event) -> None:
        """It could not be told: where its chat stands is due to be."""
        last = self._due.get(event.chat, event)
        newer = (event.epoch, event.ev) >= (last.epoch, last.ev)
        self._due[event.chat] = event if newer else last
        if len(self._due) > MOST:
            self._due.popitem(last=False)

    @property
    def due(self) -> int:
        """How many chats are due to be told of."""
        return len(self._due)

    def take_due(self, most: int) -> list[Event]:
        """Some of what is due, at most so many: a pile at once would fill the new link."""
        return [self._due.popitem(last=False)[1] for _ in range(min(most, len(self._due)))]

    def _forget_until(self, time: float) -> None:
        while self._events:
            chat, (noted, _) = next(iter(self._events.items()))
            if noted >= time:
                return
            del self._events[chat]

"""What a node remembers of its last words, for the moment when its link to Redis is lost."""

from messenger.delivery.recent import MOST, RECENT_S, Recent
from messenger.ids import ChatId
from messenger.log.events import Event


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def an_event(chat: int, ev: int) -> Event:
    return Event(ChatId(chat), ev, 0, ev, 2, 0, 1)


def due(recent: Recent) -> list[tuple[int, int]]:
    recent.link_back()
    return [(event.chat, event.ev) for event in recent.take_due(MOST)]


def test_given_events_when_the_link_is_back_then_the_newest_of_each_chat_is_due_once() -> None:
    recent = Recent(Clock())
    for chat, ev in ((1, 1), (2, 7), (1, 3), (1, 2)):
        recent.note(an_event(chat, ev), sent=True)

    assert due(recent) == [(2, 7), (1, 3)]
    assert due(recent) == []


def test_given_a_link_that_is_well_when_time_passes_then_old_events_are_forgotten() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.note(an_event(1, 1), sent=True)
    clock.now += RECENT_S + 1
    recent.note(an_event(2, 1), sent=True)

    assert due(recent) == [(2, 1)]


def test_given_no_link_when_time_passes_then_nothing_is_forgotten() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.note(an_event(1, 1), sent=True)
    clock.now += RECENT_S + 1
    recent.note(an_event(2, 1), sent=False)

    assert due(recent) == [(1, 1), (2, 1)]


def test_given_more_chats_than_fit_when_there_is_no_link_then_the_oldest_fall_out() -> None:
    recent = Recent(Clock())
    for chat in range(MOST + 2):
        recent.note(an_event(chat + 1, 1), sent=False)

    assert due(recent)[0] == (3, 1)


def test_given_many_due_when_taken_then_only_a_part_at_a_time() -> None:
    recent = Recent(Clock())
    for chat in (1, 2, 3):
        recent.note(an_event(chat, 1), sent=False)
    recent.link_back()

    assert [len(recent.take_due(2)) for _ in range(3)] == [2, 1, 0]

"""The book of the demo's channel: what it finds when the platform does something wrong."""

from typing import Any

from loadgen.bench.driver import Session
from loadgen.demo.agency import Book
from loadgen.demo.readership import Readership


def push(ev: int, text: str = "") -> bytes:
    frame = '{"push":{"channel":"chat:5","pub":{"data":{"t":"x","text":"%s"},"offset":%d}}}'
    return (frame % (text, ev)).encode()


async def a_room() -> tuple[Readership, list[Session]]:
    room = Readership("5", 2)
    sessions = [Session(room.heard, tag) for tag in range(2)]
    return room, sessions


async def test_given_every_event_once_then_nothing_is_missing() -> None:
    room, sessions = await a_room()

    for session in sessions:
        for ev in (1, 2, 3):
            room.heard(session, push(ev))

    assert (room.missing(3), room.again, room.overtaken, room.taken) == (0, 0, 0, 6)


async def test_given_an_event_twice_one_left_out_and_one_overtaken_then_each_is_told_apart() -> (
    None
):
    room, [first, second] = await a_room()

    for ev in (1, 1, 2):
        room.heard(first, push(ev))
    for ev in (1, 3):
        room.heard(second, push(ev))

    assert (room.again, room.overtaken, room.missing(3)) == (1, 1, 1)


async def test_given_a_replay_then_it_counts_as_heard_and_only_what_was_whole_as_recovered() -> (
    None
):
    room, [reader, other] = await a_room()
    room.heard(reader, push(1))
    reply = (
        b'{"id":3,"subscribe":{"recoverable":true,"epoch":"e","recovered":%b,"publications":'
        b'[{"data":{"t":"x"},"offset":2},{"data":{"t":"x"},"offset":3}]}}'
    )

    room.heard(reader, reply % b"true")
    room.heard(other, b'{"id":3,"subscribe":{"epoch":"f"}}')

    assert (room.missing(3), room.replayed, room.recoveries, room.again) == (3, 2, 1, 0)


def test_given_one_wrong_number_then_the_book_is_not_clean_and_its_line_says_so() -> None:
    figures: dict[str, Any] = dict.fromkeys(
        ("lost", "duplicated", "reordered", "wrong_views", "wrong_reactions"), 0
    )
    rest = {"readers": 9, "posts": 2, "edits": 1, "reactions": 3, "cut": 1, "deliveries": 20}

    def book(**changed: int) -> Book:
        return Book(**rest, **{**figures, **changed}, views=12, last_reader_ms=1.0)

    assert book().clean
    assert "0 lost" in book().line
    assert "reactions exact (3)" in book().line
    assert [book(**{name: 1}).clean for name in figures] == [False] * len(figures)
    assert "views wrong on 1 posts" in book(wrong_views=1).line

"""A room's positions: every subscription hears each publication once, in order."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from messenger.gateway.room import Heard, Room, Subscription, Verdict
from messenger.sections import NamespaceOptions
from messenger.wire.codec import JSON, PROTOBUF
from messenger.wire.messages import Reply

EPOCH = "e1"
OPTIONS = NamespaceOptions(history_size=10, history_ttl_s=10, force_recovery=True)


class Outlet:
    """A connection that keeps what it is given."""

    def __init__(self) -> None:
        self.lagging = False
        self.frames: list[bytes] = []
        self.bulk = 0

    def write(self, frame: bytes) -> None:
        self.frames.append(frame)

    def write_bulk(self, frame: bytes) -> None:
        self.bulk += 1
        self.frames.append(frame)

    @property
    def offsets(self) -> list[int]:
        return [pub_of(frame)["offset"] for frame in self.frames]


def pub_of(frame: bytes) -> dict:
    payload = frame[4:] if frame[1] == 126 else frame[2:]
    return msgspec.json.decode(payload)["push"]["pub"]


def a_room(source: str = "stream") -> Room:
    options = msgspec.structs.replace(OPTIONS, source=source)
    return Room("room:1", options, 7)


def a_subscription(room: Room, *, binary: bool = False) -> tuple[Subscription, Outlet]:
    outlet = Outlet()
    subscription = Subscription(None, outlet, room, binary=binary, server_side=False)
    room.catching[subscription] = None
    return subscription, outlet


def live(room: Room, offset: int = 0) -> Outlet:
    subscription, outlet = a_subscription(room)
    subscription.offset = offset
    room.go_live(subscription)
    return outlet


def hear(room: Room, offset: int) -> Verdict:
    heard = Heard(offset, b"%d" % offset)
    verdict = room.judge(EPOCH, heard)
    if verdict is Verdict.DELIVER:
        room.deliver(heard)
        for waiting in room.due():
            room.deliver(waiting)
    return verdict


def test_given_a_position_when_the_next_comes_then_it_is_delivered_and_a_repeat_is_not() -> None:
    room = a_room()
    room.open(EPOCH, 4)
    outlet = live(room, 4)

    verdicts = [hear(room, 5), hear(room, 5), hear(room, 4)]

    assert verdicts == [Verdict.DELIVER, Verdict.DROP, Verdict.DROP]
    assert outlet.offsets == [5]


def test_given_a_hole_when_the_missing_one_comes_then_both_go_out_in_order() -> None:
    room = a_room()
    room.open(EPOCH, 0)
    outlet = live(room)

    assert hear(room, 2) is Verdict.HOLD
    assert outlet.frames == []
    hear(room, 1)

    assert outlet.offsets == [1, 2]


def test_given_another_epoch_when_it_is_heard_then_it_is_held_for_the_store_to_explain() -> None:
    room = a_room()
    room.open(EPOCH, 3)
    live(room, 3)

    assert room.judge("other", Heard(4, b"1")) is Verdict.HOLD


def test_given_a_room_not_yet_opened_when_publications_come_then_open_returns_them() -> None:
    room = a_room()

    assert hear(room, 9) is Verdict.DROP

    assert [heard.offset for heard in room.open(EPOCH, 8)] == [9]


def test_given_a_session_that_read_ahead_of_the_bus_when_those_come_then_it_skips_them() -> None:
    room = a_room()
    room.open(EPOCH, 1)
    subscription, outlet = a_subscription(room)
    subscription.offset = 3
    room.go_live(subscription)

    for offset in (2, 3, 4):
        hear(room, offset)

    assert outlet.offsets == [4]
    assert subscription in room.live


def test_given_ephemeral_updates_when_a_session_lags_then_it_misses_them() -> None:
    room = a_room("eph")
    room.open("", 0)
    outlet = live(room)
    outlet.lagging = True

    room.deliver(Heard(0, b"{}"))

    assert outlet.frames == []


def test_given_many_sessions_when_one_publication_comes_then_they_share_one_bulk_frame() -> None:
    room = a_room()
    room.open(EPOCH, 0)
    outlets = [live(room) for _ in range(600)]

    hear(room, 1)

    assert all(outlet.bulk == 1 for outlet in outlets)
    assert len({id(outlet.frames[0]) for outlet in outlets}) == 1


def test_given_both_encodings_when_one_publication_comes_then_each_gets_its_own_frame() -> None:
    room = a_room()
    room.open(EPOCH, 0)
    text = live(room)
    subscription, binary = a_subscription(room, binary=True)
    room.go_live(subscription)

    hear(room, 1)

    assert pub_of(text.frames[0]) == {"data": 1, "offset": 1}
    assert binary.frames[0][0] == 0x82
    [reply] = PROTOBUF.decode_replies(binary.frames[0][2:], 1)
    assert isinstance(reply, Reply)
    assert reply.push is not None
    assert reply.push.pub is not None
    assert reply.push.pub.offset == 1


def test_given_compaction_when_a_publication_comes_then_it_carries_the_number() -> None:
    room = a_room()
    frame = room.frame(1, Heard(1, b"{}"))

    assert JSON.decode_replies(frame[2:], 1)[0].push.id == 7  # type: ignore[union-attr]  # a push


@given(
    arrivals=st.permutations(list(range(1, 13))),
    joins=st.lists(st.integers(0, 11), max_size=4),
    repeats=st.lists(st.integers(1, 12), max_size=4),
)
def test_given_any_order_of_arrival_when_all_came_then_everyone_heard_each_once_in_order(
    arrivals: list[int], joins: list[int], repeats: list[int]
) -> None:
    room = a_room()
    room.open(EPOCH, 0)
    outlets = [(0, live(room))]

    for step, offset in enumerate([*arrivals, *repeats]):
        if step in joins:
            outlets.append((room.offset, live(room, room.offset)))
        hear(room, offset)

    for since, outlet in outlets:
        assert outlet.offsets == list(range(since + 1, 13))

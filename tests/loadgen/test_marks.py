"""Numbered messages: what a reader must have seen, and what it must not."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from loadgen.bench.marks import BODY_BYTES, Order, SendFrame, mark_of, text_of

numbers = st.integers(0, 10**12 - 1)


@given(id=st.integers(1, 2**31), random_id=st.integers(1, 2**62), number=numbers)
def test_given_a_send_frame_when_decoded_then_it_is_the_rpc_of_that_number(
    id: int, random_id: int, number: int
) -> None:
    frame = SendFrame("7301").of(id, random_id, number)

    command = msgspec.json.decode(frame)
    data = command["rpc"]["data"]
    assert command["id"] == id
    assert command["rpc"]["method"] == "messages.send"
    assert (data["chat"], data["random_id"]) == ("7301", str(random_id))
    assert data["text"] == text_of(number)
    assert len(data["text"]) == BODY_BYTES
    assert mark_of(frame) == number


def test_given_another_frame_when_read_then_it_has_no_mark() -> None:
    assert mark_of(b'{"id":4,"rpc":{"data":{"seq":1,"ev":1,"at":5}}}') == -1


@given(count=st.integers(1, 40))
def test_given_all_in_order_when_seen_then_nothing_is_odd(count: int) -> None:
    order = Order(2)

    assert all(order.seen(1, number) for number in range(count))

    assert (order.duplicated, order.reordered) == (0, 0)
    assert order.missing(1, count) == 0
    assert order.missing(0, count) == count


@given(shuffled=st.permutations(list(range(9))))
def test_given_any_order_when_seen_then_none_is_missing_and_disorder_is_counted(shuffled) -> None:
    order = Order(1)

    assert all(order.seen(0, number) for number in shuffled)

    assert order.missing(0, 9) == 0
    assert order.duplicated == 0
    assert (order.reordered > 0) == (shuffled != sorted(shuffled))


@given(doubled=st.integers(0, 8), lost=st.integers(0, 8))
def test_given_one_doubled_and_one_lost_when_seen_then_both_are_counted(
    doubled: int, lost: int
) -> None:
    order = Order(1)
    stream = [number for number in range(9) if number != lost]

    for number in stream:
        order.seen(0, number)
    again = order.seen(0, doubled) if doubled != lost else False

    assert not again
    assert order.duplicated == (doubled != lost)
    assert order.missing(0, 9) == 1

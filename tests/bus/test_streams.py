"""Hot windows and generic topics against a real Redis in cluster mode."""

import asyncio
from functools import partial

from messenger.bus.bus import Bus
from messenger.bus.link import BusDown
from messenger.bus.streams import Position
from tests.bus.conftest import Node


async def test_given_an_inactive_account_when_an_update_is_appended_then_nothing_is_kept(
    node: Node, account: int
) -> None:
    answers: asyncio.Queue[object] = asyncio.Queue()

    node.streams.append_user(account, b"{}", done=answers.put_nowait)

    assert await answers.get() is None
    assert (await node.streams.attach_user(account)).offset == 0


async def test_given_a_listening_node_when_another_appends_then_offsets_come_in_order(
    node: Node, other: Node, account: int
) -> None:
    await node.listens(f"user:{account}")
    start = await node.streams.attach_user(account)

    for number in range(50):
        other.streams.append_user(account, b'{"n":%d}' % number)

    expected = [b'%b %d {"n":%d}' % (start.epoch.encode(), n + 1, n) for n in range(50)]
    assert await node.ear.payloads(50) == expected


async def test_given_two_nodes_that_append_when_heard_then_delivery_follows_the_offsets(
    node: Node, other: Node, account: int
) -> None:
    await node.listens(f"user:{account}")
    await node.streams.attach_user(account)

    for _ in range(20):
        for _ in range(10):
            node.streams.append_user(account, b"{}")
            other.streams.append_user(account, b"{}")
        await asyncio.sleep(0)

    heard = [int(payload.split()[1]) for payload in await node.ear.payloads(400)]
    assert heard == list(range(1, 401))


async def test_given_appends_when_read_since_then_the_rest_comes_with_its_offsets(
    node: Node, account: int
) -> None:
    await node.streams.attach_user(account)
    for number in range(5):
        node.streams.append_user(account, b'"%d"' % number)

    assert await node.streams.since(f"user:{account}", 3, 10) == [(4, b'"3"'), (5, b'"4"')]
    assert await node.streams.since(f"user:{account}", 0, 2) == [(1, b'"0"'), (2, b'"1"')]


async def test_given_10000_pipelined_appends_when_done_then_every_answer_came_in_order(
    node: Node, account: int
) -> None:
    await node.streams.attach_user(account)
    offsets: list[int] = []
    done = asyncio.Event()

    def answered(position: object) -> None:
        assert isinstance(position, Position)
        offsets.append(position.offset)
        if len(offsets) == 10_000:
            done.set()

    for _ in range(10_000):
        node.streams.append_user(account, b'{"t":"message.new"}', done=answered)
    async with asyncio.timeout(10):
        await done.wait()

    assert offsets == list(range(1, 10_001))
    kept = await node.streams.since(f"user:{account}", 0, 1_000)
    assert 300 <= len(kept) <= 400
    assert kept[-1][0] == 10_000


async def test_given_a_window_that_expired_when_attached_again_then_the_epoch_is_another(
    node: Node, account: int
) -> None:
    first = await node.streams.attach_user(account)
    node.streams.append_user(account, b"{}")
    await node.bus.ask("DEL", f"user:{{{account}}}:m")

    assert await node.streams.attach_user(account) != Position(first.epoch, 1)
    assert (await node.streams.attach_user(account)).offset == 0


async def test_given_metadata_of_an_earlier_run_when_appended_then_a_new_life_begins(
    node: Node, account: int
) -> None:
    first = await node.streams.attach_user(account)
    node.streams.append_user(account, b"{}")
    await node.bus.ask("HSET", f"user:{{{account}}}:m", "r", "earlier!")
    answers: asyncio.Queue[object] = asyncio.Queue()

    node.streams.append_user(account, b"{}", done=answers.put_nowait)

    position = await answers.get()
    assert isinstance(position, Position)
    assert position.epoch != first.epoch
    assert position.offset == 1


async def test_given_a_topic_with_history_when_published_then_positions_and_history_agree(
    node: Node, other: Node, account: int
) -> None:
    topic = f"room:{account}"
    await node.listens(topic)
    begin = await node.streams.topic_position(topic, 90)

    for number in range(5):
        await other.streams.publish_topic(topic, b'{"data":%d}' % number, size=3, ttl=60)

    epoch = begin.epoch.encode()
    assert begin.offset == 0
    assert await node.ear.payloads(2) == [
        b'p %b 1 {"data":0}' % epoch,
        b'p %b 2 {"data":1}' % epoch,
    ]
    top = Position(begin.epoch, 5)
    last = [(3, b'{"data":2}'), (4, b'{"data":3}'), (5, b'{"data":4}')]
    history = partial(node.streams.topic_history, meta_ttl=90)
    assert await history(topic, None, 300) == (last, top)
    assert await history(topic, 3, 1) == (last[1:2], top)
    assert await history(topic, None, 2, reverse=True) == ([last[2], last[1]], top)
    assert await history(topic, 5, 300, reverse=True) == ([last[1], last[0]], top)
    assert await history(topic, None, 0) == ([], top)
    assert await node.streams.topic_position(topic, 90) == top


async def test_given_a_stream_that_expired_when_published_then_its_numbers_go_on(
    node: Node, account: int
) -> None:
    topic = f"room:{account}"
    first = await node.streams.publish_topic(topic, b"1", size=3, ttl=60)
    await node.bus.ask("DEL", f"topic:{{{topic}}}")

    assert await node.streams.publish_topic(topic, b"2", 3, 60) == Position(first.epoch, 2)
    assert await node.streams.topic_history(topic, None, 300, meta_ttl=90) == (
        [(2, b"2")],
        Position(first.epoch, 2),
    )


async def test_given_a_topic_only_read_when_its_life_began_then_it_lasts_as_its_reader_says(
    node: Node, account: int
) -> None:
    topic, meta = f"room:{account}", f"topic:{{room:{account}}}:m"
    await node.streams.topic_position(topic, 90)
    assert 80 < await node.bus.ask("TTL", meta) <= 90

    await node.streams.publish_topic(topic, b"1", size=3, ttl=600)
    await node.streams.topic_position(topic, 90)

    assert await node.bus.ask("TTL", meta) > 600  # never before its stream


async def test_given_a_topic_without_history_when_published_then_it_has_no_position(
    node: Node, account: int
) -> None:
    topic = f"live:{account}"
    await node.listens(topic)

    assert await node.streams.publish_topic(topic, b"{}") == Position("", 0)
    node.streams.publish_join(topic, b'{"client":"a"}')
    node.streams.publish_leave(topic, b'{"client":"a"}')

    expected = [b"p - 0 {}", b'j {"client":"a"}', b'l {"client":"a"}']
    assert await node.ear.payloads(3) == expected


async def test_given_an_idempotency_key_when_published_again_then_the_answer_is_the_first(
    node: Node, account: int
) -> None:
    topic = f"room:{account}"
    await node.listens(topic)
    for size in (10, 0):
        first = await node.streams.publish_topic(topic, b"1", size, 60, idempotency=f"k{size}")
        again = await node.streams.publish_topic(topic, b"1", size, 60, idempotency=f"k{size}")
        assert first == again

    await node.streams.publish_topic(topic, b"2", 10, 60)
    heard = [payload.split()[1:] for payload in await node.ear.payloads(3)]
    epoch = heard[0][0]
    assert heard == [[epoch, b"1", b"1"], [b"-", b"0", b"1"], [epoch, b"2", b"2"]]


async def test_given_presence_when_a_lease_ends_then_the_client_is_gone(
    node: Node, account: int
) -> None:
    topic = f"room:{account}"
    node.streams.presence_renew(topic, "a", b'{"user":"1"}')
    node.streams.presence_renew(topic, "b", b'{"user":"2 3"}')
    node.streams.presence_renew(topic, "a", b'{"user":"1"}')
    await node.bus.ask("HSET", f"pres:{{{topic}}}", "c", "12 {}")

    present = {"a": b'{"user":"1"}', "b": b'{"user":"2 3"}'}
    assert await node.streams.presence_get(topic) == present
    node.streams.presence_remove(topic, "a")
    assert list(await node.streams.presence_get(topic)) == ["b"]
    assert await node.bus.ask("HLEN", f"pres:{{{topic}}}") == 1
    assert await node.bus.ask("TTL", f"pres:{{{topic}}}") > 50


async def test_given_several_updates_when_appended_at_once_then_they_are_one_publication(
    node: Node, account: int
) -> None:
    await node.listens(f"user:{account}")
    before = await node.streams.attach_user(account)
    answers: asyncio.Queue[object] = asyncio.Queue()

    node.streams.append_user(account, b"1", b"22", b"333", done=answers.put_nowait)

    assert await answers.get() == Position(before.epoch, 3)
    assert await node.ear.next() == (f"user:{account}", b"%b 1 1\n22\n333" % before.epoch.encode())
    kept = await node.streams.since(f"user:{account}", 0, 10)
    assert kept == [(1, b"1"), (2, b"22"), (3, b"333")]


async def test_given_an_append_when_it_is_the_first_then_the_stream_outlives_its_meta(
    node: Node, account: int
) -> None:
    await node.streams.attach_user(account)
    answers: asyncio.Queue[object] = asyncio.Queue()

    node.streams.append_user(account, b"{}", done=answers.put_nowait)

    await answers.get()
    meta = await node.bus.ask("TTL", f"user:{{{account}}}:m")
    assert await node.bus.ask("TTL", f"user:{{{account}}}") > meta > 0


async def test_given_a_node_that_left_when_asked_then_the_bus_is_down(node: Node) -> None:
    await node.bus.close()
    answers: asyncio.Queue[object] = asyncio.Queue()

    node.bus.call("GET", "a", done=answers.put_nowait)

    assert isinstance(await answers.get(), BusDown)
    assert isinstance(node.bus, Bus)
    assert not node.bus.up

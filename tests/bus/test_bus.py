"""Links: subscriptions, bounds, and what happens when Redis dies, freezes or forgets."""

import asyncio

import hiredis
import pytest

from messenger.bus.bus import Bus
from messenger.bus.keys import slot_of, topic_key
from messenger.bus.link import BusDown
from messenger.bus.scripts import ALL, Script
from messenger.bus.shard import BusRefused
from messenger.metrics import Metrics
from messenger.settings import Settings
from tests.bus.conftest import NewRedis, Node, running
from tests.bus.redis_server import RedisServer, free_port


async def test_given_a_topic_left_when_published_then_nothing_is_heard(
    node: Node, account: int
) -> None:
    left, kept = f"eph:{account}", f"chat:{account}"
    await node.listens(left)
    await node.listens(kept)

    node.bus.unlisten(left)
    node.bus.publish(left, b"1")
    node.bus.publish(kept, b"2")

    assert await node.ear.next() == (kept, b"2")


async def test_given_a_topic_left_and_entered_again_when_confirmed_then_messages_arrive(
    node: Node, account: int
) -> None:
    topic = f"eph:{account}"
    for _ in range(3):
        node.bus.listen(topic)
        node.bus.unlisten(topic)
    await node.listens(topic)
    await node.bus.listening(topic)

    node.bus.publish(topic, b"1")

    assert await node.ear.next() == (topic, b"1")


async def test_given_a_waiter_when_the_topic_is_left_then_the_wait_ends(
    node: Node, account: int
) -> None:
    topic = f"eph:{account}"
    node.bus.listen(topic)
    waiting = asyncio.gather(node.bus.listening(topic), return_exceptions=True)
    await asyncio.sleep(0)

    node.bus.unlisten(topic)

    assert isinstance((await waiting)[0], BusDown)
    with pytest.raises(BusDown, match="not listened to"):
        await node.bus.listening(topic)  # left before the wait began


async def test_given_topics_with_braces_when_published_then_each_keeps_its_keys_together(
    node: Node,
) -> None:
    for topic in ("room:a}b", "room:{x}", "}", "room:%7D", "room:}"):
        await node.listens(topic)
        await node.streams.publish_topic(topic, b"1", 5, 60, idempotency="k")
        assert (await node.ear.next())[0] == topic
    assert len({topic_key(topic) for topic in ("room:}", "room:%7D", "room:%257D")}) == 3


async def test_given_a_command_that_redis_refuses_when_asked_then_its_error_is_raised(
    node: Node, account: int
) -> None:
    await node.bus.ask("SET", f"user:{{{account}}}", "text")
    with pytest.raises(hiredis.ReplyError, match="WRONGTYPE"):
        await node.bus.ask("XLEN", f"user:{{{account}}}")
    assert node.metrics.bus_errors.labels("WRONGTYPE").value == 1


async def test_given_a_callback_that_raises_when_answered_then_the_link_lives_on(
    node: Node,
) -> None:
    def breaks(_reply: object) -> None:
        raise ValueError

    node.bus.call("GET", "a", done=breaks)

    assert await node.bus.ask("ECHO", "hello") == b"hello"
    assert not node.ear.lost.is_set()


async def test_given_scripts_flushed_when_run_then_the_text_is_sent_again(
    node: Node, account: int
) -> None:
    await node.bus.ask("SCRIPT", "FLUSH", key="")
    assert (await node.streams.attach_user(account)).offset == 0


async def test_given_keys_of_two_slots_when_asked_at_once_then_redis_refuses(node: Node) -> None:
    with pytest.raises(hiredis.ReplyError, match="CROSSSLOT"):
        await node.bus.ask("MGET", "{a}", "{b}")


async def test_given_a_script_that_publishes_elsewhere_when_run_then_cluster_mode_refuses(
    redis: RedisServer,
) -> None:
    stray = Script("stray", "return redis.call('GET','{other}')")
    settings = Settings()
    bus = Bus(redis.url, lambda _t, _p: None, settings=settings, metrics=Metrics(), scripts=[stray])
    await bus.start(wait_s=5)
    with pytest.raises(hiredis.ReplyError, match="same slot"):
        await bus.ask("EVALSHA", stray.sha, 1, "{mine}")
    await bus.close()


def test_given_every_script_when_read_then_it_declares_lua() -> None:
    assert all(script.text.startswith("#!lua\n") for script in ALL)


def test_given_known_keys_when_hashed_then_slots_are_those_of_redis() -> None:
    assert slot_of("123456789") == 12739
    assert slot_of("user:{71}:m") == slot_of(b"user:{71}") == slot_of("71")
    assert slot_of("{}a") != slot_of("{}b")


async def test_given_redis_killed_when_it_is_back_then_subscriptions_return_and_epochs_change(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(appendfsync="always")
    async with running(server.url) as node:
        await node.listens("user:1")
        before = await node.streams.attach_user(1)
        node.streams.append_user(1, b"{}")
        await node.ear.next()

        await server.kill()
        async with asyncio.timeout(5):
            await node.ear.lost.wait()
        with pytest.raises(BusDown):
            await node.bus.ask("PING", key="")
        node.bus.listen("user:2")
        await server.start()
        async with asyncio.timeout(8):
            await node.ear.back.wait()

        after = await node.streams.attach_user(1)
        assert after.epoch != before.epoch
        assert after.offset == 0
        await node.bus.listening("user:1")
        await node.bus.listening("user:2")
        node.streams.append_user(1, b"again")
        assert await node.ear.next() == ("user:1", b"%b 1 again" % after.epoch.encode())
        assert node.metrics.bus_reconnects.value == 1


async def test_given_redis_frozen_when_the_time_out_passes_then_callers_get_bus_down(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(cluster_enabled="no")
    async with running(server.url, redis_timeout=0.4) as node:
        await node.listens("eph:1")
        answers: asyncio.Queue[object] = asyncio.Queue()

        server.freeze()
        node.bus.call("GET", "a", done=answers.put_nowait)
        with pytest.raises(BusDown):
            await node.bus.ask("GET", "a")
        async with asyncio.timeout(5):
            assert isinstance(await answers.get(), BusDown)
            await node.ear.lost.wait()
            server.thaw()
            await node.ear.back.wait()
        await node.bus.listening("eph:1")
        node.bus.publish("eph:1", b"1")
        assert await node.ear.next() == ("eph:1", b"1")


async def test_given_a_fan_out_over_the_bound_when_redis_reads_then_every_append_is_answered(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(cluster_enabled="no")
    async with running(server.url, bus_queue=1_000_000, redis_timeout=5) as node:
        answers: asyncio.Queue[object] = asyncio.Queue()
        update = b'"%b"' % (b"x" * 16_384)

        for account in range(300):
            node.streams.append_user(account, update, done=answers.put_nowait)

        async with asyncio.timeout(5):
            replies = [await answers.get() for _ in range(300)]
        assert replies == [None] * 300  # nobody is active
        assert not node.ear.lost.is_set()


async def test_given_a_full_queue_when_redis_reads_nothing_then_the_link_is_opened_anew(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(cluster_enabled="no")
    async with running(server.url, bus_queue=1_000_000, redis_timeout=5) as node:
        answers: asyncio.Queue[object] = asyncio.Queue()

        server.freeze()
        sent = 0
        while not node.ear.lost.is_set():
            if node.bus.shards[0].queued_bytes <= 1_000_000:
                node.bus.call("ECHO", b"x" * 400_000, done=answers.put_nowait)
                sent += 1
            await asyncio.sleep(0)
        server.thaw()

        async with asyncio.timeout(5):
            replies = [await answers.get() for _ in range(sent)]
            await node.ear.back.wait()
        assert all(isinstance(reply, BusDown) for reply in replies)
        assert await node.bus.ask("ECHO", "hello") == b"hello"


async def test_given_redis_closes_the_subscriber_when_back_then_both_links_are_new(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(cluster_enabled="no")
    async with running(server.url) as node:
        await node.listens("eph:1")
        await server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        async with asyncio.timeout(5):
            await node.ear.back.wait()
        node.bus.publish("eph:1", b"1")
        assert await node.ear.next() == ("eph:1", b"1")


async def test_given_more_topics_than_a_link_holds_when_the_link_is_lost_then_all_return(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(cluster_enabled="no")
    async with running(server.url, bus_queue=500_000, redis_timeout=5) as node:
        topics = [f"room:{number:04000}" for number in range(5_000)]
        for number, topic in enumerate(topics, 1):
            node.bus.listen(topic)
            if number % 500 == 0:
                await node.bus.listening(topic)

        await server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        async with asyncio.timeout(8):
            await node.ear.back.wait()

        assert node.metrics.bus_reconnects.value == 1
        for topic in (topics[0], topics[1_500], topics[-1]):
            await node.bus.listening(topic)
            node.bus.publish(topic, b"1")
            assert await node.ear.next() == (topic, b"1")


async def test_given_topics_left_and_joined_when_the_links_are_opened_then_the_last_word_counts(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(cluster_enabled="no")
    async with running(server.url, redis_timeout=5) as node:
        topics = [f"room:{number}" for number in range(3_000)]
        for topic in topics:
            node.bus.listen(topic)
        for topic in topics:
            await node.bus.listening(topic)
        await server.ask("CLIENT", "KILL", "TYPE", "pubsub")
        async with asyncio.timeout(8):
            await node.ear.lost.wait()
            # In the middle of the slices: the first are confirmed, the last not yet sent.
            while not 0 < len(node.bus.shards[0].unconfirmed) <= 1_000:  # noqa: ASYNC110
                await asyncio.sleep(0)  # nobody tells of a slice
            node.bus.unlisten(topics[-1])
            node.bus.listen("room:new")
            await node.ear.back.wait()

        await node.bus.listening("room:new")
        keys = [topic_key(topic) for topic in (topics[-1], topics[0], "room:new")]
        counts = await server.ask("PUBSUB", "SHARDNUMSUB", *keys)
        assert isinstance(counts, list)
        assert counts[1::2] == [0, 1, 1]


async def test_given_a_password_when_the_url_has_another_then_the_start_is_refused(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(cluster_enabled="no")
    await server.ask("CONFIG", "SET", "requirepass", "right")
    right = f"redis://:right@127.0.0.1:{server.port}/0"
    async with running(right) as node:
        assert await node.bus.ask("ECHO", "a") == b"a"

    for wrong in (f"redis://:wrong@127.0.0.1:{server.port}", server.url):
        with pytest.raises(BusRefused, match="REDIS_URL"):
            await _started(wrong)


async def test_given_a_redis_that_may_evict_when_started_then_it_is_refused(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(cluster_enabled="no", maxmemory_policy="allkeys-lru")
    with pytest.raises(BusRefused, match="noeviction"):
        await _started(server.url)


async def test_given_no_redis_when_started_then_the_bus_is_down_in_one_line() -> None:
    with pytest.raises(BusDown, match="REDIS_URL: cannot connect"):
        await _started(f"redis://127.0.0.1:{free_port()}")
    with pytest.raises(BusRefused, match="database 0"):
        await _started("redis://127.0.0.1/3")


async def _started(url: str) -> None:
    bus = Bus(url, lambda _t, _p: None, settings=Settings(), metrics=Metrics())
    await bus.start(wait_s=0)

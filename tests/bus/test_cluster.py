"""A Redis Cluster: every key on its own shard, slots that move, nodes that die or refuse."""

import asyncio

import pytest

from messenger.bus.bus import Bus
from messenger.bus.keys import slot_of, topic_key
from messenger.bus.link import BusDown
from messenger.bus.shard import Address, BusRefused
from messenger.bus.streams import Position
from messenger.bus.topology import read_slots
from messenger.metrics import Metrics
from messenger.settings import Settings
from tests.bus.conftest import NewRedis, Node, running
from tests.bus.redis_server import RedisServer, ask, free_port


async def test_given_three_shards_when_used_then_each_key_goes_to_its_own(
    three_shards: str, account: int
) -> None:
    async with running(three_shards) as node, running(three_shards) as other:
        accounts = range(account, account + 30)
        for one in accounts:
            await node.listens(f"user:{one}")
            assert (await other.streams.attach_user(one)).offset == 0
        for one in accounts:
            other.streams.append_user(one, b"{}")
        heard = {(await node.ear.next())[0] for _ in accounts}
        assert heard == {f"user:{one}" for one in accounts}
        assert len({node.bus.shard_of(topic_key(f"user:{one}")) for one in accounts}) == 3
        first = await other.streams.publish_topic("room:1", b"1", 5, 60, idempotency="k")
        assert first == Position(first.epoch, 1)


async def test_given_a_slot_that_moves_when_published_there_then_the_bus_has_followed(
    three_shards: str, account: int
) -> None:
    topic = f"eph:{account}"
    slot = slot_of(topic_key(topic))
    async with running(three_shards) as node:
        await node.listens(topic)
        shards = {shard.address.port for shard in node.bus.shards}
        source = node.bus.shard_of(topic_key(topic)).address.port
        target = next(port for port in shards if port != source)
        name = await ask("CLUSTER", "MYID", port=target)
        assert isinstance(name, bytes)

        for port in (target, source, *(shards - {target, source})):
            await ask("CLUSTER", "SETSLOT", slot, "NODE", name.decode(), port=port)

        async with asyncio.timeout(8):
            await node.ear.back.wait()
        assert node.bus.shard_of(topic_key(topic)).address.port == target
        await node.bus.listening(topic)
        node.bus.publish(topic, b"1")
        assert await node.ear.next() == (topic, b"1")


async def test_given_one_shard_of_three_killed_when_used_then_the_others_go_on_and_it_heals(
    three_servers: list[RedisServer], three_shards: str, account: int
) -> None:
    async with running(three_shards) as node:
        topics = [f"eph:{account + number}" for number in range(20)]
        for topic in topics:
            await node.listens(topic)
        victim = three_servers[1]
        dead = [t for t in topics if node.bus.shard_of(topic_key(t)).address.port == victim.port]
        assert 0 < len(dead) < 20

        await victim.kill()
        async with asyncio.timeout(5):
            await node.ear.lost.wait()
        answers: asyncio.Queue[object] = asyncio.Queue()
        node.bus.call("GET", topic_key(dead[0]), done=answers.put_nowait)
        assert isinstance(await answers.get(), BusDown)
        alive = next(topic for topic in topics if topic not in dead)
        node.bus.publish(alive, b"1")
        assert await node.ear.next() == (alive, b"1")
        assert not node.bus.up

        await victim.start(slots=None)
        async with asyncio.timeout(12):
            await node.ear.back.wait()
        await node.bus.listening(dead[0])
        node.bus.publish(dead[0], b"2")
        assert await node.ear.next() == (dead[0], b"2")


def bus_up(node: Node) -> dict[int, float]:
    """What metrics say of each Redis, by its port."""
    return {
        int(sample.labels["shard"].rpartition(":")[2]): sample.value
        for family in node.metrics.registry.collect()
        for sample in family.samples
        if sample.name == "peyk_bus_up"
    }


async def test_given_a_lost_shard_when_a_node_starts_then_it_serves_the_others_and_it_heals(
    three_servers: list[RedisServer], account: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messenger.bus.bus.WHOLE_S", 0.0)
    first, victim, _ = three_servers
    for server in three_servers:
        await server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
    await victim.kill()

    async with running(f"redis+cluster://127.0.0.1:{first.port}") as node:
        topics = [f"eph:{account + number}" for number in range(20)]
        ports = {topic: node.bus.shard_of(topic_key(topic)).address.port for topic in topics}
        dead = next(topic for topic, port in ports.items() if port == victim.port)
        alive = next(topic for topic, port in ports.items() if port != victim.port)
        assert not node.bus.up
        assert bus_up(node) == {
            server.port: float(server is not victim) for server in three_servers
        }
        await node.listens(alive)
        node.bus.publish(alive, b"1")
        assert await node.ear.next() == (alive, b"1")

        node.bus.listen(dead)
        await victim.start(slots=None)
        async with asyncio.timeout(12):
            await node.ear.back.wait()
        assert set(bus_up(node).values()) == {1.0}
        await node.bus.listening(dead)
        node.bus.publish(dead, b"2")
        assert await node.ear.next() == (dead, b"2")


async def test_given_a_cluster_that_refuses_us_when_slots_are_read_then_the_bus_lives_on(
    three_servers: list[RedisServer], three_shards: str, refusals: asyncio.Queue[str]
) -> None:
    async with running(three_shards) as node:
        for server in three_servers:
            await server.ask("ACL", "SETUSER", "default", "-cluster|slots")
        node.bus.moved()
        async with asyncio.timeout(5):
            assert "NOPERM" in await refusals.get()
            for server in three_servers:
                await server.ask("ACL", "SETUSER", "default", "+@all")
            await three_servers[0].ask("CLIENT", "KILL", "TYPE", "normal")
            await node.ear.back.wait()


async def test_given_one_node_that_refuses_us_when_slots_are_read_then_another_is_asked(
    three_servers: list[RedisServer],
) -> None:
    first, second, _ = (Address("127.0.0.1", server.port) for server in three_servers)
    await three_servers[0].ask("ACL", "SETUSER", "default", "-cluster|slots")

    assert len(await read_slots([first, second], 5, Metrics())) == 3
    with pytest.raises(BusRefused, match="NOPERM"):
        await read_slots([first, Address("127.0.0.1", free_port())], 5, Metrics())


async def test_given_a_command_for_a_slot_elsewhere_when_asked_then_the_bus_is_down_for_it(
    three_shards: str,
) -> None:
    async with running(three_shards) as node:
        answers: asyncio.Queue[object] = asyncio.Queue()
        here = node.bus.shard_of("{a}")
        elsewhere = next(shard for shard in node.bus.shards if shard is not here)
        elsewhere.send(("GET", "{a}"), answers.put_nowait)
        answer = await answers.get()
        assert isinstance(answer, BusDown)
        assert "MOVED" in str(answer)
        assert await node.bus.ask("GET", "{a}") is None


async def test_given_a_cluster_url_when_the_server_is_alone_then_it_is_refused(
    new_redis: NewRedis,
) -> None:
    server = await new_redis(cluster_enabled="no")
    with pytest.raises(BusRefused, match="cluster mode"):
        await _started(server.url.replace("redis:", "redis+cluster:"))
    with pytest.raises(BusDown, match="no node of the cluster answers"):
        await _started(f"redis+cluster://127.0.0.1:{free_port()}")


async def test_given_a_cluster_of_one_when_used_then_it_holds_all_slots(redis: RedisServer) -> None:
    async with running(redis.url.replace("redis:", "redis+cluster:")) as node:
        assert (await node.streams.topic_position("room:1", 90)).epoch


async def _started(url: str) -> None:
    bus = Bus(url, lambda _t, _p: None, settings=Settings(), metrics=Metrics())
    await bus.start(wait_s=0)

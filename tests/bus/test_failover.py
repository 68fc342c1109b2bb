"""A primary dies or hangs and its replica takes over: the bus follows, and nobody believes the
numbers of a server that is gone."""

import pytest

from messenger.bus.keys import slot_of, topic_key, user_key
from tests.bus.conftest import Node, running
from tests.support.cluster import Cluster
from tests.support.people import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.mark.parametrize("fault", ["dies", pytest.param("freezes", marks=pytest.mark.proof)])
async def test_given_a_primary_lost_when_its_replica_takes_over_then_the_bus_has_followed(
    cluster: Cluster, account: int, fault: str
) -> None:
    topic, slot = f"user:{account}", slot_of(user_key(account))
    old = await cluster.primary_of(slot)
    async with running(cluster.url) as node, running(cluster.url) as other:
        await node.listens(topic)
        before = await node.streams.attach_user(account)
        other.streams.append_user(account, b"1")
        assert await node.ear.next() == (topic, b"%b 1 1" % before.epoch.encode())

        await getattr(cluster, fault)(old)
        new = await cluster.passes_on(slot, old)
        for one in (node, other):
            await follows(one, topic, new.port)

        after = await node.streams.attach_user(account)
        assert after.epoch != before.epoch, "a replica may lack the last writes"
        await node.bus.listening(topic)
        other.streams.append_user(account, b"2")
        assert await node.ear.next() == (topic, b"%b 1 2" % after.epoch.encode())
        assert node.bus.up
    await cluster.is_whole()


@pytest.mark.proof
async def test_given_the_first_host_hangs_when_a_node_starts_then_it_asks_the_others(
    cluster: Cluster, account: int
) -> None:
    first = cluster.servers[0]
    await cluster.freezes(first)
    try:
        for slot in (0, 8_000, 16_000):
            if await cluster.primary_of(slot) is first:
                await cluster.passes_on(slot, first)
        async with running(cluster.url) as node:
            assert (await node.streams.attach_user(account)).offset == 0
    finally:
        await cluster.is_whole()


async def follows(node: Node, topic: str, port: int) -> None:
    """Wait until the node has its links to the server that holds the topic now."""

    async def there() -> bool:
        shard = node.bus.shard_of(topic_key(topic))
        return shard.address.port == port and shard.up

    await until(there)

"""Every rpc of the package has a limit: one loud client is not paid for by the others."""

from messenger.chats import feature
from tests.chats.world import World


async def test_given_any_rpc_then_it_has_a_limit(world: World) -> None:
    free = [rpc.method for rpc in feature.create(world.chats).rpcs if not rpc.limits]

    assert free == []

"""/health/ready: what takes a node out of service, and what its body tells operators."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.exc import DBAPIError

from messenger.db.engine import StoreDown
from messenger.http import health
from messenger.http.health import Health
from tests.support.platform import Platform


class World:
    """What a node may miss."""

    def __init__(self) -> None:
        self.bus_up = self.database_up = True
        self.found: Exception | None = None
        self.shards: dict[str, bool] = {}
        self.probed = asyncio.Event()

    async def probe(self) -> None:
        self.probed.set()
        if self.found is not None:
            raise self.found
        if not self.database_up:
            raise StoreDown("gone")

    async def probed_again(self) -> None:
        for _ in range(2):  # the first may have been under way
            self.probed.clear()
            await asyncio.wait_for(self.probed.wait(), 5)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def watched(
    platform: Platform, world: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Health]:
    monkeypatch.setattr(health, "PROBE_S", 0.02)
    found = Health(
        platform.node.gateway, lambda: world.bus_up, world.probe, shards=lambda: world.shards
    )
    task = asyncio.get_running_loop().create_task(found.run())
    yield found
    task.cancel()
    await asyncio.wait([task])


async def test_given_a_node_when_all_answers_then_it_is_ready_and_says_since_when(
    watched: Health,
) -> None:
    ready, body = watched.report()

    assert ready
    assert body["why"] == []
    for name in ("postgresql", "redis_bus"):
        assert body[name]["state"] == "up"
        assert body[name]["since"].tzinfo is not None


@pytest.mark.parametrize(
    "found", [StoreDown("gone"), DBAPIError("select 1", None, OSError("odd"))], ids=repr
)
async def test_given_any_error_of_the_database_when_probed_then_the_node_goes_on_watching(
    watched: Health, world: World, found: Exception
) -> None:
    world.found = found
    await world.probed_again()
    assert watched.report()[1]["postgresql"]["state"] == "down"

    world.found = None
    await world.probed_again()
    assert watched.report()[1]["postgresql"]["state"] == "up"


async def test_given_a_lost_database_when_probed_then_it_is_named_and_the_node_stays(
    watched: Health, world: World
) -> None:
    before = watched.report()[1]["postgresql"]["since"]
    world.database_up = False
    await world.probed_again()
    ready, body = watched.report()
    assert ready
    assert body["postgresql"]["state"] == "down"
    assert body["postgresql"]["since"] > before

    world.database_up = True
    await world.probed_again()
    assert watched.report()[1]["postgresql"]["state"] == "up"


async def test_given_a_lost_bus_when_it_stays_away_then_the_node_is_not_ready(
    watched: Health, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.bus_up = False
    watched.bus_changed()
    ready, body = watched.report()
    assert (ready, body["redis_bus"]["state"]) == (True, "down")

    monkeypatch.setattr(health, "BUS_AWAY_S", 0.0)
    ready, body = watched.report()
    assert (ready, body["why"]) == (False, ["redis bus"])

    world.bus_up = True
    watched.bus_changed()
    assert watched.report()[0]


async def test_given_a_loop_when_it_stalls_then_the_node_is_not_ready(
    watched: Health, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LAG_S", 0.5)
    await world.probed_again()
    time.sleep(0.6)  # noqa: ASYNC251 - this is the stall

    ready, body = watched.report()

    assert (ready, body["why"]) == (False, ["loop lag"])


async def test_given_one_shard_lost_when_asked_then_it_is_named_and_the_node_stays_ready(
    watched: Health, world: World
) -> None:
    world.shards = {"10.0.0.1:7001": True, "10.0.0.2:7001": True}
    before = watched.report()[1]["redis_shards"]["10.0.0.2:7001"]["since"]
    world.shards["10.0.0.2:7001"] = False

    ready, body = watched.report()

    assert ready
    states = {name: shard["state"] for name, shard in body["redis_shards"].items()}
    assert states == {"10.0.0.1:7001": "up", "10.0.0.2:7001": "down"}
    assert body["redis_shards"]["10.0.0.2:7001"]["since"] >= before


async def test_given_a_node_that_is_not_ready_when_it_stays_so_then_since_when_does_not_move(
    watched: Health, monkeypatch: pytest.MonkeyPatch, world: World
) -> None:
    assert watched.report()[1]["not_ready_since"] is None
    monkeypatch.setattr(health, "BUS_AWAY_S", 0.0)
    world.bus_up = False
    first = watched.report()[1]["not_ready_since"]
    await world.probed_again()

    assert watched.report()[1]["not_ready_since"] == first
    world.bus_up = True
    assert watched.report()[1]["not_ready_since"] is None

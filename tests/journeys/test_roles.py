"""Gateways and workers apart: who listens, who does the work that lies in the stores."""

import socket
import time
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from messenger.serving import listening_sockets
from messenger.settings import Settings
from tests.support.people import until
from tests.support.platform import Platform, running
from tests.support.ports import free_ports
from tests.support.processes import NodeProcess, Stores, own_stores
from tests.support.rows import Rows

SHARED = {"repair", "partitions", "schedule", "chats.outbox", "accounts.housekeeping"}
OWN = {"bus", "lease", "members", "delivery", "intents", "cursors", "indexer", "gateway", "ladder"}


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[Platform]:
    async with running(settings, roles=("worker",)) as platform:
        yield platform


def tasks_of(platform: Platform) -> set[str]:
    return {task.name for task in platform.node.tasks}


async def test_given_a_gateway_alone_when_it_runs_then_work_in_the_stores_is_not_its_own(
    settings: Settings,
) -> None:
    async with running(settings, roles=("gateway",)) as gateway:
        assert tasks_of(gateway) >= OWN
        assert not tasks_of(gateway) & SHARED
        assert (await gateway.signs_up("Mina")).account


async def test_given_a_worker_alone_when_asked_then_it_works_and_takes_no_public_calls(
    worker: Platform,
) -> None:
    assert tasks_of(worker) >= OWN | SHARED
    ops = f"http://127.0.0.1:{worker.settings.ops_port}"
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
    key = {"Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", "Sec-WebSocket-Version": "13"}
    async with httpx.AsyncClient() as web:
        ready = await web.get(f"{ops}/health/ready")
        refused = await web.get(f"{ops}/connection/websocket", headers={**upgrade, **key})
        rpc = await web.post(f"{ops}/rpc/system.hello", json={})
    assert (ready.status_code, ready.json()["roles"]) == (200, ["worker"])
    assert (refused.status_code, refused.text) == (503, "not now: worker\n")
    assert rpc.status_code == 404


@pytest.mark.parametrize(
    ("roles", "ports"), [(("gateway",), 2), (("worker",), 1), (("gateway", "worker"), 2)]
)
def test_given_roles_when_listening_then_only_gateways_have_a_public_port(
    settings: Settings, roles: tuple[str, ...], ports: int
) -> None:
    port = free_ports(2)
    wanted = msgspec.structs.replace(settings, roles=roles, port=port, ops_port=port + 1)
    sockets = listening_sockets(wanted)
    try:
        assert len(sockets) == ports
        assert sockets[-1].getsockname()[1] == port + 1
    finally:
        for one in sockets:
            one.close()


@pytest.fixture
async def apart() -> AsyncIterator[Stores]:
    async with own_stores() as stores:
        yield stores


@pytest.mark.slow
@pytest.mark.timeout(60)
async def test_given_a_planned_message_when_a_worker_comes_then_it_is_sent_and_not_before(
    apart: Stores,
) -> None:
    gateway = NodeProcess(apart.servers, apart.home, PEYK_ROLES="gateway")
    worker = NodeProcess(apart.servers, apart.home, PEYK_ROLES="worker")
    rows = Rows(apart.servers.database_url)
    try:
        await gateway.starts()
        mina = await gateway.signs_up("Mina")
        opened = await gateway.post("chats.open_direct", {"account": mina.account}, mina.token)
        chat = opened["chat"]["id"]
        due = int(time.time() * 1_000) + 1_200
        planned = {"chat": chat, "random_id": "7", "text": "later", "schedule_at": due}
        await gateway.post("messages.send", planned, mina.token)

        async def is_due() -> bool:
            return time.time() * 1_000 > due + 1_500  # a worker looks every second

        await until(is_due)
        assert await rows.texts(chat) == {}
        await worker.starts()

        async def is_sent() -> bool:
            return list((await rows.texts(chat)).values()) == ["later"]

        await until(is_sent)
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(worker.url.rpartition(":")[2]))) != 0
        for node in (gateway, worker):
            await node.program.stop()
            assert node.program.exit_code == 0
    finally:
        for node in (gateway, worker):
            if node.program.running:
                await node.dies()

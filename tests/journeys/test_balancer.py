"""The topology of compose.yaml, natively: two gateways and a worker behind our balancer's file."""

import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from messenger.processes import Program
from tests.deploy.files import DEPLOY
from tests.support.people import until
from tests.support.platform import Door, connected
from tests.support.ports import free_ports
from tests.support.processes import NodeProcess, watched_stores

HAPROXY = shutil.which("haproxy", path=f"{os.defpath}:/usr/sbin:/usr/local/sbin")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.skipif(HAPROXY is None, reason="HAProxy is not installed here"),
]


def native(nodes: list[NodeProcess], port: int) -> str:
    """Our file for this machine: its addresses, no TLS, few files; everything else as it is."""
    text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")
    [bind] = [line for line in text.splitlines() if "ssl crt" in line]
    [template] = [line for line in text.splitlines() if "server-template" in line]
    servers = [f"    server n{i} {node.url[7:]}" for i, node in enumerate(nodes)]
    text = text.replace(bind, f"    bind 127.0.0.1:{port}")
    text = text.replace("maxconn 80000", "maxconn 1000")
    text = text.replace(template, "\n".join(servers))
    return text.replace("bind :8404", f"bind 127.0.0.1:{port + 1}")


@pytest.fixture
async def topology(tmp_path: Path) -> AsyncIterator[tuple[Door, list[NodeProcess]]]:
    """The door of the balancer, and the gateways behind it."""
    async with watched_stores(tmp_path) as stores:
        notice = {"PEYK_DRAIN_NOTICE": "3", "PEYK_TRUSTED_PROXIES": "127.0.0.1/32"}
        roles = ("gateway", "gateway", "worker")
        nodes = [NodeProcess(stores.servers, tmp_path, PEYK_ROLES=role, **notice) for role in roles]
        port = free_ports(2)
        config = tmp_path / "haproxy.cfg"
        config.write_text(native(nodes[:2], port), encoding="utf-8")
        balancer = Program(
            "haproxy",
            [str(HAPROXY), "-W", "-db", "-f", str(config)],
            stop=signal.SIGTERM,
            log=tmp_path / "haproxy.log",
        )
        try:
            for node in nodes:
                await node.starts()
            await balancer.start()
            door = Door(port, tmp_path)
            await until(lambda: serves(door), 10.0)
            yield door, nodes[:2]
        finally:
            await balancer.stop()
            for node in nodes:
                if node.program.running:
                    await node.dies()


async def serves(door: Door) -> bool:
    async with httpx.AsyncClient() as web:
        try:
            return (await web.get(f"{door.url}/health/ready")).status_code == 200
        except httpx.HTTPError:
            return False


async def sessions(node: NodeProcess) -> int:
    async with httpx.AsyncClient() as web:
        answer = await web.get(f"http://127.0.0.1:{int(node.url.rpartition(':')[2]) + 1}/metrics")
    [line] = [line for line in answer.text.splitlines() if line.startswith("peyk_sessions ")]
    return int(float(line.split()[1]))


async def test_given_a_balancer_when_a_gateway_is_replaced_then_people_go_on_talking(
    topology: tuple[Door, list[NodeProcess]],
) -> None:
    door, (first, second) = topology
    mina = await connected(door, await door.signs_up("مینا"))  # type: ignore[arg-type]  # a door
    reza = await connected(door, await door.signs_up("رضا"))  # type: ignore[arg-type]
    assert reza.core is not None
    chat = str(
        (await mina.rpc("chats.open_direct", {"account": reza.core.state.account}))["chat"]["id"]
    )
    assert [await sessions(node) for node in (first, second)] == [1, 1]  # fewest connections

    await mina.send(chat, "before")
    first.program.send(signal.SIGTERM)
    await first.program.wait()
    await mina.send(chat, "after")
    await reza.wait_until(lambda: chat in reza.state.chats)
    await reza.wait_until(lambda: reza.state.chats[chat].texts == ["before", "after"])
    await mina.wait_until(lambda: mina.ready)

    assert first.program.exit_code == 0
    assert await sessions(second) == 2
    async with httpx.AsyncClient(base_url=door.url) as web:
        assert (await web.get("/metrics")).status_code == 404
        assert (await web.get("/health/ready")).status_code == 200
    await mina.close()
    await reza.close()

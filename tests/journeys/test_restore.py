"""The backup of docs/operations.md is taken while people talk, and restored as it says there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from messenger.client.websocket import Client
from messenger.embedded.binaries import find_postgres
from messenger.embedded.redis import kept_password
from messenger.embedded.servers import Servers, embedded
from messenger.home import ready_settings
from messenger.stores import migrated
from tests.deploy.files import DEPLOY
from tests.support.platform import connected, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Servers]:
    async with embedded(tmp_path) as servers:
        await migrated(servers.database_url)
        yield servers


async def run(program: str, *arguments: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(
        find_postgres().programs / program, *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, errors.decode()


async def test_given_a_backup_when_restored_then_its_messages_are_there_and_devices_start_anew(
    servers: Servers, tmp_path: Path
) -> None:
    address = servers.database_url.replace("+asyncpg", "")
    settings = ready_settings(None, addresses(servers), {"home": str(tmp_path), "drain_notice": 0})
    dump = tmp_path / "peyk.dump"

    async with running(settings) as platform:
        mina_signed = await platform.signs_up("مینا")
        mina = await connected(platform, mina_signed)
        reza = await connected(platform, await platform.signs_up("رضا"))
        chat = await opened(mina, reza)
        await mina.send(chat, "before")
        await reza.wait_until(lambda: chat in reza.state.chats)
        await reza.wait_until(lambda: reza.state.chats[chat].texts == ["before"])
        await run("pg_dump", "--format=custom", f"--file={dump}", address)
        await mina.send(chat, "lost")
        await reza.wait_until(lambda: reza.state.chats[chat].texts == ["before", "lost"])
        reza.cut()
        await mina.close()

    await restore(dump, address)
    await forget_everything(servers, tmp_path)

    url = servers.database_url.replace("/peyk?", "/restored?")
    async with running(settings, database_url=url) as platform:
        mina = await connected(platform, mina_signed)
        await mina.send(chat, "since")
        await mina.send(chat, "more")  # numbers that reza's device holds are given again
        reza.url = platform.ws_url
        await reza.resume()
        expected = ["before", "since", "more"]
        await reza.wait_until(lambda: reza.ready and reza.state.chats[chat].texts == expected)
        assert reza.state.chats[chat].epoch == 2  # another life: no old number means anything
        await mina.close()
        await reza.close()


async def opened(one: Client, other: Client) -> str:
    assert other.core is not None
    result = await one.rpc("chats.open_direct", {"account": other.core.state.account})
    return str(result["chat"]["id"])


def addresses(servers: Servers) -> dict[str, str]:
    return {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}


async def restore(dump: Path, address: str) -> None:
    """Into a new database beside the old one, as the handbook says."""
    restored = address.replace("/peyk?", "/restored?")
    await run("psql", "-X", "-q", "-c", "create database restored", address)
    await run("pg_restore", "--no-owner", f"--dbname={restored}", dump)
    await run("psql", "-X", "-q", "-f", DEPLOY / "postgres" / "after-restore.sql", restored)


async def forget_everything(servers: Servers, home: Path) -> None:
    """FLUSHALL on each shard."""
    for redis in servers.redis:
        client = Redis(host="127.0.0.1", port=redis.port, password=kept_password(home))
        await client.flushall()
        await client.aclose()

"""Embedded servers: real ones, that come back after every kind of end."""

import asyncio
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from redis.exceptions import ResponseError

from messenger.embedded.binaries import EmbeddedError
from messenger.embedded.postgres import PostgresServer
from messenger.embedded.redis import RedisServer, kept_password
from messenger.embedded.servers import Servers, embedded, locked
from tests.support.homes import temporary_home

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def own_home() -> Iterator[Path]:
    """A home of this test, for servers it kills."""
    with temporary_home() as home:
        yield home


async def query(servers: Servers, sql: str) -> object:
    url = servers.database_url.replace("+asyncpg", "")
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(sql, timeout=10)
    finally:
        await connection.close(timeout=10)


async def redis(servers: Servers, *words: str) -> object:
    client = servers.redis[0].client()
    try:
        return await client.execute_command(*words)
    finally:
        await client.aclose()


async def killed(servers: Servers) -> None:
    """Kill -9 both, and start them again."""
    for server in (servers.postgres, servers.redis[0]):
        os.kill(server.program.pid or 0, signal.SIGKILL)
        await server.program.wait()
        await server.run()


async def test_given_an_empty_folder_when_started_then_both_serve_and_are_safe(
    own_home: Path,
) -> None:
    async with embedded(own_home) as servers:
        assert str(await query(servers, "SHOW server_version")).startswith("18.")
        assert await query(servers, "SHOW synchronous_commit") == "on"
        assert await query(servers, "SHOW fsync") == "on"
        assert await query(servers, "SHOW listen_addresses") == ""
        assert await redis(servers, "SET", "{a}", "1")
        with pytest.raises(ResponseError, match=r"CROSSSLOT|same slot"):
            await redis(servers, "MSET", "a", "1", "b", "2")
        data = servers.postgres.data.stat()
        assert stat.S_IMODE(data.st_mode) == 0o700
        pids = [program.pid or 0 for program in servers.programs]

    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_given_data_when_both_are_killed_then_a_restart_has_them_at_the_same_address(
    own_home: Path,
) -> None:
    async with embedded(own_home) as servers:
        addresses = (servers.database_url, servers.redis_url)
        await query(servers, "CREATE TABLE kept AS SELECT 7 AS number")
        await redis(servers, "SET", "kept", "7")
        await asyncio.to_thread(os.sync)

        await killed(servers)

        assert await query(servers, "SELECT number FROM kept") == 7
        assert await redis(servers, "SET", "other", "8")

    async with embedded(own_home) as servers:
        assert (servers.database_url, servers.redis_url) == addresses
        assert await query(servers, "SELECT number FROM kept") == 7
        assert await redis(servers, "GET", "other") == b"8"


async def test_given_servers_nobody_watches_any_more_when_started_then_they_are_replaced(
    own_home: Path,
) -> None:
    async with embedded(own_home) as servers:
        orphans = [program.pid for program in servers.programs]
        again = PostgresServer(own_home)

        await again.start()

        assert again.program.pid not in orphans
        assert await servers.postgres.program.wait() == 0
        await again.program.stop()


async def test_given_a_folder_in_use_when_started_then_one_line_names_the_owner(
    own_home: Path,
) -> None:
    with locked(own_home), pytest.raises(EmbeddedError, match=rf"another peyk \(pid {os.getpid()}"):
        async with embedded(own_home):
            raise AssertionError("unreachable: the lock is held")


async def test_given_data_of_another_version_when_started_then_one_line_says_what_to_do(
    own_home: Path,
) -> None:
    server = PostgresServer(own_home)
    server.data.mkdir(mode=0o700)
    (server.data / "PG_VERSION").write_text("12\n", encoding="ascii")

    with pytest.raises(EmbeddedError, match="holds data of PostgreSQL 12, this is 18: dump it"):
        await server.start()


async def test_given_a_folder_of_something_else_when_started_then_it_is_not_touched(
    own_home: Path,
) -> None:
    server = PostgresServer(own_home)
    server.data.mkdir(mode=0o700)
    (server.data / "letters.txt").write_text("mine", encoding="ascii")

    with pytest.raises(EmbeddedError, match="is not empty and holds no PostgreSQL data"):
        await server.start()

    assert (server.data / "letters.txt").read_text(encoding="ascii") == "mine"


async def test_given_damaged_data_when_started_then_one_line_has_the_servers_reason(
    own_home: Path,
) -> None:
    async with embedded(own_home) as servers:
        control = servers.postgres.data / "global" / "pg_control"
    control.unlink()

    with pytest.raises(EmbeddedError, match=r"PostgreSQL does not start: .*pg_control"):
        async with embedded(own_home):
            raise AssertionError("unreachable: the data are damaged")


async def test_given_a_redis_nobody_watches_any_more_when_started_then_it_is_replaced(
    own_home: Path,
) -> None:
    async with embedded(own_home) as servers:
        orphan = servers.redis[0]
        again = RedisServer(orphan.folder, kept_password(own_home))

        await again.run()

        assert await orphan.program.wait() == 0
        assert (again.port, again.program.running) == (orphan.port, True)
        await again.program.stop()


async def test_given_a_taken_redis_port_when_started_then_another_is_chosen(
    own_home: Path,
) -> None:
    async with embedded(own_home) as servers:
        port = servers.redis[0].port
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen(1)

        async with embedded(own_home) as servers:
            assert servers.redis[0].port != port
            assert await redis(servers, "SET", "a", "1")


@pytest.mark.slow
async def test_given_three_nodes_when_started_then_each_serves_a_third_of_the_slots(
    own_home: Path,
) -> None:
    async with embedded(own_home, redis_nodes=3) as servers:
        client = servers.redis[2].client()
        info = await client.execute_command("CLUSTER INFO")
        await client.aclose()

        assert servers.redis_url.startswith("redis+cluster://")
        assert (info["cluster_state"], info["cluster_slots_ok"]) == ("ok", "16384")
        assert info["cluster_size"] == "3"
    with pytest.raises(EmbeddedError, match="holds 3 Redis nodes, not 2"):
        async with embedded(own_home, redis_nodes=2):
            raise AssertionError("unreachable: slots are given out once")

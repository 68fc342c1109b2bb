"""The platform runs with the rights that deploy/ gives it on PostgreSQL and Redis, no others."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from messenger.db.migrate import migrate
from messenger.embedded.binaries import find_postgres, find_redis
from messenger.processes import Program
from messenger.settings import Settings
from tests.conftest import Stores
from tests.deploy.files import DEPLOY, made_secrets
from tests.support.people import until
from tests.support.platform import connected, running
from tests.support.ports import free_ports

NAME = "peyk_deployed"
SLOTS = 16_384


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_secrets(tmp_path_factory.mktemp("deployed"))


@pytest.fixture(scope="module")
async def database(stores: Stores, folder: Path) -> AsyncIterator[str]:
    """Address of a database with the three users, migrated by its owner; say who comes."""
    superuser = stores.database_url.replace("+asyncpg", "")
    connection = await asyncpg.connect(superuser)
    await connection.execute(f"create database {NAME}")
    try:
        template = superuser.replace("peyk@/peyk?", f"USER@/{NAME}?")
        for _ in range(2):  # again does no harm
            await psql(template.replace("USER", "peyk"), folder)
        await migrate(asyncpg_url(template, "peyk_owner"))
        yield template
    finally:
        await connection.execute(f"drop database {NAME} with (force)")
        await connection.execute("drop owned by peyk_owner, peyk_app, peyk_report")
        await connection.execute("drop role peyk_owner, peyk_app, peyk_report")
        await connection.close()


@pytest.fixture(scope="module")
async def redis(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[int]:
    """Port of a server with our users and our configuration, but for ports and folders."""
    port = free_ports(2)
    own = tmp_path_factory.mktemp("redis")
    text = (DEPLOY / "redis" / "redis.conf").read_text(encoding="utf-8")
    changes = {
        "port 6379": f"port {port}\ncluster-port {port + 1}",
        "bind * -::*": "bind 127.0.0.1",
        "dir /data": f"dir {own}",
        "/run/secrets": str(folder),
    }
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (own / "redis.conf").write_text(text, encoding="utf-8")
    server = Program(
        "deployed-redis",
        [str(find_redis()), str(own / "redis.conf")],
        stop=signal.SIGTERM,
        log=own / "redis.log",
    )
    await server.start()
    admin = client(port, "admin", (folder / "redis_admin_password").read_text())
    try:
        await until(lambda: answers(admin), 10.0)
        await admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, SLOTS - 1)
        await until(lambda: covered(admin), 10.0)
        yield port
    finally:
        await admin.aclose()
        await server.stop()


def client(port: int, user: str, password: str) -> "Redis":
    return Redis(host="127.0.0.1", port=port, username=user, password=password)


async def answers(admin: "Redis") -> bool:
    try:
        return bool(await admin.ping())
    except RedisError:  # not there yet
        return False


async def covered(admin: "Redis") -> bool:
    state = await admin.execute_command("CLUSTER INFO")
    return bool(state["cluster_state"] == "ok")


def asyncpg_url(template: str, user: str) -> str:
    return template.replace("USER", user).replace("postgresql://", "postgresql+asyncpg://")


async def psql(url: str, folder: Path) -> None:
    program = find_postgres().programs / "psql"
    arguments = ["-X", "-q", "-v", f"secrets={folder}", "-f", DEPLOY / "postgres" / "roles.sql"]
    process = await asyncio.create_subprocess_exec(
        program, url, *arguments, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0, errors.decode()


async def test_given_the_rights_of_a_deployment_when_people_talk_then_they_are_enough(
    settings: Settings, database: str, redis: int, folder: Path
) -> None:
    password = (folder / "redis_password").read_text(encoding="utf-8")
    stores = {
        "database_url": asyncpg_url(database, "peyk_app"),
        "redis_url": f"redis://peyk:{password}@127.0.0.1:{redis}",
    }
    async with running(settings, **stores) as platform:
        mina = await connected(platform, await platform.signs_up("مینا"))
        reza = await connected(platform, await platform.signs_up("رضا"))
        assert reza.core is not None
        opened = await mina.rpc("chats.open_direct", {"account": reza.core.state.account})
        chat = str(opened["chat"]["id"])

        await mina.send(chat, "سلام")
        await reza.wait_until(lambda: chat in reza.state.chats)
        await reza.wait_until(lambda: reza.state.chats[chat].texts == ["سلام"])

        await mina.close()
        await reza.close()


@pytest.mark.parametrize(
    "statement",
    [
        *("create table other (x int)", "drop table account", "alter table account add y int"),
        *("create role other", "truncate message", "select * from pg_authid"),
    ],
)
async def test_given_the_app_when_it_wants_more_than_rows_then_postgresql_refuses(
    database: str, statement: str
) -> None:
    connection = await asyncpg.connect(database.replace("USER", "peyk_app"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_given_the_report_when_it_reads_it_may_and_when_it_writes_it_may_not(
    database: str,
) -> None:
    connection = await asyncpg.connect(database.replace("USER", "peyk_report"))
    try:
        assert await connection.fetchval("select count(*) from message") >= 0
        await connection.execute("set default_transaction_read_only = off")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("delete from message")
    finally:
        await connection.close()


@pytest.mark.parametrize(
    "command",
    [
        *("FLUSHALL", "CONFIG GET *", "KEYS *", "SHUTDOWN", "ACL LIST", "MONITOR"),
        *("CLUSTER RESET", "SCRIPT FLUSH", "REPLICAOF NO ONE"),
    ],
)
async def test_given_the_app_when_it_wants_to_rule_redis_then_redis_refuses(
    redis: int, folder: Path, command: str
) -> None:
    app = client(redis, "peyk", (folder / "redis_password").read_text(encoding="utf-8"))
    try:
        with pytest.raises(NoPermissionError):
            await app.execute_command(*command.split())
    finally:
        await app.aclose()


async def test_given_the_health_check_when_it_pings_then_that_is_all_it_may(redis: int) -> None:
    probe = client(redis, "health", "none")
    try:
        assert await probe.ping()
        with pytest.raises(NoPermissionError):
            await probe.get("x")
    finally:
        await probe.aclose()


async def test_given_no_user_when_redis_is_reached_then_it_answers_nothing(redis: int) -> None:
    stranger = Redis(host="127.0.0.1", port=redis, retry=Retry(NoBackoff(), 0))
    try:
        with pytest.raises(AuthenticationError):
            await stranger.ping()
    finally:
        await stranger.aclose()

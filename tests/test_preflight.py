"""Given stores that will not do: too old, forgetful, absent. Old ones are played, line by line."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from messenger.preflight import StartRefusedError, check_database, check_redis, place
from tests.conftest import Stores

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def playing(play: Play) -> AsyncIterator[int]:
    """A server on the loopback that answers as `play` does; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await play(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has seen enough
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def old_postgres(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """PostgreSQL 13, as far as a client needs to learn its version."""
    while True:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        body = await reader.readexactly(length - 4)
        if body == struct.pack("!i", 80877103):  # may we speak TLS?
            writer.write(b"N")
            continue
        break

    def message(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("!i", len(content) + 4) + content

    writer.write(message(b"R", struct.pack("!i", 0)))
    writer.write(message(b"S", b"server_version\x0013.4\x00"))
    writer.write(message(b"S", b"client_encoding\x00UTF8\x00"))
    writer.write(message(b"K", struct.pack("!ii", 1, 1)) + message(b"Z", b"I"))
    await reader.readexactly(5)  # goodbye


def a_redis(version: str, policy: str) -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            words = int((await reader.readline())[1:] or b"0")
            if not words:
                return
            command = [(await reader.readline(), await reader.readline())[1] for _ in range(words)]
            if command[0].strip().upper() == b"INFO":
                text = f"redis_version:{version}\r\nmaxmemory_policy:{policy}\r\n".encode()
                writer.write(b"$%d\r\n%s\r\n" % (len(text), text))
            elif command[0].strip().upper() == b"HELLO":
                writer.write(b"-ERR unknown command 'HELLO'\r\n")
            else:
                writer.write(b"+OK\r\n")

    return play


async def test_given_real_stores_when_checked_then_nothing_is_said(stores: Stores) -> None:
    await check_database(stores.database_url, 0)
    await check_redis(stores.redis_url, 0)
    await check_redis(stores.redis_url.replace("@", "@127.0.0.1:1,"), 0)  # one of two is down


async def test_given_an_old_postgres_when_checked_then_its_version_is_named() -> None:
    async with playing(old_postgres) as port:
        with pytest.raises(StartRefusedError, match="PostgreSQL 13 is too old; 15 or later"):
            await check_database(f"postgresql+asyncpg://u:p@127.0.0.1:{port}/peyk", 0)


async def test_given_an_old_redis_when_checked_then_its_version_is_named() -> None:
    async with playing(a_redis("6.2.14", "noeviction")) as port:
        with pytest.raises(StartRefusedError, match=r"Redis 6\.2\.14 is too old; 7 or later"):
            await check_redis(f"redis://127.0.0.1:{port}?protocol=2", 0)


async def test_given_a_forgetful_redis_when_checked_then_its_policy_is_named() -> None:
    async with playing(a_redis("7.2.0", "allkeys-lru")) as port:
        with pytest.raises(StartRefusedError, match="maxmemory-policy is allkeys-lru"):
            await check_redis(f"redis://127.0.0.1:{port}?protocol=2", 0)


async def test_given_nobody_there_when_checked_then_the_place_is_named_without_password() -> None:
    with pytest.raises(StartRefusedError, match=r"^DATABASE_URL: no PostgreSQL at 127\.0\.0\.1:1:"):
        await check_database("postgresql+asyncpg://u:hush@127.0.0.1:1/peyk", 0)
    with pytest.raises(StartRefusedError, match=r"^REDIS_URL: no Redis at 127\.0\.0\.1:1:"):
        await check_redis("redis://:hush@127.0.0.1:1", 0)


async def test_given_a_wrong_password_when_checked_then_it_is_refused_at_once(
    stores: Stores,
) -> None:
    wrong = f"redis://:wrong@{place(stores.redis_url)}"

    with pytest.raises(StartRefusedError, match=r"^REDIS_URL: .*password"):
        await check_redis(wrong, 60)

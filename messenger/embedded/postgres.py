"""A private PostgreSQL: one folder, one Unix socket, no TCP port.

The folder is 0700, so "trust" means the same user. `fsync` and `synchronous_commit` stay on: an
acknowledged message survives kill -9 here as in production.
"""

import asyncio
import os
import pwd
import shutil
import signal
from pathlib import Path

import asyncpg

from messenger.embedded.binaries import (
    EmbeddedError,
    Postgres,
    find_postgres,
    own_folder,
    short_hash,
    temp_folder,
)
from messenger.processes import STOP_PATIENCE_S, Program, User, alive, works_in

MAX_CONNECTIONS = 200  # 20 nodes, or a test run whose parts keep pools of their own
SHARED_BUFFERS = 512 * 1024 * 1024
FREE_BYTES = 1024**3  # below, PostgreSQL may stop in the middle of somebody's work
SOCKET_BYTES = 100  # sun_path holds 108 on Linux, 104 on macOS, with the file's name
READY_S = 60.0  # crash recovery replays up to max_wal_size
RESTART_S = 10.0
POLL_S = 0.02


class PostgresServer:
    """The server of one home folder."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._found = find_postgres()
        self._user, self.data, self._sockets = _places(home)
        self._log = home / "postgres.log"
        self.program = Program(
            "postgres",
            [str(self._found.programs / "postgres"), *self._options()],
            stop=signal.SIGINT,  # fast: ends sessions, writes a checkpoint
            environ=_environ(),
            log=self._log,
            user=self._user,
        )

    @property
    def url(self) -> str:
        return f"postgresql+asyncpg://peyk@/peyk?host={self._sockets}"

    async def start(self) -> None:
        """Ready for queries, with the database `peyk`, when it returns. Raises EmbeddedError."""
        if shutil.disk_usage(self._home).free < FREE_BYTES:
            raise EmbeddedError(f"less than 1 GiB free for {self._home}")
        await _end_orphan(self.data)
        if not (self.data / "PG_VERSION").exists():
            await self._create()
        _check_version(self.data, self._found)
        await self.run()
        await self._make_database()

    async def run(self) -> None:
        """Start the program and wait until it answers.

        After kill -9 its children hold the shared memory for a moment, and a new server refuses
        to start beside them; so a quick death is tried again for `RESTART_S`.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        while True:
            await self.program.start()
            if await self._answers(started + READY_S):
                return
            blocked = "still in use" in _tail(self._log)
            if not blocked or self.program.running or loop.time() - started > RESTART_S:
                await self.program.stop()
                raise EmbeddedError(f"PostgreSQL does not start: {_last_line(self._log)}")
            await asyncio.sleep(0.2)

    async def _answers(self, until: float) -> bool:
        loop = asyncio.get_running_loop()
        while self.program.running and loop.time() < until:
            try:
                connection = await self._connect("postgres")
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await asyncio.sleep(POLL_S)
            else:
                await connection.close(timeout=5)
                return True
        return False

    async def _connect(self, database: str) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            host=str(self._sockets), user="peyk", database=database, timeout=5, ssl=False
        )

    async def _make_database(self) -> None:
        connection = await self._connect("postgres")
        try:
            known = "SELECT 1 FROM pg_database WHERE datname = 'peyk'"
            if not await connection.fetchval(known, timeout=10):
                await connection.execute("CREATE DATABASE peyk", timeout=30)
        finally:
            await connection.close(timeout=5)

    async def _create(self) -> None:
        """`initdb` beside the final place, then one rename: a crash leaves no half of it."""
        draft = self.data.with_name(f"{self.data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        if any(self.data.glob("*")):
            raise EmbeddedError(f"{self.data} is not empty and holds no PostgreSQL data")
        if self._user is not None:
            own_folder(draft, 0o700)
            os.chown(draft, self._user.uid, self._user.gid)
        builtin = ["--locale-provider=builtin", "--locale=C.UTF-8"]
        locale = builtin if self._found.major >= 17 else ["--no-locale"]
        initdb = Program(
            "initdb",
            [
                str(self._found.programs / "initdb"),
                *("-D", str(draft), "-U", "peyk", "--auth=trust", "--encoding=UTF8"),
                *locale,
            ],
            stop=signal.SIGTERM,
            environ=_environ(),
            log=self._log,
            user=self._user,
        )
        await initdb.start()
        if await initdb.wait() != 0:
            raise EmbeddedError(f"initdb failed: {_last_line(self._log)}")
        shutil.rmtree(self.data, ignore_errors=True)
        draft.rename(self.data)

    def _options(self) -> list[str]:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        buffers = min(SHARED_BUFFERS, memory // 8) // 1024
        options = {
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "max_connections": str(MAX_CONNECTIONS),
            "shared_buffers": f"{buffers}kB",
            "max_wal_size": "2GB",
            "max_parallel_workers_per_gather": "0",  # many short statements; /dev/shm may be small
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return ["-D", str(self.data), "-k", str(self._sockets), *settings]


def _places(home: Path) -> tuple[User | None, Path, Path]:
    """Who runs it, where its data are and where its socket is."""
    if os.geteuid() != 0:
        sockets = home / "run"
        if len(os.fsencode(sockets)) > SOCKET_BYTES - len("/.s.PGSQL.5432"):
            sockets = temp_folder() / f"peyk-{os.geteuid()}-{short_hash(str(home))}"
        return None, home / "postgres", own_folder(sockets, 0o700)
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedError("PostgreSQL refuses root, and there is no user nobody") from None
    user = User(entry.pw_uid, entry.pw_gid)
    base = own_folder(temp_folder() / f"peyk-{short_hash(str(home))}", 0o711)
    sockets = base / "run"
    sockets.mkdir(mode=0o700, exist_ok=True)
    os.chown(sockets, user.uid, user.gid)
    link = home / "postgres"
    if not link.is_symlink() and link.exists():
        raise EmbeddedError(f"{link} was made by another user; start as that user")
    link.unlink(missing_ok=True)
    link.symlink_to(base / "data")
    return user, base / "data", sockets


async def _end_orphan(data: Path) -> None:
    """End the server of a supervisor that was killed: we hold the lock, so nobody else uses it."""
    pid = _postmaster(data)
    if pid is None or not alive(pid) or not works_in(pid, data):
        return
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return
    until = asyncio.get_running_loop().time() + STOP_PATIENCE_S
    while alive(pid) and works_in(pid, data):
        if asyncio.get_running_loop().time() > until:
            raise EmbeddedError(f"PostgreSQL of an earlier start (pid {pid}) does not end")
        await asyncio.sleep(POLL_S)


def _postmaster(data: Path) -> int | None:
    try:
        return int((data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def _check_version(data: Path, found: Postgres) -> None:
    written = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if written != str(found.major):
        raise EmbeddedError(
            f"{data} holds data of PostgreSQL {written}, this is {found.major}: dump it with "
            f"pg_dumpall of {written}, move the folder away, restore with psql after the start"
        )


def _environ() -> dict[str, str]:
    """No PG* variables of the caller, no locale but the one we chose."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def _tail(log: Path) -> str:
    """The last words of a server; empty before its first."""
    try:
        return log.read_text(encoding="utf-8", errors="replace")[-1_000:].strip()
    except OSError:
        return ""


def _last_line(log: Path) -> str:
    lines = _tail(log).splitlines()
    return f"{lines[-1] if lines else 'no reason given'} ({log})"

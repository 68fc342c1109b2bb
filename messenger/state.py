"""The state file of a running platform: which processes serve, and where.

Written by the supervisor, read by commands beside it. It holds the embedded servers' addresses
with their password, so it is the owner's alone.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from messenger.home import write_private
from messenger.processes import alive, started_at

NAME = "platform.json"


class Process(Struct, frozen=True, kw_only=True):
    """One child of the supervisor."""

    name: str
    role: str
    """postgres, redis or node."""
    pid: int
    started: float
    port: int | None = None
    ops_port: int | None = None


class Platform(Struct, frozen=True, kw_only=True):
    """What `peyk serve` started."""

    pid: int
    started: float
    """When the supervisor started, by the kernel's count: tells a reused pid."""
    host: str
    port: int
    database_url: str
    redis_url: str
    processes: tuple[Process, ...] = ()
    ready: bool = False
    """Every node answered ready once."""


def write(home: Path, platform: Platform) -> None:
    """Replace the file in one step."""
    write_private(home / NAME, msgspec.json.format(msgspec.json.encode(platform)).decode())


def running(home: Path) -> Platform | None:
    """The platform that serves from this folder now, if there is one."""
    try:
        platform = msgspec.json.decode((home / NAME).read_bytes(), type=Platform)
    except (OSError, msgspec.DecodeError):
        return None
    if not alive(platform.pid) or started_at(platform.pid) != platform.started:
        return None
    return platform


def remove(home: Path) -> None:
    (home / NAME).unlink(missing_ok=True)

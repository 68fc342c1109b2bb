"""Where the servers' programs come from, and folders that others could have made."""

import os
from pathlib import Path

import pytest

from messenger.embedded.binaries import (
    EmbeddedError,
    find_postgres,
    find_redis,
    own_folder,
    reachable,
)


def a_program(folder: Path, name: str, prints: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\n", encoding="ascii")
    path.chmod(0o755)
    return path


def test_given_the_wheels_when_searched_then_their_programs_are_new_enough() -> None:
    assert find_postgres().major == 18
    assert find_redis().name == "redis-server"


def test_given_no_wheel_when_searched_then_the_machines_programs_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_program(tmp_path, "postgres", "postgres (PostgreSQL) 16.2")
    a_program(tmp_path, "initdb", "initdb (PostgreSQL) 16.2")
    redis = a_program(tmp_path, "redis-server", "Redis server v=7.4.1 sha=0 bits=64")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    found = find_postgres("no_such_wheel")

    assert (found.programs, found.major) == (tmp_path, 16)
    assert find_redis("no_such_wheel") == redis


def test_given_old_programs_only_when_searched_then_one_line_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_program(tmp_path, "postgres", "postgres (PostgreSQL) 13.4")
    a_program(tmp_path, "initdb", "initdb (PostgreSQL) 13.4")
    a_program(tmp_path, "redis-server", "Redis server v=6.2.0 sha=0")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    with pytest.raises(EmbeddedError, match="no PostgreSQL >= 15 here: install peyk"):
        find_postgres("no_such_wheel")
    with pytest.raises(EmbeddedError, match="give DATABASE_URL and REDIS_URL"):
        find_redis("no_such_wheel")


def test_given_a_program_that_does_not_run_here_when_searched_then_it_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis-server").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "redis-server").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(EmbeddedError, match="no Redis >= 7 here"):
        find_redis("no_such_wheel")


def test_given_a_wheel_when_copied_then_everybody_may_read_it_and_libraries_lie_beside(
    tmp_path: Path,
) -> None:
    install = tmp_path / "site" / "a_wheel" / "pginstall18"
    a_program(install / "bin", "postgres", "postgres (PostgreSQL) 18.4").chmod(0o700)
    (tmp_path / "site" / "a_wheel.libs").mkdir()
    (tmp_path / "site" / "a_wheel-0.6.0.dist-info").mkdir()

    first = reachable(install, tmp_path)
    again = reachable(install, tmp_path)

    assert first == again == tmp_path / "peyk-postgres-18-0.6.0" / "a_wheel" / "pginstall18"
    assert (first / "bin" / "postgres").stat().st_mode & 0o777 == 0o755
    assert (first / ".." / ".." / "a_wheel.libs").exists()


def test_given_a_folder_of_somebody_else_when_asked_for_then_it_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "trap").symlink_to(tmp_path)

    with pytest.raises(EmbeddedError, match="belongs to somebody else"):
        own_folder(tmp_path / "trap", 0o700)
    assert own_folder(tmp_path / "mine", 0o711).stat().st_mode & 0o777 == 0o711


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_given_a_folder_given_away_when_asked_for_then_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "trap").mkdir()
    os.chown(tmp_path / "trap", 65_534, 65_534)

    with pytest.raises(EmbeddedError, match="belongs to somebody else"):
        own_folder(tmp_path / "trap", 0o700)

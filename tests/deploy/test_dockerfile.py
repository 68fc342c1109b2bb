"""The image: two stages, locked packages, an ordinary user, files that exist."""

import asyncio
import os
import re
import subprocess
import sys

from tests.architecture.tree import ROOT
from tests.deploy.files import DEPLOY
from tests.support.platform import Platform
from tests.support.ports import free_ports

Instruction = tuple[str, str]


def instructions() -> list[Instruction]:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(word.upper(), " ".join(rest.split())) for word, rest in lines]


def last_stage() -> list[Instruction]:
    found = instructions()
    starts = [place for place, (word, _) in enumerate(found) if word == "FROM"]
    assert len(starts) == 2
    return found[starts[-1] :]


def value(word: str) -> str:
    [found] = [rest for name, rest in last_stage() if name == word]
    return found


def test_given_the_image_when_it_runs_then_it_is_nobody_special_and_leaves_in_order() -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", value("USER"))
    assert value("STOPSIGNAL") == "SIGTERM"
    assert value("ENTRYPOINT") == '["peyk"]'
    assert "alive.py" in value("HEALTHCHECK")
    words = [word for word, _ in last_stage()]
    assert "RUN" not in words[words.index("USER") :]  # what root must do is done before


def test_given_both_stages_when_compared_then_they_start_from_one_exact_version() -> None:
    bases = {rest.partition(" AS ")[0] for word, rest in instructions() if word == "FROM"}

    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())


def test_given_packages_when_installed_then_hashes_are_demanded_and_no_index_is_named() -> None:
    installs = [rest for word, rest in instructions() if word == "RUN" and " install " in rest]

    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps" in install
        assert "index" not in install


def test_given_paths_when_copied_then_they_exist_and_the_builder_gets_them() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied: set[str] = set()
    for word, rest in instructions():
        parts = [part for part in rest.split() if not part.startswith("--chmod")]
        if word == "COPY" and not parts[0].startswith("--from"):
            copied |= set(parts[:-1])

    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert copied == allowed
    assert ignored[1] == "*"


def alive(port: int) -> int:
    """Exit code of the health check."""
    environ = {"PATH": os.defpath, "PEYK_OPS_PORT": str(port)}
    script = [sys.executable, "-S", str(DEPLOY / "alive.py")]
    return subprocess.run(script, env=environ, check=False, timeout=15).returncode  # noqa: S603


async def test_given_a_node_when_its_container_is_checked_then_it_is_alive(
    platform: Platform,
) -> None:
    assert await asyncio.to_thread(alive, platform.settings.ops_port) == 0


def test_given_no_node_when_its_container_is_checked_then_it_is_not() -> None:
    assert alive(free_ports()) == 1

"""Rules of the house that hold for every file."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from messenger.bus import scripts
from tests.architecture.tree import PACKAGES, ROOT, files, name

MOST_LINES = 400
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py", "manager.py"}
FORBIDDEN_WORDS = re.compile(r"/(home|root|work)/\w|\bTODO\b(?! #\d)")
"""Paths of one machine, and promises without a number."""
INDEX = re.compile(r"https?://|--(extra-)?index-url|--find-links|^-[if] ", re.MULTILINE)


def test_given_any_source_file_when_counted_then_it_has_at_most_400_lines() -> None:
    long = {
        name(path): lines
        for path in files(".py", ".lua", ".js", ".sh")
        if "vendor" not in path.parts
        and (lines := len(path.read_text(encoding="utf-8").splitlines())) > MOST_LINES
    }

    assert long == {}


def test_given_any_module_when_named_then_the_name_says_what_it_is() -> None:
    assert [name(path) for path in files(".py") if path.name in FORBIDDEN_NAMES] == []


def test_given_a_package_when_opened_then_its_init_holds_a_docstring_only() -> None:
    with_code = []
    for path in files("__init__.py", under=PACKAGES):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        documented = body and isinstance(body[0], ast.Expr)
        if len(body) != 1 or not documented:
            with_code.append(name(path))

    assert with_code == []


def test_given_a_module_when_opened_then_it_says_why_it_exists() -> None:
    silent = [
        name(path)
        for path in files(".py", under=PACKAGES)
        if ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) is None
    ]

    assert silent == []


def test_given_a_package_when_installed_then_pyproject_names_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in files("__init__.py", under=PACKAGES)
    }

    assert found == set(project["tool"]["setuptools"]["packages"])


def test_given_any_text_when_read_then_it_speaks_of_the_product_alone() -> None:
    own = Path(__file__)
    offending = [
        name(path)
        for path in files(".py", ".md", ".toml", ".lua", ".html", ".j2", ".js", ".css", "Makefile")
        if path != own and FORBIDDEN_WORDS.search(path.read_text(encoding="utf-8"))
    ]

    assert offending == []


@pytest.mark.parametrize("path", files(".txt", under=("requirements",)), ids=name)
def test_given_locked_requirements_when_read_then_each_has_hashes_and_no_address(
    path: Path,
) -> None:
    text = path.read_text(encoding="utf-8")
    pinned = re.findall(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL)

    assert pinned
    assert [block.split("\n")[0] for block in pinned if "--hash=sha256:" not in block] == []
    assert INDEX.findall(text) == []


def test_given_javascript_locks_when_read_then_they_hold_no_address() -> None:
    resolved = [
        name(path)
        for path in files("package-lock.json")
        if '"resolved"' in path.read_text(encoding="utf-8")
    ]

    assert resolved == []


def test_given_a_lua_script_when_read_then_redis_checks_its_slots() -> None:
    """Without the line `#!lua` a one-node cluster lets a script touch keys of other slots."""
    known = [value.text for value in vars(scripts).values() if isinstance(value, scripts.Script)]
    known += [path.read_text(encoding="utf-8") for path in files(".lua")]
    elsewhere = [
        name(path)
        for path in files(".py", under=PACKAGES)
        if "redis.call(" in path.read_text(encoding="utf-8")
    ]

    assert known
    assert [text[:60] for text in known if not text.startswith("#!lua\n")] == []
    assert elsewhere == ["messenger/bus/scripts.py"]

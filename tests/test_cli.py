"""The command `peyk` as its user sees it: a clear line and the right exit code."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from msgspec import Struct

from messenger.cli import main
from tests.conftest import Stores
from tests.support.homes import temporary_home

pytestmark = pytest.mark.timeout(60)


class Done(Struct, frozen=True):
    """How a command ended."""

    code: int
    out: str
    err: str


Peyk = Callable[..., Done]


@pytest.fixture
def peyk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Peyk:
    """Runs a command inside this process, with nothing but `environ` around it."""

    def run(*words: str, **environ: str) -> Done:
        with monkeypatch.context() as patch:
            for name in list(os.environ):
                patch.delenv(name)
            for name, value in {"PATH": os.defpath, **environ}.items():
                patch.setenv(name, value)
            code = main(words)
        captured = capsys.readouterr()
        return Done(code, captured.out, captured.err)

    return run


@pytest.fixture
def own_home() -> Iterator[Path]:
    with temporary_home() as home:
        yield home


def program(*words: str, **environ: str) -> Done:
    """Runs a command as its user does."""
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "messenger", *words],
        env={"PATH": os.defpath, **environ},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def urls(stores: Stores) -> Mapping[str, str]:
    return {"DATABASE_URL": stores.database_url, "REDIS_URL": stores.redis_url}


def refusal(done: Done) -> str:
    """The one line of a refusal to start."""
    assert done.code == 2, done.err
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("peyk: ")
    return lines[0].removeprefix("peyk: ")


def test_given_no_command_when_asked_for_help_then_every_command_is_listed() -> None:
    done = program("--help")

    assert done.code == 0
    for command in ("serve", "node", "migrate", "settings", "token", "demo", "bench"):
        assert f"    {command} " in done.out


def test_given_a_reader_who_has_enough_when_settings_are_listed_then_nobody_complains() -> None:
    command = f"{sys.executable} -m messenger settings | head -1"

    done = subprocess.run(  # noqa: S602 - our own program, in a pipe
        command, shell=True, capture_output=True, text=True, timeout=50, check=False
    )

    assert (done.stdout, done.stderr) == ("database_url = none  [default]\n", "")


def test_given_a_setting_when_listed_then_value_source_and_reason_show_and_secrets_do_not(
    peyk: Peyk,
) -> None:
    done = peyk("settings", PEYK_PORT="21000", PEYK_API_KEY="do not print this")

    assert done.code == 0
    assert "port = 21000  [environment PEYK_PORT]" in done.out
    assert "below 32768" in done.out
    assert "api_key = (hidden)" in done.out
    assert "api.key = (hidden)" in done.out
    assert "do not print this" not in done.out
    assert "limits.msg.account.burst = 60" in done.out


def test_given_a_program_of_its_own_when_asked_for_help_then_that_program_answers() -> None:
    done = program("demo", "--help")

    assert (done.code, done.err) == (0, "")
    assert "usage: peyk demo" in done.out


@pytest.mark.parametrize(
    ("words", "environ", "expected"),
    [
        (["serve"], {"PEYK_NOPE": "1"}, "PEYK_NOPE: unknown setting"),
        (["serve", "--port", "x"], {}, "command line: port: Expected `int`, got `str`"),
        (["serve", "--config", "/nowhere"], {}, "/nowhere: No such file or directory"),
        (["serve", "--home", "/dev/null/x"], {}, "home: cannot write to /dev/null/x"),
        (["serve"], {"DATABASE_URL": "postgresql://a/b"}, "REDIS_URL: missing"),
        (
            ["serve"],
            {"DATABASE_URL": "mysql://a/b", "REDIS_URL": "redis://a"},
            "DATABASE_URL: not of the form",
        ),
        (["migrate"], {"PEYK_ENV": "production"}, "DATABASE_URL: production needs it"),
        (["audit"], {}, "`peyk audit` is not part of this version"),
    ],
)
def test_given_a_bad_start_when_run_then_one_line_says_why_and_the_code_is_2(
    peyk: Peyk, tmp_path: Path, words: list[str], environ: dict[str, str], expected: str
) -> None:
    assert expected in refusal(peyk(*words, **{"PEYK_HOME": str(tmp_path), **environ}))


def test_given_a_bad_start_when_run_by_its_user_then_there_is_no_stack_trace() -> None:
    assert refusal(program("serve", PEYK_NOPE="1")) == "PEYK_NOPE: unknown setting"


def test_given_a_taken_port_when_served_then_one_line_names_it(tmp_path: Path) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen(1)
        port = stranger.getsockname()[1]

        line = refusal(program("serve", "--port", str(port), "--home", str(tmp_path)))

    assert line == f"port: 127.0.0.1:{port} is taken"


def test_given_an_unknown_database_when_served_then_one_line_has_the_servers_reason(
    stores: Stores, tmp_path: Path
) -> None:
    unknown = stores.database_url.replace("/peyk?", "/unknown?")

    line = refusal(
        program(
            *("serve", "--home", str(tmp_path), "--port", "29871"),
            DATABASE_URL=unknown,
            REDIS_URL=stores.redis_url,
            PEYK_OPS_PORT="29872",
        )
    )

    assert line == 'DATABASE_URL: database "unknown" does not exist'


def test_given_a_phone_when_a_token_is_made_then_it_is_one_json_line(
    peyk: Peyk, stores: Stores, tmp_path: Path
) -> None:
    phone = f"+98912{id(tmp_path) % 10**7:07d}"
    home = ("--home", str(tmp_path))

    first = peyk("token", phone, "--name", "Mina", *home, **urls(stores))
    again = peyk("token", phone, *home, **urls(stores))

    assert (first.code, again.code) == (0, 0), first.err
    made, found = json.loads(first.out), json.loads(again.out)
    assert set(made) == {"account_id", "device_id", "access_token", "refresh_token"}
    assert made["account_id"] == found["account_id"]
    assert made["device_id"] != found["device_id"]


@pytest.mark.parametrize(
    ("phone", "expected"), [("12", "PHONE_INVALID"), ("+989120000000", "NAME_REQUIRED")]
)
def test_given_a_refused_phone_when_a_token_is_made_then_the_reason_is_one_line(
    peyk: Peyk, stores: Stores, tmp_path: Path, phone: str, expected: str
) -> None:
    done = peyk("token", phone, "--home", str(tmp_path), **urls(stores))

    assert (done.code, done.out) == (1, "")
    assert done.err.strip() == f"peyk: {expected}"


@pytest.mark.slow
def test_given_no_stores_when_migrated_then_embedded_ones_are_and_stay(
    peyk: Peyk, own_home: Path
) -> None:
    done = peyk("migrate", "--home", str(own_home))

    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("the database is at revision ")
    assert (own_home / "postgres" / "PG_VERSION").exists()

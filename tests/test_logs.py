"""Log lines are JSON with a static event, and nothing a user wrote can reach them."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from messenger.logs import configure, network_of

CANARY = "canary-7f3a"


class Lines:
    def __init__(self) -> None:
        self.stream = io.StringIO()

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    @property
    def last(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.text.splitlines()[-1])
        return line


@pytest.fixture
def lines() -> Iterator[Lines]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    lines = Lines()
    configure("n3", "info", lines.stream)
    yield lines
    root.handlers[:] = before
    root.setLevel(level)


log = logging.getLogger("messenger.test")


def test_given_fields_when_logged_then_the_line_is_json_with_event_and_fields(lines: Lines) -> None:
    log.info("node ready", extra={"port": 8000, "roles": ("gateway",), "slow": None})

    assert (
        lines.last.items()
        >= {
            "event": "node ready",
            "level": "info",
            "node": "n3",
            "logger": "messenger.test",
            "port": 8000,
            "roles": ["gateway"],
            "slow": None,
        }.items()
    )
    assert lines.last["ts"].endswith("+00:00")


@pytest.mark.parametrize("field", ["text", "phone", "token", "address", "account"])
def test_given_a_secret_field_when_logged_then_it_is_hidden(lines: Lines, field: str) -> None:
    log.warning("something", extra={field: CANARY})
    assert lines.last[field] == "hidden"


def test_given_an_error_with_user_text_when_logged_then_only_its_type_and_stack_appear(
    lines: Lines,
) -> None:
    try:
        try:
            raise KeyError(CANARY)
        except KeyError as cause:
            raise ValueError(f"[parameters: {CANARY}]") from cause
    except ValueError:
        log.exception("rpc failed", extra={"request": {"text": CANARY}})

    assert CANARY not in lines.text
    assert lines.last["error"] == "ValueError"
    assert "test_logs.py" in lines.last["stack"][0]
    assert lines.last["caused_by"][0].startswith("KeyError ")
    assert lines.last["request"] == "dict"


def test_given_a_group_of_errors_when_logged_then_its_members_are_named(lines: Lines) -> None:
    try:
        raise ExceptionGroup("tasks", [OSError(CANARY), TypeError()])
    except ExceptionGroup:
        log.exception("task died")
    assert [cause.split()[0] for cause in lines.last["caused_by"]] == ["OSError", "TypeError"]
    assert CANARY not in lines.text


def test_given_a_library_that_formats_when_it_logs_then_only_the_template_stays(
    lines: Lines,
) -> None:
    logging.getLogger("somewhere").warning("bad value %r", CANARY)
    assert lines.last["event"] == "bad value %r"


async def test_given_an_error_nobody_awaited_when_asyncio_reports_then_its_text_is_left_out(
    lines: Lines,
) -> None:
    context = {"message": "Task exception was never retrieved", "exception": ValueError(CANARY)}
    asyncio.get_running_loop().call_exception_handler(context)

    assert lines.last["event"] == "Task exception was never retrieved"
    assert CANARY not in lines.text


def test_given_a_chatty_library_when_it_informs_then_nothing_is_written(lines: Lines) -> None:
    logging.getLogger("uvicorn.error").info("Started server")
    logging.getLogger("somewhere").info("hello")
    assert lines.text == ""


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.77", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("not an address", "unknown"),
    ],
)
def test_given_an_address_when_it_must_be_logged_then_only_its_network_is(
    address: str, network: str
) -> None:
    assert network_of(address) == network

import msgspec
import pytest

from messenger.wire import messages as m
from messenger.wire.messages import compact_json

REQUESTS = [name for name in m.Command.__struct_fields__ if name != "id"]


@pytest.mark.parametrize("name", REQUESTS)
def test_given_a_command_with_one_request_when_asked_then_it_is_that_request(name: str) -> None:
    command = msgspec.json.decode(b'{"id":1,"%b":{}}' % name.encode(), type=m.Command)

    assert command.request is getattr(command, name)
    assert command.request is not None


def test_given_a_pong_when_asked_then_there_is_no_request() -> None:
    assert m.Command().request is None


def test_given_every_result_when_named_then_the_reply_has_a_field_of_that_type() -> None:
    hints = m.Reply.__annotations__

    for result, name in m.RESULT_NAMES.items():
        assert hints[name] == result | None


@pytest.mark.parametrize(
    ("data", "compact"),
    [
        (b'{"a": 1}', b'{"a": 1}'),
        (b'{\n "a": [1,\r\n 2]\n}', b'{"a":[1,2]}'),
        (b'"a\\nb"', b'"a\\nb"'),
        ('"سلام"'.encode(), '"سلام"'.encode()),
        (b"", None),
        (b"{", None),
        (b"{} {}", None),
        (b'"\xff"', None),
        (b"[" * 30_000 + b"]" * 30_000, None),
    ],
)
def test_given_a_payload_when_compacted_then_it_is_one_line_of_json_or_refused(
    data: bytes, compact: bytes | None
) -> None:
    assert compact_json(data) == compact

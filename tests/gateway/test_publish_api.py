"""POST /api/*: the shapes of the publish API (A12)."""

from typing import Any

import pytest

from tests.gateway.generic import API_KEY, a_topic, api, token
from tests.support.line import joined
from tests.support.platform import Platform


async def test_given_the_publish_api_when_called_then_the_shapes_of_the_protocol(
    node: Platform,
) -> None:
    topic = a_topic()
    async with joined(node.ws_url, token()) as line:
        await line.says(subscribe={"channel": topic})
        body = {"channel": topic, "data": {"a": 1}, "tags": {"k": "v"}, "idempotency_key": "i1"}
        first = await api(node, "publish", body)
        again = await api(node, "publish", body)
        assert first == again
        assert first[0] == 200
        assert first[1]["result"]["offset"] == 1
        [push] = await line.hears()
        assert push["pub"]["tags"] == {"k": "v"}
        _, history = await api(node, "history", {"channel": topic, "limit": -1})
        assert [one["data"] for one in history["result"]["publications"]] == [{"a": 1}]
        b64 = await api(node, "publish", {"channel": topic, "b64data": "eyJiIjoyfQ=="})
        assert b64[1]["result"]["offset"] == 2
        skipped = await api(node, "publish", {"channel": topic, "data": 1, "skip_history": True})
        assert skipped[1] == {"result": {}}


@pytest.mark.parametrize(
    ("path", "body", "key", "status", "code"),
    [
        ("publish", {"channel": "quiet:1", "data": 1}, "wrong", 401, None),
        ("publish", b"not json", API_KEY, 400, None),
        ("publish", {"data": 1}, API_KEY, 200, 107),
        ("publish", {"channel": "quiet:1"}, API_KEY, 200, 107),
        ("publish", {"channel": "quiet:1", "b64data": "%%"}, API_KEY, 200, 107),
        ("publish", {"channel": "nowhere:1", "data": 1}, API_KEY, 200, 102),
        ("publish", {"channel": "user:1", "data": 1}, API_KEY, 200, 103),
        ("publish", {"channel": "quiet:" + "n" * 250, "data": 1}, API_KEY, 200, 107),
        ("history", {"channel": "quiet:" + "n" * 250}, API_KEY, 200, 107),
        ("presence", {"channel": "room:" + "n" * 251}, API_KEY, 200, 107),
        ("history", {"channel": "live:1"}, API_KEY, 200, 108),
        ("presence", {"channel": "quiet:1"}, API_KEY, 200, 108),
        ("publish", b'{"data":"' + b"x" * 70_000 + b'"}', API_KEY, 413, None),
    ],
)
async def test_given_a_bad_call_of_the_api_when_made_then_the_answer_says_what(
    node: Platform, path: str, body: Any, key: str, status: int, code: int | None
) -> None:
    answer = await api(node, path, body, key)
    assert answer[0] == status
    if code is not None:
        assert answer[1]["error"]["code"] == code

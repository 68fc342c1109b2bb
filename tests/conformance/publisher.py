"""The HTTP publish API, as another server of the operator's uses it."""

from typing import Any

import msgspec

from messenger.client.http import post
from tests.conformance.sdk import Json

API_KEY = "conformance-api-key"


class Publisher:
    """Publishes to topics of one node."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def publish(self, topic: str, data: Any, **more: object) -> Json:
        body = msgspec.json.encode({"channel": topic, "data": data, **more})
        headers = {"X-API-Key": API_KEY, "Content-Type": "application/json"}
        status, answer = await post(f"{self._url}/api/publish", body, headers)
        assert status == 200, answer
        decoded = msgspec.json.decode(answer, type=Json)
        assert "result" in decoded, decoded
        result: Json = decoded["result"]
        return result

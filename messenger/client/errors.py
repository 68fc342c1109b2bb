"""A refusal as the caller of an rpc sees it."""

from typing import Any

import msgspec

Json = dict[str, Any]
"""A JSON object of the product protocol; the client keeps what it does not know."""

_ALWAYS_RETRIED = frozenset({1000, 1004})
DEFAULT_RETRY_S = 1.0


class RpcError(Exception):
    """The server answered with an error; `details` comes out of its message."""

    def __init__(self, code: int, message: str, *, temporary: bool = False) -> None:
        super().__init__(code, message)
        self.code = code
        name, _, rest = message.partition(" ")
        self.details = _details(rest)
        self.message = name if self.details else message
        self.temporary = temporary or code in _ALWAYS_RETRIED

    @property
    def retry_after_s(self) -> float | None:
        """When the same request may be repeated, None where repeating it is of no use."""
        after = self.details.get("retry_after_ms")
        if isinstance(after, int | float):
            return after / 1000
        return DEFAULT_RETRY_S if self.temporary else None


def _details(text: str) -> Json:
    if not text.startswith("{"):
        return {}
    try:
        return msgspec.json.decode(text, type=Json)
    except msgspec.DecodeError:
        return {}

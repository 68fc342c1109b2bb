"""What a client may be told beside address and token, and how it spaces its attempts."""

import random
from collections.abc import Awaitable, Callable
from typing import TypedDict

from messenger.client import link as events
from messenger.client.errors import Json

BACKOFF_S = (0.1, 20.0)


class Options(TypedDict, total=False):
    """All optional."""

    binary: bool
    get_token: Callable[[], Awaitable[str]]
    data: Json
    name: str
    reconnect: bool
    patience_s: float
    """How long a ping may be late before the link counts as dead."""
    spread: Callable[[float], float]
    """A random time up to its argument; by default none, as tests want it."""
    on_update: Callable[[Json], None]
    on_event: Callable[[events.Event], None]


def full_jitter(attempt: int) -> float:
    """Full jitter, so that a node's worth of clients does not come back at once."""
    least, most = BACKOFF_S
    return random.uniform(least, min(most, least * 2 ** min(attempt + 1, 10)))  # noqa: S311 - not a secret


def ignore(told: object) -> None:
    """Nobody listens."""


def at_once(seconds: float) -> float:
    """No spreading."""
    return 0.0

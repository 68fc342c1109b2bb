"""Settings with their reasons: how a declaration says why, and what is never shown."""

from typing import Annotated, Any, TypeVar

from msgspec import Meta


def why(reason: str, shown: str = "", **bounds: Any) -> Meta:
    """The reason of a default; `shown` is the default in words where it is computed."""
    return Meta(description=reason, extra={"shown": shown}, **bounds)


def secret(reason: str, shown: str = "generated in home") -> Meta:
    """A reason whose value is never printed, and may also come as PEYK_<NAME>_FILE."""
    return Meta(description=reason, extra={"secret": True, "shown": shown})


Number = TypeVar("Number", int, float)
Port = Annotated[int, Meta(ge=1, le=65_535)]
Positive = Annotated[Number, Meta(gt=0)]

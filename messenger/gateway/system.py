"""system.hello and system.echo: what a client asks before it knows anybody."""

import time

import msgspec
from msgspec import Raw, Struct

from messenger.feature import Access, Caller, Feature, Rpc
from messenger.settings import Settings

VERSION = "0.1"


class Hello(Struct, frozen=True):
    """Nothing to say."""


class HelloResult(Struct, frozen=True):
    """What this server is and what it holds clients to."""

    version: str
    now: int
    limits: dict[str, int]
    features: list[str]


class Echo(Struct, frozen=True):
    """Any JSON object: `data` is returned as it came."""

    data: Raw = Raw(b"null")


class EchoResult(Struct, frozen=True):
    data: Raw


def create(settings: Settings, features: list[str]) -> Feature:
    limits = {
        "frame_bytes": settings.frame_bytes,
        "frame_commands": settings.frame_commands,
        "message_chars": settings.message_chars,
        "message_bytes": settings.message_bytes,
        "max_subscriptions": settings.max_subscriptions,
        "in_flight": settings.in_flight,
        "difference_slice": settings.difference_slice,
        "small_chat": settings.small_chat,
    }

    def hello(_request: Hello, _caller: Caller) -> HelloResult:
        return HelloResult(VERSION, time.time_ns() // 1_000_000, limits, features)

    def echo(request: Echo, _caller: Caller) -> EchoResult:
        return EchoResult(msgspec.Raw(request.data))

    return Feature(
        "system",
        rpcs=[
            Rpc("system.hello", Hello, hello, access=Access.ANYONE),
            Rpc("system.echo", Echo, echo, access=Access.ANYONE),
        ],
    )

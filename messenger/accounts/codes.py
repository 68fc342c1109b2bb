"""How a one-time code reaches its person. The platform brings two ways, both for development.

A text-message provider is a class with the same one method; it is given to `feature.create`.
"""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode

FILE_NAME = "codes.jsonl"
RETRY_MS = 5_000

log = logging.getLogger(__name__)


class CodeMessage(Struct, frozen=True, kw_only=True):
    """What a person is told, once."""

    phone: str
    code: str
    lang: str | None
    at: int
    """Milliseconds UTC of the request, for readers of the file."""


class CodeSender(Protocol):
    """Brings codes to phones."""

    async def send(self, message: CodeMessage) -> None:
        """Return when the message is on its way; raise Refused(OVERLOADED) when it cannot be.

        At most once: nobody repeats, the person asks for a new code.
        """
        ...


class FileSender:
    """Appends each code as one line of JSON to a file that only its owner may read.

    One write per line with O_APPEND, so that several processes may share the file.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / FILE_NAME

    async def send(self, message: CodeMessage) -> None:
        try:
            await asyncio.to_thread(self._append, msgspec.json.encode(message) + b"\n")
        except OSError:
            log.exception("codes cannot be written; is the disk full?")
            raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": RETRY_MS}) from None

    def _append(self, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)


class ConsoleSender:
    """Prints codes on stdout; never to the log, which is kept and shipped."""

    async def send(self, message: CodeMessage) -> None:
        sys.stdout.write(f"code {message.code} for {message.phone}\n")
        sys.stdout.flush()


class NoSender:
    """For platforms whose accounts are made by `peyk token` alone."""

    async def send(self, message: CodeMessage) -> None:
        raise Refused(ErrorCode.FEATURE_OFF, {"feature": "accounts.request_code"})


def sender_of(name: str, home: Path) -> CodeSender:
    """The provider behind the setting `code_sender`."""
    if name == "file":
        return FileSender(home)
    return ConsoleSender() if name == "console" else NoSender()

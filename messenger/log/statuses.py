"""What `commit_messages` answers per send, and the refusal each one becomes."""

import zlib
from enum import IntEnum, unique

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode


@unique
class Status(IntEnum):
    """The function's `status` column."""

    WRITTEN = 0
    REPEATED = 1
    OTHER_BODY = 2
    NO_CHAT = 3
    NOT_MEMBER = 4
    MAY_NOT_POST = 5
    SLOW_MODE = 6
    EMBARGO = 7
    BANNED = 8
    COPY_IN_BATCH = 9
    REPLY_NOT_FOUND = 10


def refusal(status: int, seq: int | None, retry_ms: int | None, until: int | None) -> Refused:
    """The answer to a send that was not written; never reveals whether the chat exists."""
    match status:
        case Status.OTHER_BODY:
            return Refused(ErrorCode.IDEMPOTENCY_MISMATCH, {"seq": seq})
        case Status.NO_CHAT | Status.NOT_MEMBER:
            return Refused(ErrorCode.NO_CHAT)
        case Status.BANNED:
            return Refused(ErrorCode.BANNED, {"until": until})
        case Status.MAY_NOT_POST:
            return Refused(ErrorCode.FORBIDDEN, {"right": "post"})
        case Status.SLOW_MODE:
            return Refused(ErrorCode.SLOW_MODE, {"retry_after_ms": retry_ms})
        case Status.EMBARGO:
            return Refused(ErrorCode.FORBIDDEN, {"right": "post", "why": "embargo"})
        case Status.REPLY_NOT_FOUND:
            return Refused(ErrorCode.REPLY_NOT_FOUND)
        case _:
            return Refused(ErrorCode.INTERNAL)


def send_digest(
    kind: int, body: str | None, extra: str | None, media: int | None, reply: int | None
) -> int:
    """CRC-32 of what a send says, signed as SQL wants it: tells a repeat from another body."""
    if extra is None and media is None and reply is None:  # nearly all; the same sum in a third
        crc = zlib.crc32(f"{kind}\0{body}".encode(errors="surrogatepass"))
        crc = zlib.crc32(b"\0None\0None\0None", crc)
    else:
        text = f"{kind}\0{body}\0{extra}\0{media}\0{reply}"
        crc = zlib.crc32(text.encode(errors="surrogatepass"))
    return crc - (1 << 32) if crc >= 1 << 31 else crc

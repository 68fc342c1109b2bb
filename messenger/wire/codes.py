"""Error, close and unsubscribe codes: one table, published in docs/protocol.md.

Below 1000 the codes and their texts are those of the Centrifuge client protocol v2
(centrifugal/centrifuge errors.go, disconnect.go, unsubscribe.go); SDKs react to them by number.
1000-1999 are the product's. Closes 3500-3999 and 4500-4999 are final for SDKs; after all others
they reconnect.
"""

from enum import IntEnum, unique


@unique
class ErrorCode(IntEnum):
    """A code in an error reply; `message` is what SDKs print."""

    message: str

    def __new__(cls, code: int, message: str = "") -> "ErrorCode":
        member = int.__new__(cls, code)
        member._value_ = code
        member.message = message
        return member

    INTERNAL = 100, "internal server error"
    UNAUTHORIZED = 101, "unauthorized"
    UNKNOWN_TOPIC = 102, "unknown channel"
    PERMISSION_DENIED = 103, "permission denied"
    METHOD_NOT_FOUND = 104, "method not found"
    ALREADY_SUBSCRIBED = 105, "already subscribed"
    LIMIT_EXCEEDED = 106, "limit exceeded"
    BAD_REQUEST = 107, "bad request"
    NOT_AVAILABLE = 108, "not available"
    TOKEN_EXPIRED = 109, "token expired"
    EXPIRED = 110, "expired"
    TOO_MANY_REQUESTS = 111, "too many requests"
    UNRECOVERABLE_POSITION = 112, "unrecoverable position"
    CONCURRENT_PAGINATION = 113, "concurrent pagination"

    OVERLOADED = 1000, "OVERLOADED"
    INVALID = 1001, "INVALID"
    NOT_FOUND = 1002, "NOT_FOUND"
    CONFLICT = 1003, "CONFLICT"
    TIMEOUT = 1004, "TIMEOUT"
    STALE_SESSION = 1005, "STALE_SESSION"
    ACCOUNT_RESTRICTED = 1006, "ACCOUNT_RESTRICTED"
    FEATURE_OFF = 1007, "FEATURE_OFF"
    IDEMPOTENCY_MISMATCH = 1008, "IDEMPOTENCY_MISMATCH"
    RATE_LIMITED = 1010, "RATE_LIMITED"
    TOO_LARGE = 1011, "TOO_LARGE"

    PHONE_INVALID = 1101, "PHONE_INVALID"
    CODE_WRONG = 1103, "CODE_WRONG"
    CODE_EXPIRED = 1104, "CODE_EXPIRED"
    NAME_REQUIRED = 1105, "NAME_REQUIRED"
    PASSWORD_NEEDED = 1106, "PASSWORD_NEEDED"
    REFRESH_INVALID = 1107, "REFRESH_INVALID"
    USERNAME_TAKEN = 1110, "USERNAME_TAKEN"
    USERNAME_INVALID = 1111, "USERNAME_INVALID"
    FROZEN_BY_BADGE = 1112, "FROZEN_BY_BADGE"
    NAME_REFUSED = 1113, "NAME_REFUSED"

    PRIVACY = 1201, "PRIVACY"
    NO_CHAT = 1202, "NO_CHAT"
    FORBIDDEN = 1203, "FORBIDDEN"
    BANNED = 1204, "BANNED"
    LAST_OWNER = 1205, "LAST_OWNER"
    CHAT_FULL = 1206, "CHAT_FULL"
    LINK_DEAD = 1207, "LINK_DEAD"
    TOO_MANY_CHATS = 1208, "TOO_MANY_CHATS"
    JOIN_GUARD = 1209, "JOIN_GUARD"
    SLOW_MODE = 1210, "SLOW_MODE"

    NO_MESSAGE = 1301, "NO_MESSAGE"
    EMPTY_OR_TOO_LONG = 1302, "EMPTY_OR_TOO_LONG"
    MEDIA_NOT_READY = 1303, "MEDIA_NOT_READY"
    EDIT_WINDOW = 1304, "EDIT_WINDOW"
    PROTECTED_CONTENT = 1305, "PROTECTED_CONTENT"
    REPLY_NOT_FOUND = 1306, "REPLY_NOT_FOUND"
    REACTION_NOT_ALLOWED = 1307, "REACTION_NOT_ALLOWED"
    UPLOAD_CORRUPT = 1308, "UPLOAD_CORRUPT"
    NOT_FOR_BIG_CHATS = 1309, "NOT_FOR_BIG_CHATS"


TEMPORARY = frozenset(
    {
        ErrorCode.INTERNAL,
        ErrorCode.TOO_MANY_REQUESTS,
        ErrorCode.CONCURRENT_PAGINATION,
        ErrorCode.OVERLOADED,
        ErrorCode.TIMEOUT,
    }
)
"""The same request may be repeated unchanged."""


@unique
class CloseCode(IntEnum):
    """A WebSocket close code; the reason is never empty (an empty one misleads centrifuge-js)."""

    reason: str

    def __new__(cls, code: int, reason: str = "") -> "CloseCode":
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member

    PROTOCOL_ERROR = 1002, "protocol error"
    INVALID_TEXT = 1007, "text is not UTF-8"
    TOO_BIG = 1009, "message too big"
    CLOSED = 3000, "connection closed"
    SHUTDOWN = 3001, "shutdown"
    INTERNAL = 3004, "internal server error"
    EXPIRED = 3005, "connection expired"
    SUBSCRIPTION_EXPIRED = 3006, "subscription expired"
    SLOW = 3008, "slow"
    WRITE_ERROR = 3009, "write error"
    INSUFFICIENT_STATE = 3010, "insufficient state"
    FORCE_RECONNECT = 3011, "force reconnect"
    NO_PONG = 3012, "no pong"
    TOO_MANY_REQUESTS = 3013, "too many requests"
    STATE_INVALIDATED = 3014, "state invalidated"
    INVALID_TOKEN = 3500, "invalid token"
    BAD_REQUEST = 3501, "bad request"
    STALE = 3502, "stale"
    FORCE_DISCONNECT = 3503, "force disconnect"
    CONNECTION_LIMIT = 3504, "connection limit"
    TOPIC_LIMIT = 3505, "channel limit"
    PERMISSION_DENIED = 3507, "permission denied"
    NOT_AVAILABLE = 3508, "not available"
    TOO_MANY_ERRORS = 3509, "too many errors"
    REPLACED = 4001, "replaced"
    ACCOUNT_BANNED = 4500, "account banned"
    DEVICE_REVOKED = 4501, "device revoked"
    ACCOUNT_DELETED = 4502, "account deleted"
    UPGRADE_REQUIRED = 4503, "upgrade required"


@unique
class UnsubscribeCode(IntEnum):
    """The code of an unsubscribe push; below 2500 final, from 2500 the SDK subscribes again."""

    reason: str

    def __new__(cls, code: int, reason: str = "") -> "UnsubscribeCode":
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member

    SERVER = 2000, "server unsubscribe"
    INSUFFICIENT_STATE = 2500, "insufficient state"
    EXPIRED = 2501, "subscription expired"
    STATE_INVALIDATED = 2502, "state invalidated"

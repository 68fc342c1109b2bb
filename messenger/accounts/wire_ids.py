"""Ids of accounts as they come from clients."""

from collections.abc import Iterable

from messenger.feature import Refused
from messenger.ids import AccountId, parse_id
from messenger.wire.codes import ErrorCode


def account_of(text: str, field: str = "account") -> AccountId:
    """Refused(INVALID) where the number does not fit 63 bits."""
    number = parse_id(text)
    if number is None:
        raise Refused(ErrorCode.INVALID, {"field": field, "why": "not an id"})
    return AccountId(number)


def accounts_of(texts: Iterable[str], field: str = "ids") -> list[AccountId]:
    """In the order given, each once."""
    return list(dict.fromkeys(account_of(text, field) for text in texts))


def page_start(after: str | None) -> int:
    """The id behind an opaque `after`; 0 for the first page."""
    if after is None:
        return 0
    if not (after.isascii() and after.isdecimal()):
        raise Refused(ErrorCode.INVALID, {"field": "after", "why": "not from a page"})
    return account_of(after, "after") if int(after) else 0

"""The account's facts as updates, as far back as they are kept."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from messenger.chats.updates import update_of_fact
from messenger.ids import AccountId
from messenger.log.account_log import AccountKind, AccountLog, AccountRow

KEPT = 1_000  # rows of one account at most, see data-model 3.2
NAMES: Mapping[int, str] = {
    AccountKind.READ: "read.self",
    AccountKind.HIDDEN: "message.hidden",
    AccountKind.BLOCKED: "blocked",
    AccountKind.CONTACT: "contact",
    AccountKind.PROFILE: "profile",
    AccountKind.SESSION_NEW: "session.new",
    AccountKind.SESSION_REVOKED: "session.revoked",
    AccountKind.BADGE_OWN: "badge.own",
}
"""Kinds whose payload is the update's own fields; those of chats have structs of their own."""


class Facts(Struct, frozen=True):
    """`too_long`: they do not lead from the device's aev to `aev`; it lists its chats anew."""

    aev: int
    updates: list[Raw]
    size: int
    too_long: bool = False


class AccountEvents:
    """Reads an account's facts back."""

    def __init__(self, accounts: AccountLog, encode: Callable[[Any], bytes] | None = None) -> None:
        self._accounts = accounts
        self._encode = encode or msgspec.json.encode

    async def since(self, account: AccountId, aev: int, budget: int) -> Facts:
        """All facts after `aev`, or `too_long` where some are gone or do not fit."""
        head = await self._accounts.head(account)
        if not head.purged_aev <= aev <= head.aev:
            return Facts(head.aev, [], 0, too_long=True)
        if aev == head.aev:
            return Facts(aev, [], 0)
        rows = await self._accounts.since(account, aev, KEPT + 1)
        updates = [self._encode(update_of(row)) for row in rows]
        size = sum(map(len, updates)) + len(updates)
        newest = max(rows[-1].aev, head.aev) if rows else head.aev
        if size > budget or len(rows) > KEPT:
            return Facts(newest, [], 0, too_long=True)
        return Facts(newest, [Raw(update) for update in updates], size)


def update_of(row: AccountRow) -> Any:
    """The update that told of this fact when it happened."""
    update = update_of_fact(row)
    if update is not None:
        return update
    named: dict[str, Any] = {"t": NAMES[row.kind], "aev": row.aev}
    if row.chat:
        named["chat"] = str(row.chat)
    return named | (row.payload or {})

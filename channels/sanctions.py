"""Sanctions in force: what each node knows of them, and what they forbid.

The core's `WriteGate`. A node reads them every second, so a decision holds everywhere a second
after its answer, and at once on the node that answered.
"""

import asyncio
import logging
from collections.abc import Callable

from channels.moderation import SanctionKind
from channels.store.reports import ReportStore, Sanction
from messenger.db.engine import StoreDown
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.wire.codes import ErrorCode

EVERY_S = 1.0
MOST = 100_000  # held in memory, ~300 bytes each; the newest beyond it do not hold, and it is told

log = logging.getLogger(__name__)


class Sanctioned:
    """chat -> the strictest sanction that holds."""

    def __init__(self, store: ReportStore, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._now_ms = now_ms
        self._held: dict[ChatId, Sanction] = {}

    def check(self, *, chat: ChatId, account: AccountId) -> None:
        """Refused(ACCOUNT_RESTRICTED) where nothing may be written; whoever asks is told why."""
        self._refuse(chat, SanctionKind.SILENCED)

    def check_join(self, chat: ChatId) -> None:
        """The same where nobody new may come in."""
        self._refuse(chat, SanctionKind.CLOSED)

    def hides(self, chat: ChatId) -> bool:
        return self._holds(chat, SanctionKind.HIDDEN) is not None

    async def run(self) -> None:
        """Read them until cancelled."""
        while True:
            try:
                await self.read()
            except StoreDown:
                log.warning("sanctions stay as they were: the database is away")
            except Exception:  # the root of a task
                log.exception("sanctions not read")
            await asyncio.sleep(EVERY_S)

    async def read(self) -> None:
        """What holds now."""
        found = await self._store.holding(self._now_ms(), MOST)
        if len(found) == MOST:
            log.error("too many sanctions: lift old ones", extra={"limit": MOST})
        held: dict[ChatId, Sanction] = {}
        for one in found:
            if one.chat not in held or one.kind > held[one.chat].kind:
                held[one.chat] = one
        self._held = held

    def _holds(self, chat: ChatId, least: SanctionKind) -> Sanction | None:
        one = self._held.get(chat)
        if one is None or one.kind < least:
            return None
        return one if one.until == 0 or one.until > self._now_ms() else None

    def _refuse(self, chat: ChatId, least: SanctionKind) -> None:
        one = self._holds(chat, least)
        if one is not None:
            raise Refused(
                ErrorCode.ACCOUNT_RESTRICTED,
                {"rule": one.rule, "until": one.until, "case": str(one.case)},
            )

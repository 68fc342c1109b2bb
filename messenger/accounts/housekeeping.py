"""What time alone must do to accounts: forget codes, and forget the deleted for good.

Any node may do it, several at once too: every step has an end state.
"""

import asyncio
import logging
from collections.abc import Callable

from messenger.accounts.devices import OnClosed
from messenger.accounts.store.devices import CodeStore, DeviceStore
from messenger.accounts.store.people import PeopleStore
from messenger.accounts.usernames import TOMBSTONE_MS
from messenger.db.engine import StoreDown

DAY_MS = 86_400_000
CODE_DAYS = 7  # long enough to look into abuse
REVOKED_DAYS = 90  # longer than any token lives; until then a stolen copy is recognised
UNDO_DAYS = 30
EVERY_S = 600.0
CLAIM_MS = 600_000  # a change lives for seconds; the clocks of two nodes may differ
BATCH = 100

log = logging.getLogger(__name__)


class Housekeeping:
    """Forgets."""

    def __init__(
        self,
        people: PeopleStore,
        codes: CodeStore,
        devices: DeviceStore,
        now_ms: Callable[[], int],
        on_gone: OnClosed,
    ) -> None:
        """`on_gone`: what other features do for an account that is gone for good; repeated until it
        succeeds."""
        self._people = people
        self._codes = codes
        self._devices = devices
        self._now_ms = now_ms
        self._on_gone = on_gone

    async def run(self) -> None:
        """A round every ten minutes until cancelled."""
        while True:
            try:
                await self.round()
            except StoreDown:
                log.warning("housekeeping waits for the database")
            except Exception:  # the root of a task: it outlives a bug
                log.exception("house not kept")
            await asyncio.sleep(EVERY_S)

    async def round(self) -> int:
        """One round; how many accounts it forgot."""
        now = self._now_ms()
        await self._codes.purge(now - CODE_DAYS * DAY_MS)
        await self._devices.purge_revoked(now - REVOKED_DAYS * DAY_MS)
        await self._people.settle_names(now - CLAIM_MS, now, BATCH)
        before = now - UNDO_DAYS * DAY_MS
        doomed = await self._people.doomed(before, BATCH)
        forgotten = 0
        for one in doomed:
            try:
                if await self._people.forget(one, before, now + TOMBSTONE_MS):
                    await self._on_gone(one.account)
                    await self._people.forgotten(one.account)
            except StoreDown:
                raise
            except Exception:
                log.exception("account not forgotten")
            else:
                forgotten += 1
        return forgotten

"""Accounts with a single device, whose own sends need no copy.

A sender learns of its message by the answer to it (protocol B3), so the copy on `user:<account>`
is for the account's other devices alone. Most accounts have none, and the copy is half of what a
direct message costs Redis. Nobody may be taken for alone who is not: what this node does not know,
or might have missed, counts as several devices.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from messenger.ids import AccountId, DeviceId

WANTED_MOST = 10_000  # accounts waiting to be looked up; others ask again with their next send
AT_ONCE = 500
RETRY_S = 1.0

log = logging.getLogger(__name__)

Load = Callable[[Sequence[AccountId]], Awaitable[Mapping[AccountId, DeviceId]]]
"""Of these accounts those that have exactly one device, and which."""


class SoleDevices:
    """account -> its only device; kept while this node hears what concerns the account."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._known: dict[AccountId, DeviceId] = {}
        self._wanted: dict[AccountId, None] = {}
        self._loading: set[AccountId] = set()
        self._some = asyncio.Event()
        self.hears: Callable[[AccountId], bool] = lambda _account: False
        """Does `session.new` of the account reach this node now; set by the gateway."""

    def alone(self, account: AccountId, device: DeviceId) -> bool:
        """Is `device` the account's only one, for certain."""
        known = self._known.get(account)
        if known is None:
            self._want(account)
            return False
        return known == device

    def forget(self, account: AccountId) -> None:
        """A device was added, or the account is no longer listened to."""
        self._known.pop(account, None)
        self._loading.discard(account)

    def met(self, account: AccountId, device: DeviceId) -> None:
        """A session of `device` opened somewhere: however it was made, it counts from now on."""
        if self._known.get(account, device) != device or account in self._loading:
            self.forget(account)

    def forget_all(self) -> None:
        """What was published may have been lost."""
        self._known.clear()
        self._loading.clear()

    async def run(self) -> None:
        """Look up what is wanted, until cancelled."""
        while True:
            await self._some.wait()
            try:
                await self._look_up(list(self._wanted)[:AT_ONCE])
            except Exception:  # noqa: BLE001 - the root of a background task; asked again
                log.warning("devices not looked up", extra={"retry_s": RETRY_S})
                await asyncio.sleep(RETRY_S)

    async def _look_up(self, accounts: Sequence[AccountId]) -> None:
        for account in accounts:
            del self._wanted[account]
        if not self._wanted:
            self._some.clear()
        self._loading = set(accounts)
        try:
            found = await self._load(accounts)
            for account in self._loading:  # without those that were forgotten while we asked
                if self.hears(account):
                    # 0: several devices, which does not change before something is revoked
                    self._known[account] = found.get(account, DeviceId(0))
        finally:
            self._loading.clear()

    def _want(self, account: AccountId) -> None:
        if account not in self._loading and len(self._wanted) < WANTED_MOST and self.hears(account):
            self._wanted[account] = None
            self._some.set()

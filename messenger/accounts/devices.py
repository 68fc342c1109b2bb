"""Devices: their tokens, how they are listed, and how one is thrown out within a second.

Revocation is a row (the truth), a field in Redis (read at each connect) and an order to the node
that holds the socket. Access tokens live on their own for a day, so all three are needed.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import msgspec
from msgspec import Struct

from messenger.accounts.names import clean_text
from messenger.accounts.presence import Presence
from messenger.accounts.protocol import (
    DeviceLabel,
    Nothing,
    Refresh,
    Revoked,
    RevokeSession,
    Session,
    SessionList,
    SessionNew,
    SessionRevoked,
    Tokens,
)
from messenger.accounts.refreshing import RefreshTokens
from messenger.accounts.store.devices import Change, DeviceStore, NewDevice, Rotation
from messenger.bus.bus import Bus
from messenger.bus.keys import revoked_key
from messenger.bus.link import BusDown
from messenger.db.engine import StoreDown
from messenger.delivery.fanout import Delivery
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, DeviceId
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from messenger.wire.codes import CloseCode, ErrorCode

DEVICES_MAX = 10
DAY_MS = 86_400_000
PAGE = 1_000
UNMARKED_MAX = 10_000  # revocations Redis has not heard of; the oldest fall out, see restore
RETRY_S = 1.0

OnClosed = Callable[[AccountId], Awaitable[None]]
"""What other features undo when an account is closed; repeatable."""

log = logging.getLogger(__name__)


class Issued(Struct, frozen=True):
    """What a device gets once: its id and its first tokens."""

    device: DeviceId
    token: str
    refresh: str


class Devices:
    """Adds, refreshes, lists and revokes devices."""

    def __init__(
        self,
        store: DeviceStore,
        refresh_tokens: RefreshTokens,
        tokens: ConnectionTokens,
        bus: Bus,
        delivery: Delivery,
        presence: Presence,
        settings: Settings,
        mint: Callable[[], int],
        now_ms: Callable[[], int],
        on_closed: OnClosed,
    ) -> None:
        self._store = store
        self._refresh_tokens = refresh_tokens
        self._tokens = tokens
        self._bus = bus
        self._delivery = delivery
        self._presence = presence
        self._settings = settings
        self._mint = mint
        self._now_ms = now_ms
        self._on_closed = on_closed
        self._unmarked: deque[tuple[AccountId, list[DeviceId], int]] = deque(maxlen=UNMARKED_MAX)
        self._late = asyncio.Event()
        self._restore_due = False

    async def add(self, account: AccountId, label: DeviceLabel) -> Issued | None:
        """A new device; beyond ten the least recently used one has to go. None: account gone."""
        device = DeviceId(self._mint())
        refresh = self._refresh_tokens.first(account, device)
        now = self._now_ms()
        new = NewDevice(
            account=account,
            device=device,
            name=clean_text("device.name", label.name),
            platform=clean_text("device.platform", label.platform),
            app=clean_text("device.app", label.app),
            refresh_digest=refresh.digest,
        )
        added = await self._store.add(new, now, DEVICES_MAX)
        if added is None:
            return None
        await self._drop(account, added.revoked, CloseCode.DEVICE_REVOKED)
        fact = SessionNew(
            aev=added.new.aev,
            device_id=str(device),
            name=new.name,
            platform=new.platform,
            at=now,
        )
        self._delivery.account_fact(account, msgspec.json.encode(fact))
        return Issued(device, self._access(account, device), refresh.text)

    async def token(self, request: Refresh, caller: Caller) -> Tokens:
        """A new access token and the next refresh token; an old one that comes back is a theft.

        The one shown stays good for a minute, so repeat a call whose answer was lost at once.
        """
        shown = self._refresh_tokens.read(request.refresh)
        if shown is None:
            raise Refused(ErrorCode.REFRESH_INVALID)
        following = self._refresh_tokens.following(shown)
        now = self._now_ms()
        rotation = await self._store.rotate(
            shown.account,
            shown.device,
            shown=shown.digest,
            following=following.digest,
            now_ms=now,
            oldest_day=now // DAY_MS - int(self._settings.refresh_idle * 1_000) // DAY_MS,
        )
        if rotation is Rotation.REUSED:
            log.warning("refresh token came back; its device is revoked")
            await self.revoke(shown.account, devices=[shown.device])
        if rotation is not Rotation.ROTATED:
            raise Refused(ErrorCode.REFRESH_INVALID)
        access = self._access(shown.account, shown.device)
        return Tokens(token=access, ttl_s=self.ttl_s, refresh=following.text)

    async def sessions(self, request: Nothing, caller: Caller) -> SessionList:
        online = await self._presence.devices_online(caller.account)
        return SessionList(
            [
                Session(
                    device_id=str(row.device),
                    name=row.name,
                    platform=row.platform,
                    app=row.app,
                    created=row.created_at,
                    seen_day=row.seen_day,
                    online=row.device in online,
                    current=row.device == caller.device,
                )
                for row in await self._store.devices(caller.account)
            ]
        )

    async def revoke_session(self, request: RevokeSession, caller: Caller) -> Revoked:
        """One device, or all others; the same answer again when it is repeated."""
        if request.device_id == "others":
            gone = await self.revoke(caller.account, keep=caller.device)
        else:
            gone = await self._revoke_one(request.device_id, caller)
        return Revoked([str(device) for device in gone])

    async def sign_out(self, request: Nothing, caller: Caller) -> Nothing:
        await self.revoke(caller.account, devices=[caller.device])
        return Nothing()

    async def revoke(
        self,
        account: AccountId,
        *,
        devices: Sequence[DeviceId] | None = None,
        keep: int = 0,
        code: CloseCode = CloseCode.DEVICE_REVOKED,
    ) -> list[DeviceId]:
        """Revoke the named devices (None: all) but `keep`, everywhere; those it concerned."""
        changes = await self._store.revoke(account, self._now_ms(), devices=devices, keep=keep)
        await self._drop(account, changes, code)
        return [change.device for change in changes]

    async def close_account(self, account: AccountId) -> None:
        """All devices at once, with the code that says why."""
        changes = await self._store.close_account(account, self._now_ms())
        await self._drop(account, changes, CloseCode.ACCOUNT_DELETED)
        await self._on_closed(account)

    async def restore_revoked(self) -> int:
        """Write the revocations of one token's life to Redis again, after it lost its data."""
        life_ms = int(self._settings.token_ttl * 1_000)
        after, count = (0, 0), 0
        while True:
            rows = await self._store.revoked_since(self._now_ms() - life_ms, after, PAGE)
            for row in rows:
                until = (row.at + life_ms) // 1_000
                await self._mark(row.account, [row.device], until)
            count += len(rows)
            if len(rows) < PAGE:
                return count
            after = (rows[-1].account, rows[-1].device)

    def redis_lost(self) -> None:
        """Redis may have forgotten revocations: `run` writes them again. Never awaits."""
        self._restore_due = True
        self._late.set()

    async def run(self) -> None:
        """Tell Redis of revocations it does not know, from the start on, until cancelled."""
        self.redis_lost()
        while True:
            await self._late.wait()
            self._late.clear()
            try:
                await self._catch_up()
            except (BusDown, StoreDown):
                log.warning("revocations wait for Redis or the database")
                self._late.set()
                await asyncio.sleep(RETRY_S)
            except Exception:  # the root of a task: it outlives one that Redis does not take
                log.exception("revocations not written")
                self._unmarked.rotate(-1)
                self._late.set()
                await asyncio.sleep(RETRY_S)

    async def _catch_up(self) -> None:
        while self._unmarked:
            account, devices, until = self._unmarked[0]
            await self._mark(account, devices, until)
            self._unmarked.popleft()
            for device in devices:  # the order went the way of the mark
                self._delivery.close_device(account, device, CloseCode.DEVICE_REVOKED)
        if self._restore_due:
            await self.restore_revoked()
            self._restore_due = False

    @property
    def ttl_s(self) -> int:
        return int(self._settings.token_ttl)

    async def _revoke_one(self, device_id: str, caller: Caller) -> list[DeviceId]:
        device = DeviceId(int(device_id))
        known = {row.device for row in await self._store.devices(caller.account)}
        if device not in known:
            raise Refused(ErrorCode.NOT_FOUND, {"what": "device"})
        return await self.revoke(caller.account, devices=[device])

    async def _drop(self, account: AccountId, changes: Sequence[Change], code: CloseCode) -> None:
        """What follows the rows: Redis first, so that a closed device cannot connect again."""
        if not changes:
            return
        devices = [change.device for change in changes]
        until = self._now_ms() // 1_000 + self.ttl_s
        try:
            await self._mark(account, devices, until)
        except BusDown:
            self._unmarked.append((account, devices, until))
            self._late.set()
        for change in changes:
            fact = SessionRevoked(aev=change.aev, device_id=str(change.device))
            self._delivery.account_fact(account, msgspec.json.encode(fact))
        for device in devices:
            self._delivery.close_device(account, device, code)

    async def _mark(self, account: AccountId, devices: Sequence[DeviceId], until: int) -> None:
        fields: list[int] = []
        for device in devices:
            fields += (device, until)
        key = revoked_key(account)
        await self._bus.ask_all([("HSET", key, *fields), ("EXPIRE", key, self.ttl_s)])

    def _access(self, account: AccountId, device: DeviceId) -> str:
        return access_token(self._tokens, account, device, self._settings.token_ttl)


def access_token(
    tokens: ConnectionTokens, account: AccountId, device: DeviceId, ttl_s: float
) -> str:
    """A product token: it names the device, so that one device can be refused."""
    return tokens.sign(str(account), ttl_s, device=device)

"""Devices and the one-time codes that make them."""

from collections.abc import Collection, Sequence
from enum import IntEnum, unique

from msgspec import Struct

from messenger.accounts.store.rows import execute, rows
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, DeviceId
from messenger.log.account_log import AccountKind

GRACE_MS = 60_000
"""For how long a replaced refresh token may be shown again: its answer may have been lost."""

PUT_CODE = Statement(
    "insert into otp(phone_hash, issued_at, code_hash, net, channel) values ($1, $2, $3, $4, $5)"
    " on conflict (phone_hash, issued_at) do nothing",
    key="phone_hash",
)
COUNT_TRY = Statement(
    "update otp set tries = tries + 1"
    " where phone_hash = $1 and issued_at = $2 and used_at is null and tries < $3"
    " returning code_hash, tries",
    key="phone_hash",
)
USE_CODE = Statement(
    "update otp set used_at = $3 where phone_hash = $1 and issued_at = $2 and used_at is null",
    key="phone_hash",
)
PURGE_CODES = Statement("delete from otp where issued_at < $1", key="phone_hash", cold=True)
PURGE_DEVICES = Statement(
    "delete from device where revoked_at < $1 and revoked_at is not null",
    key="account_id",
    cold=True,
)
ADD = Statement(
    "select device_id, is_new, aev from"
    " add_device($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::smallint, $11::smallint)",
    key="account_id",
)
ROTATE = Statement("select rotate_refresh($1, $2, $3, $4, $5, $6, $7, $8)", key="account_id")
REVOKE = Statement(
    "select device_id, aev from revoke_devices($1, $2, $3::bigint[], $4::smallint, $5)",
    key="account_id",
)
CLOSE = Statement(
    "select device_id, aev from close_account($1, $2, $3::smallint)", key="account_id"
)
DEVICES = Statement(
    "select device_id, name, platform, app, created_at, seen_day from device"
    " where account_id = $1 and revoked_at is null order by created_at, device_id",
    key="account_id",
)
_SOLE = (
    "select account_id, min(device_id) from device where revoked_at is null and account_id = $key"
    " group by account_id having count(*) = 1"
)
SOLE = Statement(
    _SOLE.replace("$key", "any($1::bigint[])"),
    key="account_id",
    one=_SOLE.replace("$key", "$1"),
    spread=(1,),
)
REVOKED_SINCE = Statement(
    "select account_id, device_id, revoked_at from device"
    " where revoked_at > $1 and revoked_at is not null and (account_id, device_id) > ($2, $3)"
    " order by account_id, device_id limit $4",
    key="account_id",
    cold=True,
)


@unique
class Rotation(IntEnum):
    """What `rotate_refresh` found."""

    ROTATED = 0
    UNKNOWN = 1
    REUSED = 2
    """A token that was replaced before: somebody has a copy."""


class Tried(Struct, frozen=True):
    """One guess, counted before it is compared."""

    code_hash: bytes
    tries: int


class Change(Struct, frozen=True):
    """A device that came or went, and the number of the fact that says so."""

    device: DeviceId
    aev: int


class Added(Struct, frozen=True):
    """A new device, and those that made room for it."""

    new: Change
    revoked: list[Change]


class NewDevice(Struct, frozen=True, kw_only=True):
    account: AccountId
    device: DeviceId
    name: str
    platform: str
    app: str
    refresh_digest: bytes


class DeviceRow(Struct, frozen=True):
    device: DeviceId
    name: str
    platform: str
    app: str
    created_at: int
    seen_day: int


class RevokedRow(Struct, frozen=True):
    account: AccountId
    device: DeviceId
    at: int


class CodeStore:
    """Keeps codes as hashes, counts guesses, lets each be used once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, phone_hash: bytes, at_ms: int, code_hash: bytes, net: str) -> bool:
        """False when the phone has a code of this very millisecond."""
        return bool(await execute(self._db, PUT_CODE, phone_hash, at_ms, code_hash, net, "sms"))

    async def count_try(self, phone_hash: bytes, at_ms: int, most: int) -> Tried | None:
        """Count one guess first, so that parallel guesses cannot exceed `most`; None: no more."""
        found = await rows(self._db, COUNT_TRY, phone_hash, at_ms, most)
        return Tried(bytes(found[0][0]), found[0][1]) if found else None

    async def use(self, phone_hash: bytes, at_ms: int, now_ms: int) -> bool:
        """True for the one caller who may act on the code."""
        return bool(await execute(self._db, USE_CODE, phone_hash, at_ms, now_ms))

    async def purge(self, before_ms: int) -> int:
        return await execute(self._db, PURGE_CODES, before_ms)


class DeviceStore:
    """Adds, refreshes and revokes the devices of one account at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, device: NewDevice, now_ms: int, most: int) -> Added | None:
        """Add a device, revoking the least recently used beyond `most`; None: account gone."""
        found = await rows(
            self._db,
            ADD,
            now_ms,
            now_ms // 86_400_000,
            device.account,
            device.device,
            device.name,
            device.platform,
            device.app,
            device.refresh_digest,
            most,
            int(AccountKind.SESSION_NEW),
            int(AccountKind.SESSION_REVOKED),
        )
        if not found:
            return None
        revoked = [Change(row[0], row[2]) for row in found if not row[1]]
        return Added(Change(found[-1][0], found[-1][2]), revoked)

    async def rotate(
        self,
        account: AccountId,
        device: DeviceId,
        *,
        shown: bytes,
        following: bytes,
        now_ms: int,
        oldest_day: int,
    ) -> Rotation:
        """Put `following` in the place of `shown`, both digests, if `shown` is still good."""
        day = now_ms // 86_400_000
        values = (now_ms, GRACE_MS, day, oldest_day, account, device, shown, following)
        return Rotation((await rows(self._db, ROTATE, *values))[0][0])

    async def revoke(
        self,
        account: AccountId,
        now_ms: int,
        *,
        devices: Collection[int] | None = None,
        keep: int = 0,
    ) -> list[Change]:
        """Revoke the named devices (None: all) but `keep`; those that were not revoked before."""
        named = None if devices is None else list(devices)
        kind = int(AccountKind.SESSION_REVOKED)
        return [
            Change(*row) for row in await rows(self._db, REVOKE, now_ms, account, named, kind, keep)
        ]

    async def close_account(self, account: AccountId, now_ms: int) -> list[Change]:
        """Mark the account deleted and revoke every device."""
        kind = int(AccountKind.SESSION_REVOKED)
        return [Change(*row) for row in await rows(self._db, CLOSE, now_ms, account, kind)]

    async def devices(self, account: AccountId) -> list[DeviceRow]:
        return [DeviceRow(*row) for row in await rows(self._db, DEVICES, account)]

    async def sole(self, accounts: Sequence[AccountId]) -> dict[AccountId, DeviceId]:
        """Of these accounts those that have exactly one device, and which."""
        found = await rows(self._db, SOLE, list(accounts))
        return {AccountId(row[0]): DeviceId(row[1]) for row in found}

    async def purge_revoked(self, before_ms: int) -> int:
        """Forget devices that were revoked before then; their tokens are unknown from then on."""
        return await execute(self._db, PURGE_DEVICES, before_ms)

    async def revoked_since(
        self, since_ms: int, after: tuple[int, int], limit: int
    ) -> list[RevokedRow]:
        """A page of recent revocations, to rebuild the set in Redis."""
        found = await rows(self._db, REVOKED_SINCE, since_ms, *after, limit)
        return [RevokedRow(*row) for row in found]

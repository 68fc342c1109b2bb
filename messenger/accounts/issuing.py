"""Tokens for an operator, without a code: `peyk token PHONE [--name N]`."""

import time

from msgspec import Struct

from messenger.accounts.devices import DEVICES_MAX, access_token
from messenger.accounts.names import clean_name
from messenger.accounts.phones import PhoneVault, normalise
from messenger.accounts.refreshing import RefreshTokens
from messenger.accounts.signup import SigningUp
from messenger.accounts.store.devices import DeviceStore, NewDevice
from messenger.accounts.store.people import PeopleStore
from messenger.db.engine import Database
from messenger.db.generator import lease_generator
from messenger.feature import Refused
from messenger.ids import DeviceId
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from messenger.wire.codes import ErrorCode

DEVICE_NAME = "peyk token"


class IssuedToken(Struct, frozen=True):
    """The one JSON line that the command prints."""

    account_id: str
    device_id: str
    access_token: str
    refresh_token: str


async def issue_token(
    db: Database, settings: Settings, tokens: ConnectionTokens, phone: str, name: str | None
) -> IssuedToken:
    """A new device of the phone's account, which is made with `name` when absent.

    As every sign-in it revokes the least recently used device beyond ten; without a bus here,
    that one's socket stays until its access token ends. Raises Refused as the rpcs do.
    """
    canonical = normalise(phone)
    if canonical is None:
        raise Refused(ErrorCode.PHONE_INVALID)
    clean = None if name is None else clean_name("name", name)
    lease = await lease_generator(db, DEVICE_NAME)
    signing_up = SigningUp(PeopleStore(db), PhoneVault(settings.pepper), lease.minter.mint, now_ms)
    account, _ = await signing_up.account_of(canonical, clean)
    device = DeviceId(lease.minter.mint())
    refresh = RefreshTokens(settings.pepper).first(account, device)
    new = NewDevice(
        account=account,
        device=device,
        name=DEVICE_NAME,
        platform="command",
        app="peyk",
        refresh_digest=refresh.digest,
    )
    await DeviceStore(db).add(new, now_ms(), DEVICES_MAX)
    access = access_token(tokens, account, device, settings.token_ttl)
    return IssuedToken(str(account), str(device), access, refresh.text)


def now_ms() -> int:
    """The wall clock, milliseconds UTC."""
    return time.time_ns() // 1_000_000

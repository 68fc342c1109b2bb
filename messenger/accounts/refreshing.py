"""Refresh tokens: which device, 256 random bits, and a seal that only this platform can make.

Two properties matter. *The next token is computed from the one shown*, so that two parallel
refreshes, or one whose answer was lost and that is repeated within a minute, get the same next
token: a bad network signs nobody out. *The seal* proves that a token was ours once: an old one that
comes back means a stolen copy, and revokes the device, while made-up bytes with somebody's ids mean
nothing.
"""

import base64
import hmac
import secrets
from hashlib import sha256

from msgspec import Struct

from messenger.accounts.phones import subkey
from messenger.accounts.tickets import unbase64
from messenger.ids import AccountId, DeviceId

_ID = 8
_RANDOM = 32
_SEAL = 16
_BYTES = 2 * _ID + _RANDOM + _SEAL


class RefreshToken(Struct, frozen=True):
    """A token that carries our seal. Whether it is current, only the device's row says."""

    account: AccountId
    device: DeviceId
    text: str
    secret: bytes

    @property
    def digest(self) -> bytes:
        """What is stored instead of the token."""
        return sha256(self.text.encode()).digest()


class RefreshTokens:
    """Makes, follows and recognises refresh tokens; stateless."""

    def __init__(self, pepper: str) -> None:
        self._next_key = subkey(pepper, "refresh next")
        self._seal_key = subkey(pepper, "refresh seal")

    def first(self, account: AccountId, device: DeviceId) -> RefreshToken:
        """Of a device that signs in now."""
        return self._make(account, device, secrets.token_bytes(_RANDOM))

    def following(self, token: RefreshToken) -> RefreshToken:
        """The one token that takes the place of `token`."""
        return self._make(
            token.account, token.device, hmac.digest(self._next_key, token.secret, sha256)
        )

    def read(self, text: str) -> RefreshToken | None:
        """None for everything that was never given out here."""
        whole = unbase64(text)
        if whole is None or len(whole) != _BYTES:
            return None
        body, seal = whole[:-_SEAL], whole[-_SEAL:]
        if not hmac.compare_digest(seal, self._seal(body)):
            return None
        account = AccountId(int.from_bytes(body[:_ID]))
        device = DeviceId(int.from_bytes(body[_ID : 2 * _ID]))
        return self._make(account, device, body[2 * _ID :])

    def _make(self, account: AccountId, device: DeviceId, secret: bytes) -> RefreshToken:
        body = account.to_bytes(_ID) + device.to_bytes(_ID) + secret
        whole = base64.urlsafe_b64encode(body + self._seal(body)).rstrip(b"=")
        return RefreshToken(account, device, whole.decode(), secret)

    def _seal(self, body: bytes) -> bytes:
        return hmac.digest(self._seal_key, body, sha256)[:_SEAL]

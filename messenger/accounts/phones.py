"""A phone number as one canonical text, as a look-up key and as a sealed copy.

The database never holds a readable number: it is found by HMAC with the pepper, which an attacker
without the pepper cannot try out, and read back, where a person must be called, by AES-GCM.
"""

import hmac
import ipaddress
import re
import secrets
from hashlib import sha256

import phonenumbers
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HOME_REGION = "IR"  # how a number without a country code is read
HASH_BYTES = 16
NONCE_BYTES = 12

_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


def normalise(phone: str) -> str | None:
    """E.164 of a number that a country has really given out, else None.

    Digits may be Persian or Arabic, and the national form of `HOME_REGION` is understood.
    """
    try:
        number = phonenumbers.parse(phone, HOME_REGION)
    except phonenumbers.NumberParseException:
        return None
    if number.extension or not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def normalise_many(phones: list[str]) -> list[str | None]:
    """As `normalise`, for address books: what is E.164 already is not checked again.

    500 full checks would hold the loop for 30 ms; a number nobody has simply finds nobody.
    """
    return [phone if _E164.fullmatch(phone) else normalise(phone) for phone in phones]


def subkey(pepper: str, purpose: str) -> bytes:
    """A key of its own for each purpose, so that no two uses of the pepper can be mixed up."""
    info = f"peyk accounts {purpose}".encode()
    return HKDF(SHA256(), length=32, salt=None, info=info).derive(pepper.encode())


class PhoneVault:
    """Turns canonical numbers into what may be stored."""

    def __init__(self, pepper: str) -> None:
        self._pepper = pepper.encode()
        self._cipher = AESGCM(subkey(pepper, "phone"))

    def look_up(self, phone: str) -> bytes:
        """The key of the number in `phone` and `otp`; equal for equal numbers."""
        return hmac.digest(self._pepper, phone.encode(), sha256)[:HASH_BYTES]

    def seal(self, phone: str) -> bytes:
        """An encrypted copy; different at each call."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, phone.encode(), None)

    def unseal(self, sealed: bytes) -> str:
        """The number again. cryptography.exceptions.InvalidTag where the pepper is another."""
        return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None).decode()


def network_of(address: str) -> str:
    """The part of an address that one household or one carrier's NAT shares: /24 or /48."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    prefix = 24 if parsed.version == 4 else 48
    return str(ipaddress.ip_network(f"{parsed}/{prefix}", strict=False))

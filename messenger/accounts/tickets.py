"""One-time codes, and the tickets that carry a phone number from asking to signing in.

A ticket is sealed by the server: the client holds the number it asked for, the database holds
only hashes, and a ticket that was not made here opens nothing.
"""

import base64
import hmac
import secrets
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from messenger.accounts.phones import NONCE_BYTES, subkey

_STAMP_BYTES = 8


class Ticket(Struct, frozen=True):
    """One code that was sent to one phone."""

    phone: str
    issued_at: int
    """Milliseconds UTC; with the phone it names the row of the code."""


class Tickets:
    """Seals and opens tickets; makes codes and the hashes under which they are kept."""

    def __init__(self, pepper: str, digits: int) -> None:
        self._cipher = AESGCM(subkey(pepper, "ticket"))
        self._code_key = subkey(pepper, "code")
        self._digits = digits

    def seal(self, ticket: Ticket) -> str:
        nonce = secrets.token_bytes(NONCE_BYTES)
        body = ticket.issued_at.to_bytes(_STAMP_BYTES) + ticket.phone.encode()
        sealed = nonce + self._cipher.encrypt(nonce, body, None)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()

    def open(self, text: str) -> Ticket | None:
        """None for anything that `seal` did not make with this pepper."""
        sealed = unbase64(text)
        if sealed is None or len(sealed) <= NONCE_BYTES:
            return None
        try:
            body = self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except InvalidTag:
            return None
        return Ticket(body[_STAMP_BYTES:].decode(), int.from_bytes(body[:_STAMP_BYTES]))

    def new_code(self) -> str:
        return f"{secrets.randbelow(10**self._digits):0{self._digits}d}"

    def code_hash(self, ticket: Ticket, code: str) -> bytes:
        """Bound to the ticket, so that equal codes of two people have unequal hashes."""
        text = f"{ticket.phone}|{ticket.issued_at}|{ascii_digits(code)}"
        return hmac.digest(self._code_key, text.encode("utf-8", "replace"), sha256)


def ascii_digits(code: str) -> str:
    """Persian and Arabic keyboards type other digits for the same code."""
    return "".join(str(int(c)) if c.isdecimal() else c for c in code.strip())


def unbase64(text: str) -> bytes | None:
    """The bytes behind URL-safe base64 without padding, None where it is something else."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:  # binascii.Error too, and text that is not ASCII
        return None

"""Connection and subscription tokens: JSON Web Tokens, HS256 and nothing else.

Verified without a database, so that a storm of reconnects costs CPU only. Keys rotate: the first
signs, all verify; the header's `kid` says which to try first. Takes keys, not settings: programs
that play clients sign with it too.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm
from msgspec import Raw, Struct

from messenger.ids import MAX_ID

_ALGORITHM = "HS256"
_NOTHING = Raw()
_LONGEST = 16_384  # bytes of a token; it comes in a frame of 64 KiB


class TokenInvalid(Exception):  # noqa: N818 - an answer to the client, not a fault of ours
    """Bad signature, format, audience or issuer: a new token of the same kind will not help."""


class TokenExpired(Exception):  # noqa: N818 - as above
    """The signature is good and the time is over: the client fetches a new one."""


class ConnectionClaims(Struct, frozen=True):
    """Whose connection it is."""

    user: str
    """"" = anonymous."""
    device: int | None = None
    """Present in product tokens only; then `user` is an account id."""
    info: Raw = _NOTHING
    """Shown to others as conn_info; compact JSON."""
    topics: tuple[str, ...] = ()
    """Further server-side subscriptions."""
    expires_at: float = 0.0
    """End of the connection in seconds since 1970; 0 = never."""
    meta: bytes = b""


class SubscriptionClaims(Struct, frozen=True):
    """The right of one user to one topic."""

    user: str
    channel: str
    info: bytes = b""
    """Shown to others as chan_info; compact JSON."""
    expires_at: float = 0.0


class _Claims(Struct):
    """What both kinds of token may say; unknown claims are ignored."""

    sub: str = ""
    exp: float | None = None
    nbf: float | None = None
    aud: str | list[str] | None = None
    iss: str | None = None
    info: Raw = _NOTHING
    expire_at: float | None = None


class _Connection(_Claims):
    did: str | int | None = None
    channels: list[str] = []
    subs: dict[str, Any] = {}
    meta: Raw = _NOTHING


class _Subscription(_Claims, kw_only=True):
    channel: str


Payload = TypeVar("Payload", bound=_Claims)


class _Hmac(HMACAlgorithm):
    def check_key_length(self, key: bytes) -> str | None:
        """Settings refuse short keys, but for a development host on the loopback."""
        return None


class _Signed:
    """Signs and verifies for one audience and issuer ("" = not looked at)."""

    def __init__(
        self,
        keys: Sequence[str],
        audience: str = "",
        issuer: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._keys = {key_id(key): key.encode() for key in keys}
        self._audience = audience
        self._issuer = issuer
        self._now = now
        self._jws = jwt.PyJWS(algorithms=[_ALGORITHM])
        self._jws.unregister_algorithm(_ALGORITHM)
        self._jws.register_algorithm(_ALGORITHM, _Hmac(HMACAlgorithm.SHA256))
        self._own = {self._head(kid, key): key for kid, key in self._keys.items()}

    def _sign(self, claims: dict[str, Any]) -> str:
        if not self._keys:
            raise AssertionError("no key to sign with")
        kid, key = next(iter(self._keys.items()))
        claims = {"iat": int(self._now()), "aud": self._audience, "iss": self._issuer} | claims
        claims = {name: value for name, value in claims.items() if value not in ("", None)}
        payload = msgspec.json.encode(claims)
        return self._jws.encode(payload, key, algorithm=_ALGORITHM, headers={"kid": kid})

    def _read(self, token: str, decode: Callable[[bytes], Payload]) -> Payload:
        """The claims of a token that is ours and whose time has not passed."""
        try:
            claims = decode(self._payload(token))
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError):
            raise TokenInvalid("claims are not of the right form") from None
        if self._audience and self._audience not in _listed(claims.aud):
            raise TokenInvalid("another audience")
        if self._issuer and claims.iss != self._issuer:
            raise TokenInvalid("another issuer")
        now = self._now()
        if claims.nbf is not None and claims.nbf > now:
            raise TokenInvalid("not valid yet")
        if claims.exp is not None and claims.exp <= now:
            raise TokenExpired
        return claims

    def _payload(self, token: str) -> bytes:
        if len(token) > _LONGEST:
            raise TokenInvalid("too long")
        own = self._own.get(token.partition(".")[0])
        try:
            if own is not None:
                return _own_payload(token.encode(), own)
            for key in self._keys_for(token):
                try:
                    payload: bytes = self._jws.decode(token, key, algorithms=[_ALGORITHM])
                except jwt.InvalidSignatureError:
                    continue
                payload.decode()  # `info` goes into text frames as it is
                return payload
        except (jwt.InvalidTokenError, jwt.InvalidKeyError, ValueError, RecursionError):
            raise TokenInvalid("not a token") from None
        raise TokenInvalid("bad signature")

    def _head(self, kid: str, key: bytes) -> str:
        """What tokens made here begin with; it pins algorithm and key by being equal."""
        token = self._jws.encode(b"{}", key, algorithm=_ALGORITHM, headers={"kid": kid})
        return token.partition(".")[0]

    def _keys_for(self, token: str) -> list[bytes]:
        """The key its header names, if it is one of ours; else all."""
        keys = list(self._keys.values())
        if len(keys) == 1:
            return keys
        named = self._keys.get(self._jws.get_unverified_header(token).get("kid", ""))
        return [named] if named is not None else keys


class ConnectionTokens(_Signed):
    """Tokens of the connect command and of `Authorization: Bearer`."""

    _decode = msgspec.json.Decoder(_Connection).decode

    def sign(
        self,
        user: str,
        ttl_s: float | None = None,
        *,
        device: int | str | None = None,
        topics: Sequence[str] = (),
        info: Any = None,
        meta: Any = None,
        expire_at: float | None = None,
    ) -> str:
        """`ttl_s` None = the token never expires; `device` makes it a product token."""
        claims = {
            "exp": None if ttl_s is None else int(self._now() + ttl_s),
            "did": None if device is None else str(device),
            "channels": list(topics) or None,
            "info": info,
            "meta": meta,
            "expire_at": expire_at,
        }
        return self._sign({"sub": user, **claims})

    def verify(self, token: str) -> ConnectionClaims:
        """Raises TokenInvalid (close 3500) or TokenExpired (error 109)."""
        claims = self._read(token, self._decode)
        return ConnectionClaims(
            user=claims.sub,
            device=_device(claims.did),
            info=Raw(_compact(claims.info)),
            topics=tuple(dict.fromkeys([*claims.channels, *claims.subs])),
            expires_at=_expiry(claims),
            meta=_compact(claims.meta),
        )


class SubscriptionTokens(_Signed):
    """Tokens of subscribe and sub_refresh."""

    _decode = msgspec.json.Decoder(_Subscription).decode

    def sign(
        self,
        user: str,
        topic: str,
        ttl_s: float | None = None,
        *,
        info: Any = None,
        expire_at: float | None = None,
    ) -> str:
        exp = None if ttl_s is None else int(self._now() + ttl_s)
        claims = {"channel": topic, "exp": exp, "info": info, "expire_at": expire_at}
        return self._sign({"sub": user, **claims})

    def verify(self, token: str) -> SubscriptionClaims:
        """Raises TokenInvalid or TokenExpired. Whose and of what the caller must compare."""
        claims = self._read(token, self._decode)
        return SubscriptionClaims(
            claims.sub, claims.channel, _compact(claims.info), _expiry(claims)
        )


def key_id(key: str) -> str:
    """The `kid` of a key: tells keys apart and nothing about them."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def _own_payload(token: bytes, key: bytes) -> bytes:
    """As PyJWT would, a sixth of its time: every reconnect of a storm pays it."""
    signed, _, signature = token.rpartition(b".")
    digest = hmac.digest(key, signed, "sha256")
    if not hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"="), signature):
        raise TokenInvalid("bad signature")
    payload = base64.urlsafe_b64decode(signed.partition(b".")[2] + b"==")
    payload.decode()  # `info` goes into text frames as it is
    return payload


def _listed(audience: str | list[str] | None) -> list[str]:
    return [audience] if isinstance(audience, str) else audience or []


def _device(did: str | int | None) -> int | None:
    if did is None or did == "":
        return None
    if isinstance(did, str) and not (did.isascii() and did.isdecimal() and len(did) < 20):
        raise TokenInvalid("did is not an id")
    if not 0 < int(did) <= MAX_ID:
        raise TokenInvalid("did is not an id")
    return int(did)


def _expiry(claims: _Claims) -> float:
    """`expire_at` where given, 0 = never; else the token's own end."""
    return (claims.exp or 0.0) if claims.expire_at is None else max(0.0, claims.expire_at)


def _compact(json: Raw) -> bytes:
    """Without the line breaks that would cut a frame in two; b"" for absent and null."""
    text = msgspec.json.format(bytes(json), indent=-1) if json else b""
    return b"" if text == b"null" else text

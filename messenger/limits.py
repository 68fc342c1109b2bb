"""Rate limits: token buckets, hot ones in the node's memory, the others in Redis.

A rule says by what it is keyed, where its buckets live and what happens while Redis is down:
messages pass, sign-in codes and media are refused. A refusal names rule, counter and retry time.
"""

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from messenger.bus.bus import Bus
from messenger.bus.keys import limit_key
from messenger.bus.link import BusDown
from messenger.bus.scripts import TAKE
from messenger.feature import Caller, Refused
from messenger.metrics import Metrics
from messenger.settings import LimitRule
from messenger.wire.codes import ErrorCode

BUCKETS_MAX = 100_000  # in memory; ~250 bytes each. Beyond it the oldest are dropped
NEVER_S = 86_400  # life of a bucket that does not refill; one key is used for less than a day
DOWN_RETRY_MS = 1_000
_LOOKS = 4  # old buckets looked at when a new one is made


class By(Enum):
    """What a bucket belongs to."""

    ACCOUNT = "account"
    ACCOUNT_CHAT = "account and chat"
    DEVICE = "device"
    ADDRESS = "IPv4 address, IPv6 /64"
    NETWORK = "IPv4 /24, IPv6 /48"
    NETWORK_CHAT = "IPv4 /24, IPv6 /48, and chat"
    KEY = "what the caller says: hash of a phone, ticket"


class Kind(Struct, frozen=True):
    """What a rule is, besides its figures."""

    by: By
    local: bool = False
    """In the node's memory, decided without an await: at worst n nodes give n buckets."""
    refuse_when_down: bool = False


KINDS: Mapping[str, Kind] = {
    "otp.phone": Kind(By.KEY, refuse_when_down=True),
    "otp.net": Kind(By.NETWORK, refuse_when_down=True),
    "otp.try": Kind(By.KEY, refuse_when_down=True),
    "msg.account": Kind(By.ACCOUNT, local=True),
    "msg.chat": Kind(By.ACCOUNT_CHAT, local=True),
    "msg.stranger": Kind(By.ACCOUNT),
    "msg.stranger_new": Kind(By.ACCOUNT),
    "typing": Kind(By.ACCOUNT_CHAT, local=True),
    "typing.all": Kind(By.ACCOUNT, local=True),
    "presence": Kind(By.ACCOUNT, local=True),
    "read": Kind(By.DEVICE, local=True),
    "view": Kind(By.DEVICE, local=True),
    "sync": Kind(By.DEVICE, local=True),
    "history": Kind(By.DEVICE, local=True),
    "search": Kind(By.DEVICE, local=True),
    "media.count": Kind(By.ACCOUNT, refuse_when_down=True),
    "media.bytes": Kind(By.ACCOUNT, refuse_when_down=True),
    "chat.create": Kind(By.ACCOUNT),
    "chat.join": Kind(By.ACCOUNT),
    "chat.link": Kind(By.ACCOUNT),
    "join.tries": Kind(By.KEY, local=True),
    "join.channel": Kind(By.KEY, local=True),
    "join.verified": Kind(By.KEY, local=True),
    "join.net": Kind(By.NETWORK_CHAT, local=True),
    "account.read": Kind(By.ACCOUNT, local=True),
    "account.change": Kind(By.ACCOUNT, local=True),
    "resolve": Kind(By.ACCOUNT, local=True),
    "username": Kind(By.ACCOUNT),
    "contacts.import": Kind(By.ACCOUNT),
    "api.conn": Kind(By.ADDRESS, local=True),
}

Owner = Caller | str | None
"""Whose bucket: the caller, or the key itself (a phone's hash, a ticket, an address)."""


Check = Callable[..., None]
"""(owner, request=None, cost=1); raises RATE_LIMITED."""

_KEYS_OF_CALLER: Mapping[By, Callable[[Any, Any], object]] = {
    By.ACCOUNT: lambda caller, _request: caller.account,
    By.ACCOUNT_CHAT: lambda caller, request: (caller.account, getattr(request, "chat", "")),
    By.DEVICE: lambda caller, _request: caller.device,
    By.ADDRESS: lambda caller, _request: _prefix(caller.address, 32, 64),
    By.NETWORK: lambda caller, _request: _prefix(caller.address, 24, 48),
    By.NETWORK_CHAT: lambda caller, request: (
        f"{_prefix(caller.address, 24, 48)} {getattr(request, 'chat', '')}"
    ),
}


_ADDRESSES = frozenset({By.ADDRESS, By.NETWORK, By.NETWORK_CHAT})


class Limits:
    """`check_now` for local rules, `check` for those in Redis; `is_local` tells them apart."""

    def __init__(
        self,
        rules: Mapping[str, LimitRule],
        bus: Bus,
        metrics: Metrics,
        *,
        development: bool = False,
        clock: Callable[[], float] = time.monotonic,
        buckets_max: int = BUCKETS_MAX,
    ) -> None:
        self._rules = rules
        self._bus = bus
        self._metrics = metrics
        self._development = development
        self._clock = clock
        self._buckets_max = buckets_max
        self._checks: dict[str, Check] = {}
        self._buckets: OrderedDict[tuple[str, object], _Bucket] = OrderedDict()

    def is_local(self, rule: str) -> bool:
        return KINDS[rule].local

    def local_check(self, rule: str) -> Check:
        """What takes from the caller's bucket of `rule`, or raises RATE_LIMITED; never awaits.

        Bound once per rpc: a message pays two of them. The chat of a rule keyed by account and chat
        is `request.chat`.
        """
        kind, limit = KINDS[rule], self._rules[rule]
        if not kind.local:
            raise AssertionError(f"{rule} lives in Redis: await check()")
        by, burst, per_s = kind.by, limit.burst, limit.per_s
        buckets, clock, key_of = self._buckets, self._clock, _KEYS_OF_CALLER.get(by)
        by_address = by in _ADDRESSES

        def check(owner: Owner, request: object = None, cost: float = 1) -> None:
            if key_of is not None and owner.__class__ is Caller:  # nearly always: 1 us less
                key = key_of(owner, request)
            else:
                key = _key(by, owner, request)
            if by_address and self._exempt(by, key):
                return
            now = clock()
            bucket = buckets.get((rule, key))
            if bucket is None:
                bucket = self._new_bucket((rule, key), limit, now)
            level = bucket.level + (now - bucket.at) * per_s
            if level > burst:
                level = burst
            bucket.at = now
            if level < cost:
                bucket.level = level
                raise self._limited(rule, limit, level, cost)
            bucket.level = level - cost

        return check

    def check_now(
        self, rule: str, owner: Owner, request: object = None, *, cost: float = 1
    ) -> None:
        """The same for callers that are rare."""
        check = self._checks.get(rule)
        if check is None:
            check = self._checks[rule] = self.local_check(rule)
        check(owner, request, cost)

    async def check(
        self, rule: str, owner: Owner, request: object = None, *, cost: float = 1
    ) -> None:
        """The same for every rule; those in Redis are shared by all nodes."""
        kind, limit = KINDS[rule], self._rules[rule]
        if kind.local:
            self.check_now(rule, owner, request, cost=cost)
            return
        key = _key(kind.by, owner, request)
        if self._exempt(kind.by, key):
            return
        bucket = limit_key(str(key), rule)
        try:
            passed, level, _ = await self._bus.ask(
                "EVALSHA", TAKE.sha, 1, bucket, limit.burst, limit.per_s, cost, NEVER_S
            )
        except BusDown:
            self._down(rule, kind)
            return
        if not passed:
            raise self._limited(rule, limit, float(level), cost)

    def admit(self, address: str) -> bool:
        """May this address open another connection or call a method without a token."""
        try:
            self.check_now("api.conn", address)
        except Refused:
            return False
        return True

    @property
    def buckets(self) -> int:
        """How many are held in memory."""
        return len(self._buckets)

    def _exempt(self, by: By, key: object) -> bool:
        # Everybody on a developer's machine has one address.
        local = self._development and by in _ADDRESSES
        return local and str(key).startswith("127.")

    def _new_bucket(self, key: tuple[str, object], limit: LimitRule, now: float) -> "_Bucket":
        self._drop_old(now)
        bucket = self._buckets[key] = _Bucket(limit, now)
        return bucket

    def _drop_old(self, now: float) -> None:
        """A full bucket is the same as none; a few looks per new one keep their number down."""
        for _ in range(min(_LOOKS, len(self._buckets))):
            key, oldest = self._buckets.popitem(last=False)
            if not oldest.is_full(now) and len(self._buckets) < self._buckets_max:
                self._buckets[key] = oldest  # goes to the end: looked at again later

    def _down(self, rule: str, kind: Kind) -> None:
        if kind.refuse_when_down:
            raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": DOWN_RETRY_MS})
        self._metrics.limits_open.labels(rule).inc()

    def _limited(self, rule: str, limit: LimitRule, level: float, cost: float) -> Refused:
        self._metrics.limited.labels(rule).inc()
        wait_s = (cost - level) / limit.per_s if limit.per_s else NEVER_S
        return Refused(
            ErrorCode.RATE_LIMITED,
            {
                "rule": rule,
                "used": math.ceil(limit.burst - level + cost),
                "limit": math.floor(limit.burst),
                "retry_after_ms": max(1, math.ceil(wait_s * 1_000)),
            },
        )


class _Bucket:
    __slots__ = ("at", "burst", "level", "per_s")

    def __init__(self, limit: LimitRule, now: float) -> None:
        self.burst = self.level = limit.burst
        self.per_s = limit.per_s
        self.at = now

    def is_full(self, now: float) -> bool:
        return self.level + (now - self.at) * self.per_s >= self.burst


def _key(by: By, owner: Owner, request: object) -> object:
    if isinstance(owner, Caller):
        key_of = _KEYS_OF_CALLER.get(by)
        if key_of is None:
            raise AssertionError("this rule needs its key said")
        return key_of(owner, request)
    if owner is None:
        return ""
    return _prefix(owner, 32, 64) if by is By.ADDRESS else owner


def _prefix(address: str, ipv4: int, ipv6: int) -> str:
    """The part of an address that one household or carrier gateway shares."""
    if ipv4 == 32 and ":" not in address:
        return address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    prefix = ipv4 if parsed.version == 4 else ipv6
    return str(ipaddress.ip_network((parsed, prefix), strict=False)).removesuffix("/32")

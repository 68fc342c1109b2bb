"""Addresses an operator gives: of the stores, and where we listen. Pure, refusals in one line."""

import ipaddress
from urllib.parse import urlsplit

from messenger.reading import SettingsError


def database_url(url: str) -> str:
    """The same address in SQLAlchemy's spelling for asyncpg."""
    scheme, found, rest = url.partition("://")
    try:
        urlsplit(url).port  # noqa: B018 - reading the property is the check
    except ValueError:
        found = ""
    if not found or scheme not in ("postgresql", "postgres", "postgresql+asyncpg"):
        raise SettingsError("DATABASE_URL: not of the form postgresql://user:password@host/name")
    return f"postgresql+asyncpg://{rest}"


def redis_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and (parts.port or 6379) > 0
    except ValueError:
        good, parts = False, urlsplit("")
    if not good or parts.scheme not in ("redis", "rediss", "redis+cluster", "rediss+cluster"):
        raise SettingsError("REDIS_URL: not of the form redis://:password@host:port")
    return url


def is_loopback(host: str) -> bool:
    """Reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_network(network: str) -> None:
    try:
        ipaddress.ip_network(network, strict=False)
    except ValueError:
        raise SettingsError(f"trusted_proxies: {network} is not a network") from None

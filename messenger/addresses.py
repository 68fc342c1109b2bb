"""Addresses an operator gives: of the stores, and where we listen. Pure, refusals in one line."""

import ipaddress
from urllib.parse import urlsplit

from messenger.reading import SettingsError

CLUSTERS = ("redis+cluster", "rediss+cluster")


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
    scheme = url.partition("://")[0]
    seeds = redis_seeds(url)
    if scheme not in ("redis", "rediss", *CLUSTERS) or not all(map(_names_a_host, seeds)):
        raise SettingsError("REDIS_URL: not of the form redis://:password@host:port")
    if len(seeds) > 1 and scheme not in CLUSTERS:
        raise SettingsError("REDIS_URL: several hosts are for redis+cluster://")
    return url


def redis_seeds(url: str) -> list[str]:
    """One URL per host: a node may start while some of the cluster is down."""
    scheme, _, rest = url.partition("://")
    place, slash, end = rest.partition("/")
    sign_in, at, hosts = place.rpartition("@")
    return [f"{scheme}://{sign_in}{at}{host}{slash}{end}" for host in hosts.split(",")]


def _names_a_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port or 6379) > 0
    except ValueError:
        return False


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

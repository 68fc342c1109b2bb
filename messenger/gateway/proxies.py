"""Who really speaks, where a proxy stands in front: `X-Forwarded-For`, believed from ours alone."""

import ipaddress
from collections.abc import Iterable, Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_networks(trusted_proxies: Iterable[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(network, strict=False) for network in trusted_proxies)


def client_address(peer: str, forwarded_for: str, networks: Sequence[Network]) -> str:
    """The nearest hop that is no proxy of ours.

    Every proxy appends the address it was called from, so the list is read from its end, and only
    as far as the hop that says so is trusted; the rest is whatever the client wrote.
    """
    if not networks or not forwarded_for:
        return peer
    nearest = peer
    for hop in reversed(forwarded_for.split(",")):
        if not _is_ours(nearest, networks):
            break
        address = _parsed(hop.strip())
        if address is None:
            break
        nearest = str(address)
    return nearest


def _is_ours(address: str, networks: Sequence[Network]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _parsed(text: str) -> Address | None:
    """Also `192.0.2.7:4711` and `[2001:db8::7]:4711`, as some proxies write."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)  # of a socket that takes both versions
    return mapped or address

"""Who really speaks behind a proxy: over HTTP and over WebSocket alike."""

from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from messenger.client.http import post
from messenger.gateway.proxies import client_address, parse_networks
from messenger.sections import LimitRule
from messenger.settings import Settings
from tests.support.platform import Platform, running

OURS = ("10.0.0.0/8", "192.0.2.1", "2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "found"),
    [
        ("10.1.2.3", "203.0.113.5", "203.0.113.5"),
        ("10.1.2.3", "198.51.100.1, 203.0.113.5", "203.0.113.5"),
        ("10.1.2.3", "203.0.113.5, 10.9.9.9,192.0.2.1", "203.0.113.5"),
        ("10.1.2.3", "10.4.4.4", "10.4.4.4"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.5, rubbish", "10.1.2.3"),
        ("10.1.2.3", "203.0.113.5:4711", "203.0.113.5"),
        ("10.1.2.3", "[2001:dead::7]:4711", "2001:dead::7"),
        ("::ffff:10.1.2.3", "203.0.113.5", "203.0.113.5"),
        ("2001:db8::1", "2001:dead::7", "2001:dead::7"),
        ("203.0.113.9", "203.0.113.5", "203.0.113.9"),
        ("", "203.0.113.5", ""),
    ],
)
def test_given_a_chain_of_hops_when_read_then_the_nearest_that_is_not_ours(
    peer: str, forwarded_for: str, found: str
) -> None:
    assert client_address(peer, forwarded_for, parse_networks(OURS)) == found
    assert client_address(peer, forwarded_for, ()) == peer


@pytest.fixture(scope="module")
async def behind(settings: Settings) -> AsyncIterator[Platform]:
    """A node behind a proxy on this machine; each address may open two connections."""
    limits = {**settings.limits, "api.conn": LimitRule(burst=2, per_s=0.001)}
    async with running(settings, trusted_proxies=("127.0.0.0/8",), limits=limits) as platform:
        yield platform


async def test_given_a_proxy_when_people_upgrade_then_each_address_has_its_own_limit(
    behind: Platform,
) -> None:
    async def upgrade(address: str) -> None:
        headers = {"X-Forwarded-For": address}
        await (await connect(behind.ws_url, additional_headers=headers)).close()

    for _ in range(2):
        await upgrade("203.0.113.1")
    with pytest.raises(InvalidStatus) as refused:
        await upgrade("203.0.113.1")
    assert refused.value.response.status_code == 503
    await upgrade("203.0.113.2")


async def test_given_a_proxy_when_people_call_then_each_address_has_its_own_limit(
    behind: Platform,
) -> None:
    async def call(address: str) -> int:
        headers = {"X-Forwarded-For": f"198.51.100.9, {address}"}
        status, _ = await post(f"{behind.url}/rpc/system.hello", b"{}", headers)
        return status

    assert [await call("203.0.113.3") for _ in range(3)] == [200, 200, 503]
    assert await call("203.0.113.4") == 200

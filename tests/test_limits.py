"""Token buckets in memory and in Redis, and what happens while Redis is down."""

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec import Struct

from messenger.bus.bus import Bus
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, DeviceId
from messenger.limits import KINDS, Limits
from messenger.metrics import Metrics
from messenger.sections import LIMIT_RULES
from messenger.settings import LimitRule, Settings
from messenger.wire.codes import ErrorCode
from tests.conftest import Stores

_ids = itertools.count(71_000)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class InChat(Struct):
    chat: str


def caller(address: str = "203.0.113.7", **changes: int) -> Caller:
    account = changes.get("account", next(_ids))
    return Caller(AccountId(account), DeviceId(changes.get("device", 9)), address)


def refusal_of(error: pytest.ExceptionInfo[Refused]) -> dict[str, Any]:
    assert error.value.code is ErrorCode.RATE_LIMITED
    return dict(error.value.details)


@pytest_asyncio.fixture
async def bus(stores: Stores) -> AsyncIterator[Bus]:
    bus = Bus(
        stores.redis_url, lambda _topic, _payload: None, settings=Settings(), metrics=Metrics()
    )
    await bus.start()
    yield bus
    await bus.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limits(bus: Bus, clock: Clock) -> Limits:
    return Limits(LIMIT_RULES, bus, Metrics(), clock=clock)


def test_given_the_tables_when_compared_then_every_rule_has_figures_and_a_kind() -> None:
    assert KINDS.keys() == LIMIT_RULES.keys()


async def test_given_a_full_bucket_when_the_burst_is_used_then_the_next_is_refused_with_numbers(
    limits: Limits, clock: Clock
) -> None:
    mina = caller()
    for _ in range(60):
        limits.check_now("msg.account", mina)

    with pytest.raises(Refused) as refused:
        limits.check_now("msg.account", mina)
    assert refusal_of(refused) == {
        "rule": "msg.account",
        "used": 61,
        "limit": 60,
        "retry_after_ms": 1_000,
    }

    clock.now += 0.25
    with pytest.raises(Refused) as refused:
        limits.check_now("msg.account", mina)
    assert refusal_of(refused)["retry_after_ms"] == 750
    clock.now += 0.75
    limits.check_now("msg.account", mina)
    limits.check_now("msg.account", caller())


async def test_given_a_rule_by_chat_when_one_chat_is_used_up_then_another_is_not(
    limits: Limits,
) -> None:
    mina = caller()
    limits.check_now("typing", mina, InChat("5"))
    with pytest.raises(Refused):
        limits.check_now("typing", mina, InChat("5"))
    limits.check_now("typing", mina, InChat("6"))
    limits.check_now("typing", caller(), InChat("5"))


async def test_given_a_rule_by_device_when_used_up_then_other_devices_go_on(limits: Limits) -> None:
    for _ in range(10):
        limits.check_now("search", caller(device=1))
    with pytest.raises(Refused):
        limits.check_now("search", caller(device=1))
    limits.check_now("search", caller(device=2))


async def test_given_addresses_when_admitted_then_a_household_of_ipv6_shares_a_bucket(
    bus: Bus, clock: Clock
) -> None:
    rules = {**LIMIT_RULES, "api.conn": LimitRule(1, 1)}
    limits = Limits(rules, bus, Metrics(), clock=clock)

    assert limits.admit("203.0.113.7")
    assert not limits.admit("203.0.113.7")
    assert not limits.admit("::ffff:203.0.113.7")
    assert limits.admit("203.0.113.8")
    assert limits.admit("2001:db8:1:2::1")
    assert not limits.admit("2001:db8:1:2::2")
    assert limits.admit("2001:db8:1:3::1")
    assert limits.admit("")
    assert limits.admit("what:ever")


@pytest.mark.parametrize("development", [True, False])
async def test_given_the_loopback_when_in_development_then_rules_by_address_do_not_apply(
    bus: Bus, clock: Clock, *, development: bool
) -> None:
    rules = {**LIMIT_RULES, "api.conn": LimitRule(1, 1), "otp.net": LimitRule(1, 0)}
    limits = Limits(rules, bus, Metrics(), development=development, clock=clock)
    own = caller("127.0.0.1")
    network = f"127.{next(_ids) % 250}.{next(_ids) % 250}.0/24"
    await limits.check("otp.net", network)

    assert [limits.admit("127.0.0.1") for _ in range(3)] == [True, development, development]
    limits.check_now("typing", own, InChat("1"))
    with pytest.raises(Refused):
        limits.check_now("typing", own, InChat("1"))
    if development:
        await limits.check("otp.net", network)
    else:
        with pytest.raises(Refused):
            await limits.check("otp.net", network)


async def test_given_callers_of_one_network_when_it_is_used_up_then_all_are_refused(
    bus: Bus, clock: Clock
) -> None:
    rules = {**LIMIT_RULES, "otp.net": LimitRule(1, 0), "api.conn": LimitRule(1, 1)}
    limits = Limits(rules, bus, Metrics(), clock=clock)
    network = f"10.{next(_ids) % 250}.{next(_ids) % 250}"

    await limits.check("otp.net", caller(f"{network}.1"))
    with pytest.raises(Refused):
        await limits.check("otp.net", caller(f"{network}.2"))
    with pytest.raises(Refused):
        await limits.check("otp.net", f"{network}.0/24")
    await limits.check("api.conn", caller(f"{network}.1"))
    await limits.check("api.conn", caller(f"{network}.2"))


async def test_given_many_buckets_when_more_come_then_full_ones_go_first(
    limits: Limits, clock: Clock
) -> None:
    for _ in range(1_000):
        limits.check_now("typing", caller(), InChat("1"))
    assert limits.buckets == 1_000

    clock.now += 10
    busy = caller()
    for _ in range(400):
        limits.check_now("typing", caller(), InChat("1"))
        clock.now += 0.001
    assert limits.buckets < 500
    limits.check_now("typing", busy, InChat("1"))
    with pytest.raises(Refused):
        limits.check_now("typing", busy, InChat("1"))


async def test_given_the_most_buckets_when_none_is_full_then_their_number_stays(
    bus: Bus, clock: Clock
) -> None:
    limits = Limits(LIMIT_RULES, bus, Metrics(), clock=clock, buckets_max=50)
    for _ in range(300):
        limits.check_now("typing", caller(), InChat("1"))
    assert limits.buckets <= 51


async def test_given_a_rule_in_redis_when_used_up_then_every_node_refuses(
    bus: Bus, limits: Limits
) -> None:
    mina = caller()
    elsewhere = Limits(LIMIT_RULES, bus, Metrics())
    for node in (limits, elsewhere, limits, elsewhere, limits):
        await node.check("chat.create", mina)

    with pytest.raises(Refused) as refused:
        await elsewhere.check("chat.create", mina)
    details = refusal_of(refused)
    assert (details["rule"], details["used"], details["limit"]) == ("chat.create", 6, 5)
    assert 8_600_000 < details["retry_after_ms"] <= 8_640_000
    await limits.check("chat.create", caller())


async def test_given_a_rule_that_never_refills_when_used_up_then_it_says_a_day(
    limits: Limits, bus: Bus
) -> None:
    ticket = f"ticket{next(_ids)}"
    for _ in range(5):
        await limits.check("otp.try", ticket)
    with pytest.raises(Refused) as refused:
        await limits.check("otp.try", ticket)
    assert refusal_of(refused)["retry_after_ms"] == 86_400_000
    assert await bus.ask("TTL", f"rl:{{{ticket}}}:otp.try") > 80_000


async def test_given_costs_when_taken_then_bytes_count(limits: Limits) -> None:
    mina = caller()
    await limits.check("media.bytes", mina, cost=2**30)
    await limits.check("media.bytes", mina, cost=2**30)
    with pytest.raises(Refused) as refused:
        await limits.check("media.bytes", mina, cost=2**20)
    assert refusal_of(refused)["used"] > 2**31


async def test_given_a_bucket_in_redis_when_time_passes_then_it_refills_up_to_its_burst(
    bus: Bus, limits: Limits
) -> None:
    mina = caller()
    key = f"rl:{{{mina.account}}}:chat.create"
    for _ in range(5):
        await limits.check("chat.create", mina)

    seconds, _ = await bus.ask("TIME", key=key)
    await bus.ask("HSET", key, "at", int(seconds) - 2 * 8_640)
    for _ in range(2):
        await limits.check("chat.create", mina)
    with pytest.raises(Refused):
        await limits.check("chat.create", mina)

    await bus.ask("HSET", key, "at", 0)
    for _ in range(5):
        await limits.check("chat.create", mina)
    with pytest.raises(Refused):
        await limits.check("chat.create", mina)


async def test_given_redis_down_when_checked_then_messages_pass_and_codes_are_refused(
    bus: Bus,
) -> None:
    metrics = Metrics()
    limits = Limits(LIMIT_RULES, bus, metrics)
    await bus.close()

    await limits.check("msg.stranger", caller())
    assert metrics.limits_open.labels("msg.stranger").value == 1
    for rule in ("otp.phone", "otp.try"):
        with pytest.raises(Refused) as refused:
            await limits.check(rule, "key")
        assert refused.value.code is ErrorCode.OVERLOADED
        assert refused.value.details["retry_after_ms"] > 0
    limits.check_now("msg.account", caller())


async def test_given_a_local_rule_when_awaited_then_it_is_decided_here(limits: Limits) -> None:
    await limits.check("typing", caller(), InChat("1"))
    assert limits.is_local("typing")
    assert not limits.is_local("otp.net")


async def test_given_a_wrong_use_when_checked_then_it_is_a_bug(limits: Limits) -> None:
    with pytest.raises(AssertionError):
        limits.check_now("otp.net", caller())
    with pytest.raises(AssertionError):
        await limits.check("otp.phone", caller())


async def test_given_nobody_when_checked_then_all_who_are_nobody_share_a_bucket(
    limits: Limits,
) -> None:
    limits.check_now("typing", None, InChat("1"))
    with pytest.raises(Refused):
        limits.check_now("typing", None, InChat("2"))

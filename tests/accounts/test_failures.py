"""What people get while Redis or PostgreSQL is away, and how it heals."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest_asyncio
from msgspec import Struct

from messenger.accounts.signin import SAME_MS_TRIES
from messenger.bus.keys import revoked_key
from messenger.bus.link import BusDown
from messenger.ids import AccountId
from messenger.settings import Settings
from messenger.wire.codes import ErrorCode
from tests.accounts.world import World, new_phone, running
from tests.bus.redis_server import RedisServer
from tests.conftest import Stores


class Fragile(Struct, frozen=True):
    """A world, and the Redis below it."""

    world: World
    redis: RedisServer


@pytest_asyncio.fixture
async def fragile(stores: Stores, settings: Settings, tmp_path: Path) -> AsyncIterator[Fragile]:
    redis = RedisServer(tmp_path / "redis", cluster_enabled="no")
    await redis.start()
    settings = msgspec.structs.replace(settings, home=tmp_path, redis_timeout=0.3)
    try:
        async with running(stores, settings, [], redis.url) as world:
            yield Fragile(world, redis)
    finally:
        await redis.kill()


async def until(true: Callable[[], Any]) -> None:
    """Look again each time something may have happened; what is waited for has no event."""
    async with asyncio.timeout(10):
        while True:
            try:
                if await true():
                    return
            except BusDown:
                pass
            await asyncio.sleep(0.02)


async def test_given_redis_is_down_when_codes_are_asked_for_then_none_is_sent(
    fragile: Fragile,
) -> None:
    world = fragile.world
    phone = new_phone()
    ticket, code = await world.ticket(phone)
    await fragile.redis.kill()

    asked = await world.refusal(None, "accounts.request_code", phone=phone)
    device = {"name": "Pixel", "platform": "android", "app": "1.0"}
    tried = await world.refusal(
        None, "accounts.sign_in", ticket=ticket, code=code, device=device, name="مینا"
    )

    assert asked.code is tried.code is ErrorCode.OVERLOADED
    assert asked.details["retry_after_ms"] > 0
    assert await world.count("otp", "used_at is null and tries > 0 and net = '10.250.0.0/24'") == 0


async def test_given_redis_is_down_when_a_device_is_revoked_then_redis_hears_of_it_later(
    fragile: Fragile,
) -> None:
    world = fragile.world
    mina = await world.person()
    laptop = await world.signs_in(mina.phone, device="Laptop")
    await fragile.redis.kill()

    answer = await world.call(laptop, "accounts.revoke_session", device_id="others")
    sessions = (await world.call(laptop, "accounts.sessions"))["sessions"]
    await fragile.redis.start()

    assert answer == {"revoked": [str(mina.device)]}
    assert [session["online"] for session in sessions] == [False]
    await until(lambda: world.bus.ask("HGET", revoked_key(mina.account), mina.device))


async def test_given_redis_is_down_when_presence_is_asked_then_it_is_later_and_refresh_works(
    fragile: Fragile,
) -> None:
    world = fragile.world
    mina = await world.person()
    await fragile.redis.kill()
    world.accounts.presence.opened(mina.caller)

    presence = await world.refusal(mina, "accounts.presence", ids=[mina.id])
    tokens = await world.call(None, "accounts.token", refresh=mina.refresh)
    world.accounts.presence.closed(mina.caller)

    assert presence.code is ErrorCode.OVERLOADED
    assert tokens["refresh"] != mina.refresh


async def test_given_redis_lost_its_data_when_the_node_is_told_then_revocations_are_there_again(
    fragile: Fragile,
) -> None:
    world = fragile.world
    mina = await world.person()
    await world.call(mina, "accounts.sign_out")
    await world.bus.ask("DEL", revoked_key(mina.account))

    world.accounts.devices.redis_lost()

    await until(lambda: world.bus.ask("HGET", revoked_key(mina.account), mina.device))


async def test_given_codes_for_every_millisecond_when_one_more_is_asked_then_it_is_later(
    world: World,
) -> None:
    phone = new_phone()
    hashed = world.accounts.contacts._vault.look_up(phone)
    codes = world.accounts.signing_in._codes
    frozen = world.clock.now_ms() + 10_000
    world.accounts.signing_in._now_ms, before = (lambda: frozen), world.accounts.signing_in._now_ms
    try:
        for later in range(SAME_MS_TRIES):
            assert await codes.put(hashed, frozen + later, b"x", "")
            assert not await codes.put(hashed, frozen + later, b"x", "")
        refusal = await world.refusal(None, "accounts.request_code", phone=phone)
    finally:
        world.accounts.signing_in._now_ms = before

    assert refusal.code is ErrorCode.OVERLOADED


async def test_given_a_phone_of_a_forgotten_account_when_it_signs_in_then_it_gets_a_new_account(
    world: World,
) -> None:
    """The housekeeping died after wiping the account and before freeing the phone."""
    mina = await world.person()
    await world.run(
        "update account set status = 2, deleted_at = 1 where account_id = $1", mina.account
    )

    nina = await world.signs_in(mina.phone, "نینا")
    await world.accounts.housekeeping.round()
    again = await world.signs_in(mina.phone)

    assert nina.account != mina.account
    assert again.account == nina.account


async def test_given_an_account_that_came_back_when_it_was_to_be_forgotten_then_it_stays(
    world: World,
) -> None:
    mina = await world.person()
    people = world.accounts.people
    now = world.clock.now_ms()
    await world.run(
        "update account set status = 1, deleted_at = 1 where account_id = $1", mina.account
    )
    doomed = [one for one in await people.doomed(now, 1_000) if one.account == mina.account]
    back = await world.signs_in(mina.phone)

    await people.forget(doomed[0], now, now)

    assert (await world.call(back, "accounts.me"))["name"] == "مینا"
    assert await people.owner_of_phone(doomed[0].phone_hash or b"") == AccountId(mina.account)

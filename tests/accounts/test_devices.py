"""Rotation of refresh tokens, lists of devices, and throwing one out."""

import asyncio
import random
import time

import pytest

from messenger.accounts.protocol import DeviceLabel
from messenger.bus.keys import revoked_key
from messenger.wire.codes import CloseCode, ErrorCode
from tests.accounts.world import Person, World, new_phone


async def refreshes(world: World, refresh: str) -> str:
    answer = await world.call(None, "accounts.token", refresh=refresh)
    return str(answer["refresh"])


async def test_given_a_refresh_token_when_used_then_it_is_replaced(
    world: World, mina: Person
) -> None:
    answer = await world.call(None, "accounts.token", refresh=mina.refresh)

    assert answer["refresh"] != mina.refresh
    assert answer["ttl_s"] == 86_400
    assert answer["token"].count(".") == 2


async def test_given_a_lost_answer_when_the_old_token_is_shown_again_then_the_same_new_one_comes(
    world: World, mina: Person
) -> None:
    lost = await refreshes(world, mina.refresh)

    again = await refreshes(world, mina.refresh)

    assert again == lost
    assert await refreshes(world, again) not in (again, mina.refresh)


async def test_given_a_token_replaced_a_minute_ago_when_shown_again_then_its_device_is_revoked(
    world: World, mina: Person
) -> None:
    """Whoever has a copy would get each next token of the chain, for ever."""
    await refreshes(world, mina.refresh)
    world.clock.passes(seconds=59)
    second = await refreshes(world, mina.refresh)
    world.clock.passes(seconds=2)

    stolen = await world.refusal(None, "accounts.token", refresh=mina.refresh)
    after = await world.refusal(None, "accounts.token", refresh=second)

    assert stolen.code is after.code is ErrorCode.REFRESH_INVALID
    assert await world.count("device", "account_id = $1 and revoked_at is null", mina.account) == 0


async def test_given_parallel_refreshes_when_all_answer_then_all_got_the_same_token(
    world: World, mina: Person
) -> None:
    tokens = await asyncio.gather(*(refreshes(world, mina.refresh) for _ in range(6)))

    assert len(set(tokens)) == 1


async def test_given_a_replaced_token_when_it_comes_back_then_its_device_is_revoked(
    world: World, mina: Person
) -> None:
    second = await refreshes(world, mina.refresh)
    third = await refreshes(world, second)
    await world.hears(mina)

    stolen = await world.refusal(None, "accounts.token", refresh=mina.refresh)

    assert stolen.code is ErrorCode.REFRESH_INVALID
    fact = await world.fact(mina)
    assert (fact["t"], fact["device_id"]) == ("session.revoked", str(mina.device))
    assert await world.signal(mina) == b"x close %d 4501" % mina.device
    for token in (second, third):
        refusal = await world.refusal(None, "accounts.token", refresh=token)
        assert refusal.code is ErrorCode.REFRESH_INVALID


async def test_given_a_made_up_token_with_real_ids_when_shown_then_nobody_is_signed_out(
    world: World, mina: Person
) -> None:
    forged = mina.refresh[:30] + "A" * (len(mina.refresh) - 30)

    refusal = await world.refusal(None, "accounts.token", refresh=forged)

    assert refusal.code is ErrorCode.REFRESH_INVALID
    assert await refreshes(world, mina.refresh)


async def test_given_a_device_idle_for_longer_than_allowed_when_it_refreshes_then_it_signs_in_again(
    world: World, mina: Person
) -> None:
    world.clock.passes(days=31)

    refusal = await world.refusal(None, "accounts.token", refresh=mina.refresh)

    assert refusal.code is ErrorCode.REFRESH_INVALID


async def test_given_two_devices_when_listed_then_the_current_one_is_marked(world: World) -> None:
    phone = new_phone()
    first = await world.signs_in(phone, "مینا", "Pixel")
    second = await world.signs_in(phone, device="Laptop")
    world.accounts.presence.opened(first.caller)

    sessions = (await world.call(second, "accounts.sessions"))["sessions"]

    assert [
        (session["name"], session["platform"], session["online"], session["current"])
        for session in sessions
    ] == [("Pixel", "android", True, False), ("Laptop", "android", False, True)]
    assert sessions[0]["created"] <= sessions[1]["created"]
    assert sessions[0]["seen_day"] == int(time.time()) // 86_400


async def test_given_another_device_when_revoked_then_it_is_closed_refused_and_told(
    world: World,
) -> None:
    phone = new_phone()
    first = await world.signs_in(phone, "مینا")
    second = await world.signs_in(phone, device="Laptop")
    await world.hears(first)

    answer = await world.call(second, "accounts.revoke_session", device_id=str(first.device))

    assert answer == {"revoked": [str(first.device)]}
    assert await world.signal(first) == b"x close %d 4501" % first.device
    assert (await world.fact(first))["t"] == "session.revoked"
    refusal = await world.refusal(None, "accounts.token", refresh=first.refresh)
    assert refusal.code is ErrorCode.REFRESH_INVALID
    until = await world.bus.ask("HGET", revoked_key(first.account), first.device)
    assert 86_000 < int(until) - time.time() < 86_500
    assert await refreshes(world, second.refresh)


async def test_given_three_devices_when_the_others_are_revoked_then_one_is_left(
    world: World,
) -> None:
    phone = new_phone()
    people = [await world.signs_in(phone, "مینا") for _ in range(3)]

    answer = await world.call(people[2], "accounts.revoke_session", device_id="others")
    again = await world.call(people[2], "accounts.revoke_session", device_id="others")

    assert sorted(answer["revoked"]) == sorted(str(person.device) for person in people[:2])
    assert again == {"revoked": []}
    sessions = (await world.call(people[2], "accounts.sessions"))["sessions"]
    assert [session["device_id"] for session in sessions] == [str(people[2].device)]


async def test_given_somebody_elses_device_when_revoked_then_it_is_not_found(
    world: World, mina: Person, reza: Person
) -> None:
    refusal = await world.refusal(mina, "accounts.revoke_session", device_id=str(reza.device))

    assert (refusal.code, refusal.details) == (ErrorCode.NOT_FOUND, {"what": "device"})
    assert await refreshes(world, reza.refresh)


async def test_given_a_device_when_it_signs_out_then_its_tokens_end(
    world: World, mina: Person
) -> None:
    await world.hears(mina)

    assert await world.call(mina, "accounts.sign_out") == {}
    assert await world.call(mina, "accounts.sign_out") == {}

    assert await world.signal(mina) == b"x close %d %d" % (mina.device, CloseCode.DEVICE_REVOKED)
    refusal = await world.refusal(None, "accounts.token", refresh=mina.refresh)
    assert refusal.code is ErrorCode.REFRESH_INVALID


async def test_given_redis_that_lost_its_data_when_restored_then_revoked_devices_are_known_again(
    world: World, mina: Person
) -> None:
    await world.call(mina, "accounts.sign_out")
    await world.bus.ask("DEL", revoked_key(mina.account))

    count = await world.accounts.devices.restore_revoked()

    assert count >= 1
    until = await world.bus.ask("HGET", revoked_key(mina.account), mina.device)
    assert int(until) > time.time()


async def test_given_a_deleted_account_when_a_device_is_added_then_there_is_none(
    world: World,
) -> None:
    label = DeviceLabel(name="Pixel", platform="android", app="1.0")

    assert await world.accounts.devices.add(12_345, label) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("provider", ["fcm", "apns"])
async def test_given_no_push_delivery_when_a_push_token_is_given_then_the_feature_is_off(
    world: World, mina: Person, provider: str
) -> None:
    refusal = await world.refusal(mina, "accounts.push_token", provider=provider, token="t")

    assert refusal.code is ErrorCode.FEATURE_OFF


@pytest.mark.parametrize("seed", range(12))
async def test_given_any_order_of_showing_tokens_when_compared_then_a_plain_model_agrees(
    world: World, mina: Person, seed: int
) -> None:
    """The model: current rotates, the one before repeats, all older ones revoke the device."""
    chance = random.Random(seed)  # noqa: S311 - a seeded walk, not a secret
    known, current, alive = [mina.refresh], 0, True
    for _ in range(10):
        shown = chance.choice([current, current, max(0, current - 1), chance.randrange(len(known))])
        alive = good = alive and shown >= current - 1
        if not good:
            refusal = await world.refusal(None, "accounts.token", refresh=known[shown])
            assert refusal.code is ErrorCode.REFRESH_INVALID
            continue
        answer = await refreshes(world, known[shown])
        if shown == current:
            known.append(answer)
            current += 1
        assert answer == known[current], (seed, shown, current)

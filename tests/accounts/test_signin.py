"""From a phone to a device: codes, tries, one account for a phone, names, deletion."""

import asyncio
from typing import Any

import pytest

from messenger.accounts.devices import DEVICES_MAX
from messenger.accounts.housekeeping import CODE_DAYS, REVOKED_DAYS, UNDO_DAYS
from messenger.bus.keys import limit_key
from messenger.feature import Refused
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from messenger.wire.codes import CloseCode, ErrorCode
from tests.accounts.world import Person, World, new_phone

LABEL = {"name": "Pixel", "platform": "android", "app": "1.0"}


async def test_given_a_new_phone_when_its_code_is_typed_then_there_is_an_account(
    world: World,
) -> None:
    phone = new_phone()
    ticket, code = await world.ticket(phone)

    answer = await world.call(
        None, "accounts.sign_in", ticket=ticket, code=code, device=LABEL, name="مینا"
    )

    assert answer["new"] is True
    assert answer["ttl_s"] == 86_400
    mina = await world.signs_in(phone)
    assert mina.id == answer["account"]
    assert (await world.call(mina, "accounts.me")) == {
        "id": answer["account"],
        "name": "مینا",
        "kind": "person",
    }


async def test_given_a_signed_in_device_when_its_token_is_read_then_it_names_the_device(
    world: World, mina: Person, settings: Settings
) -> None:
    claims = ConnectionTokens(settings.token_keys).verify(mina.token)

    assert (claims.user, claims.device) == (mina.id, mina.device)


async def test_given_any_phone_when_a_code_is_asked_for_then_answers_have_one_form(
    world: World, mina: Person
) -> None:
    known = await world.call(None, "accounts.request_code", phone=mina.phone)
    unknown = await world.call(None, "accounts.request_code", phone=new_phone())

    for answer in (known, unknown):
        assert answer.pop("ticket")
    assert known == unknown == {"via": "sms", "length": 5, "expires_in_s": 120, "resend_in_s": 60}


async def test_given_an_unknown_phone_when_the_name_is_missing_then_the_same_ticket_works_with_it(
    world: World,
) -> None:
    ticket, code = await world.ticket(new_phone())
    data: dict[str, Any] = {"ticket": ticket, "code": code, "device": LABEL}

    refusal = await world.refusal(None, "accounts.sign_in", **data)
    answer = await world.call(None, "accounts.sign_in", **data, name="رضا")

    assert refusal.code is ErrorCode.NAME_REQUIRED
    assert answer["new"] is True


async def test_given_wrong_codes_when_five_were_tried_then_even_the_right_one_is_too_late(
    world: World,
) -> None:
    phone = new_phone()
    ticket, code = await world.ticket(phone)
    wrong = "00000" if code != "00000" else "11111"
    data: dict[str, Any] = {"ticket": ticket, "device": LABEL, "name": "مینا"}

    left = [
        (await world.refusal(None, "accounts.sign_in", **data, code=wrong)).details["left"]
        for _ in range(5)
    ]
    late = await world.refusal(None, "accounts.sign_in", **data, code=code)

    assert left == [4, 3, 2, 1, 0]
    assert late.code is ErrorCode.RATE_LIMITED
    assert late.details["rule"] == "otp.try"
    assert late.details["retry_after_ms"] > 0
    assert await world.count("otp", "tries >= 5 and used_at is not null") == 0


async def test_given_five_parallel_guesses_and_more_when_counted_then_none_is_free(
    world: World,
) -> None:
    ticket, code = await world.ticket(new_phone())
    wrong = "00000" if code != "00000" else "11111"
    data: dict[str, Any] = {"ticket": ticket, "device": LABEL, "name": "مینا", "code": wrong}

    refusals = await asyncio.gather(
        *(world.refusal(None, "accounts.sign_in", **data) for _ in range(12))
    )

    codes = [refusal.code for refusal in refusals]
    assert codes.count(ErrorCode.CODE_WRONG) == 5
    assert codes.count(ErrorCode.RATE_LIMITED) == 7


async def test_given_a_used_code_when_it_is_shown_again_then_it_has_expired(world: World) -> None:
    phone = new_phone()
    ticket, code = await world.ticket(phone)
    data: dict[str, Any] = {"ticket": ticket, "code": code, "device": LABEL, "name": "مینا"}
    await world.call(None, "accounts.sign_in", **data)

    refusal = await world.refusal(None, "accounts.sign_in", **data)

    assert refusal.code is ErrorCode.CODE_EXPIRED


async def test_given_a_ticket_when_its_time_is_over_then_the_code_has_expired(
    world: World,
) -> None:
    ticket, code = await world.ticket(new_phone())
    world.clock.passes(seconds=121)

    refusal = await world.refusal(
        None, "accounts.sign_in", ticket=ticket, code=code, device=LABEL, name="مینا"
    )

    assert refusal.code is ErrorCode.CODE_EXPIRED


@pytest.mark.parametrize("ticket", ["", "t1", "A" * 100, "é"])
async def test_given_a_made_up_ticket_when_shown_then_it_has_expired(
    world: World, ticket: str
) -> None:
    refusal = await world.refusal(
        None, "accounts.sign_in", ticket=ticket, code="12345", device=LABEL
    )

    assert refusal.code is ErrorCode.CODE_EXPIRED


async def test_given_one_phone_when_codes_are_asked_for_too_often_then_the_rule_is_named(
    world: World,
) -> None:
    phone = new_phone()
    for _ in range(3):
        await world.ticket(phone)

    with pytest.raises(Refused) as refusal:
        await world.ticket(phone)

    assert refusal.value.code is ErrorCode.RATE_LIMITED
    assert refusal.value.details["rule"] == "otp.phone"


async def test_given_one_network_when_it_asks_for_many_phones_then_the_rule_is_named(
    world: World,
) -> None:
    for host in range(20):
        await world.ticket(new_phone(), f"192.0.2.{host}")

    with pytest.raises(Refused) as refusal:
        await world.ticket(new_phone(), "192.0.2.99")

    assert refusal.value.details["rule"] == "otp.net"


async def test_given_two_tickets_of_a_new_phone_when_both_sign_in_at_once_then_one_account_is_made(
    world: World,
) -> None:
    phone = new_phone()
    tickets = [await world.ticket(phone) for _ in range(3)]

    answers = await asyncio.gather(
        *(
            world.call(
                None, "accounts.sign_in", ticket=ticket, code=code, device=LABEL, name="مینا"
            )
            for ticket, code in tickets
        )
    )

    assert len({answer["account"] for answer in answers}) == 1
    assert sorted(answer["new"] for answer in answers) == [False, False, True]
    assert len({answer["device_id"] for answer in answers}) == 3


async def test_given_one_ticket_when_it_is_used_twice_at_once_then_one_device_is_made(
    world: World,
) -> None:
    ticket, code = await world.ticket(new_phone())
    data: dict[str, Any] = {"ticket": ticket, "code": code, "device": LABEL, "name": "مینا"}

    results = await asyncio.gather(
        *(world.call(None, "accounts.sign_in", **data) for _ in range(4)), return_exceptions=True
    )

    made = [result for result in results if isinstance(result, dict)]
    late = [result for result in results if isinstance(result, Refused)]
    assert len(made) == 1
    assert {refusal.code for refusal in late} == {ErrorCode.CODE_EXPIRED}


async def test_given_a_phone_reserved_before_a_crash_when_it_signs_in_then_the_account_is_written(
    world: World,
) -> None:
    phone = new_phone()
    hashed = world.accounts.contacts._vault.look_up(phone)
    await world.run("insert into phone(phone_hash, account_id) values ($1, $2)", hashed, 77_000_001)

    mina = await world.signs_in(phone, "مینا")

    assert mina.account == 77_000_001


async def test_given_ten_devices_when_an_eleventh_signs_in_then_the_least_recent_has_to_go(
    world: World,
) -> None:
    phone = new_phone()
    last = first = await world.signs_in(phone, "مینا", "oldest")
    for n in range(2, DEVICES_MAX + 1):
        world.clock.passes(seconds=60)
        await _forget_limits(world, phone)
        last = await world.signs_in(phone, device=f"device {n}")
    await world.hears(first)
    await _forget_limits(world, phone)

    await world.signs_in(phone, device="eleventh")

    names = [
        session["name"] for session in (await world.call(last, "accounts.sessions"))["sessions"]
    ]
    assert len(names) == DEVICES_MAX
    assert "oldest" not in names
    revoked, new = await world.fact(first), await world.fact(first)
    assert (revoked["t"], revoked["device_id"]) == ("session.revoked", str(first.device))
    assert (new["t"], new["name"]) == ("session.new", "eleventh")
    assert new["aev"] == revoked["aev"] + 1
    closing = b"x close %d %d" % (first.device, CloseCode.DEVICE_REVOKED)
    assert await world.signal(first) == closing


async def test_given_an_account_when_deleted_with_a_code_then_every_device_is_closed(
    world: World,
) -> None:
    phone = new_phone()
    mina = await world.signs_in(phone, "مینا")
    ticket, code = await world.ticket(phone)
    await world.hears(mina)

    await world.call(mina, "accounts.delete", ticket=ticket, code=code)

    closing = b"x close %d %d" % (mina.device, CloseCode.ACCOUNT_DELETED)
    assert await world.signal(mina) == closing
    assert (await world.refusal(mina, "accounts.me")).code is ErrorCode.NOT_FOUND
    token = await world.refusal(None, "accounts.token", refresh=mina.refresh)
    assert token.code is ErrorCode.REFRESH_INVALID
    back = await world.signs_in(phone)
    assert (await world.call(back, "accounts.me"))["name"] == "مینا"
    assert back.account == mina.account


async def test_given_somebody_elses_ticket_when_an_account_is_deleted_then_it_stays(
    world: World, mina: Person, reza: Person
) -> None:
    ticket, code = await world.ticket(reza.phone)

    refusal = await world.refusal(mina, "accounts.delete", ticket=ticket, code=code)

    assert refusal.code is ErrorCode.INVALID
    assert (await world.call(mina, "accounts.me"))["id"] == mina.id


async def test_given_a_deleted_account_when_thirty_days_pass_then_its_phone_is_new_again(
    world: World,
) -> None:
    phone = new_phone()
    mina = await world.signs_in(phone, "مینا")
    username = f"mina_{mina.account % 10**9}"
    await world.call(mina, "accounts.update", username=username)
    ticket, code = await world.ticket(phone)
    await world.call(mina, "accounts.delete", ticket=ticket, code=code)
    world.clock.passes(days=UNDO_DAYS, seconds=60)

    forgotten = await world.accounts.housekeeping.round()
    again = await world.accounts.housekeeping.round()
    other = await world.signs_in(phone, "نو")

    assert forgotten >= 1
    assert again == 0
    assert other.account != mina.account
    where = "account_id = $1 and (name <> '' or phone_enc is not null or phone_hash is not null)"
    assert await world.count("account", where, mina.account) == 0
    refusal = await world.refusal(other, "accounts.update", username=username)
    assert refusal.code is ErrorCode.USERNAME_TAKEN


async def test_given_old_codes_when_the_house_is_kept_then_they_are_forgotten(
    world: World,
) -> None:
    await world.ticket(new_phone())
    before = world.clock.now_ms()
    world.clock.passes(days=CODE_DAYS, seconds=60)

    await world.accounts.housekeeping.round()

    assert await world.count("otp", "issued_at <= $1", before) == 0


async def test_given_devices_revoked_long_ago_when_the_house_is_kept_then_only_they_are_forgotten(
    world: World,
) -> None:
    mina = await world.person()
    laptop = await world.signs_in(mina.phone, device="Laptop")
    await world.call(mina, "accounts.sign_out")
    world.clock.passes(days=REVOKED_DAYS, seconds=60)

    await world.accounts.housekeeping.round()

    assert await world.count("device", "account_id = $1", mina.account) == 1
    assert await world.count("device", "device_id = $1", laptop.device) == 1


async def test_given_a_code_when_stored_then_neither_it_nor_the_phone_can_be_read(
    world: World,
) -> None:
    phone = new_phone()
    _, code = await world.ticket(phone)

    async with world.db.statement() as connection:
        stored = (await connection.exec_driver_sql("select * from otp")).fetchall()

    assert stored
    assert code not in str(stored)
    assert phone[1:] not in str(stored)


async def _forget_limits(world: World, phone: str) -> None:
    """As if ten minutes had passed in Redis too, whose clock is not ours."""
    hashed = world.accounts.contacts._vault.look_up(phone).hex()
    await world.bus.ask("DEL", limit_key(hashed, "otp.phone"))

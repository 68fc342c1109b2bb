"""What the SQL promises on its own: bounds under races, dense numbers, repeatable steps."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from messenger.accounts.blocking import Blocks
from messenger.accounts.devices import DEVICES_MAX
from messenger.accounts.feature import nothing_left
from messenger.accounts.housekeeping import Housekeeping
from messenger.accounts.protocol import DeviceLabel
from messenger.accounts.store.devices import CodeStore, DeviceStore
from messenger.accounts.store.people import PeopleStore
from messenger.accounts.store.relations import RelationStore
from messenger.db.engine import Database
from messenger.feature import NameGuard, Refused
from messenger.log.account_log import AccountLog
from messenger.wire.codes import ErrorCode
from tests.accounts.world import Person, World, new_phone

LABEL = DeviceLabel(name="Pixel", platform="android", app="1.0")


async def test_given_many_sign_ins_at_once_when_all_are_done_then_ten_devices_are_left(
    world: World, mina: Person
) -> None:
    devices = world.accounts.devices

    await asyncio.gather(*(devices.add(mina.account, LABEL) for _ in range(25)))

    active = "account_id = $1 and revoked_at is null"
    assert await world.count("device", active, mina.account) == DEVICES_MAX
    assert await world.count("device", "account_id = $1", mina.account) == 26


async def test_given_any_changes_at_once_when_done_then_the_facts_are_numbered_without_holes(
    world: World, mina: Person
) -> None:
    others = [await world.person() for _ in range(3)]
    calls: list[Any] = [world.accounts.devices.add(mina.account, LABEL) for _ in range(12)]
    for other in others:
        calls.append(world.call(mina, "accounts.block", account=other.id, on=True))
        calls.append(world.call(mina, "accounts.import_contacts", phones=[other.phone]))
        calls.append(world.call(mina, "accounts.update", name=f"نام {other.id}"))

    await asyncio.gather(*calls)

    log = AccountLog(world.db)
    rows = await log.since(mina.account, 0, 1_000)
    assert [row.aev for row in rows] == list(range(1, len(rows) + 1))
    assert (await log.head(mina.account)).aev == len(rows)
    # 1 + 12 sign-ins, 3 revoked beyond ten, and three facts for each of three people
    assert len(rows) == 13 + 3 + 9


async def test_given_facts_when_pushed_and_kept_then_both_say_the_same(
    world: World, mina: Person, reza: Person
) -> None:
    await world.hears(mina)
    await world.call(mina, "accounts.block", account=reza.id, on=True)
    await world.call(mina, "accounts.import_contacts", phones=[reza.phone])
    await world.call(mina, "accounts.remove_contact", account=reza.id)
    await world.call(mina, "accounts.update", about="سلام")
    laptop = await world.signs_in(mina.phone, device="Laptop")
    await world.call(mina, "accounts.revoke_session", device_id=str(laptop.device))

    pushed = [await world.fact(mina) for _ in range(6)]

    kept = await AccountLog(world.db).since(mina.account, pushed[0]["aev"] - 1, 100)
    for update, row in zip(pushed, kept, strict=True):
        assert update["aev"] == row.aev
        assert {name: update[name] for name in update if name not in ("t", "aev")} == row.payload


async def test_given_a_bound_when_contacts_or_blocks_pass_it_then_nothing_is_added(
    world: World, mina: Person, reza: Person
) -> None:
    relations = RelationStore(world.db)
    now = world.clock.now_ms()
    sara = await world.person("سارا")
    account = mina.account

    first = await relations.put_contacts(account, {reza.account: "رضا"}, now, 1)
    beyond = await relations.put_contacts(account, {sara.account: "", reza.account: "r"}, now, 1)
    same = await relations.put_contacts(account, {reza.account: "رضا"}, now, 1)
    block = await relations.set_block(account, reza.account, now, on=True, most=1)
    another = await relations.set_block(account, sara.account, now, on=True, most=1)
    repeated = await relations.set_block(account, reza.account, now, on=True, most=1)

    assert first[0] is True
    assert beyond == (False, None)
    assert same == (True, None)
    assert block is not None
    assert another is None
    assert repeated is not None
    assert not repeated.changed
    assert await world.count("contact", "account_id = $1", account) == 1
    assert await world.count("block", "account_id = $1", account) == 1


@pytest.mark.parametrize(
    ("method", "data", "table"),
    [
        ("accounts.import_contacts", "phones", "contact"),
        ("accounts.block", "account", "block"),
    ],
)
async def test_given_ten_thousand_of_them_when_one_more_is_asked_then_the_limit_is_named(
    world: World, mina: Person, reza: Person, method: str, data: str, table: str
) -> None:
    await world.run(
        f"insert into {table}(account_id, peer_id)"  # noqa: S608 - constants of this test
        " select $1, n from generate_series(1::bigint, 10000) n",
        mina.account,
    )
    requests: dict[str, Any] = {
        "phones": {"phones": [reza.phone]},
        "account": {"account": reza.id, "on": True},
    }

    refusal = await world.refusal(mina, method, **requests[data])

    assert refusal.code is ErrorCode.TOO_LARGE
    assert refusal.details["limit"] == 10_000


async def test_given_two_phones_of_one_crash_when_the_house_is_kept_then_others_are_untouched(
    world: World, mina: Person, reza: Person
) -> None:
    await world.run(
        "update account set status = 2, deleted_at = 1 where account_id = $1", mina.account
    )

    await world.accounts.housekeeping.round()

    assert await world.count("phone", "account_id = $1", mina.account) == 0
    assert await world.count("phone", "account_id = $1", reza.account) == 1
    assert await world.count("account", "account_id = $1 and deleted_at is null", mina.account) == 1


async def test_given_a_database_that_is_away_when_background_work_is_due_then_it_goes_on_later(
    world: World,
) -> None:
    nowhere = create_async_engine("postgresql+asyncpg://peyk@127.0.0.1:1/nowhere")
    away, clock = Database(nowhere), world.clock.now_ms
    people, relations = PeopleStore(away), RelationStore(away)
    parts = world.accounts
    blocks = Blocks(people, relations, parts.profiles, parts.presence._delivery, clock, poll_s=0)
    house = Housekeeping(people, CodeStore(away), DeviceStore(away), clock, nothing_left)

    for run, event in (
        (blocks.run, "blocks wait for the database"),
        (house.run, "housekeeping waits for the database"),
    ):
        with logged() as events:
            task = asyncio.get_running_loop().create_task(run())
            async with asyncio.timeout(5):
                assert await events.get() == event
            assert not task.done()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    await nowhere.dispose()


@contextmanager
def logged() -> Iterator[asyncio.Queue[str]]:
    """Events of this package's log, as they come."""
    events: asyncio.Queue[str] = asyncio.Queue()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            events.put_nowait(record.msg)

    listener, logger = Listener(), logging.getLogger("messenger.accounts")
    logger.addHandler(listener)
    yield events
    logger.removeHandler(listener)


async def test_given_a_guard_when_a_new_person_takes_a_protected_name_then_the_code_stays_good(
    world: World, guards: list[NameGuard]
) -> None:
    class Guard:
        async def check(self, *, owner: int, name: str | None, username: str | None) -> None:
            if name == "رئیس جمهور":
                raise Refused(ErrorCode.NAME_REFUSED, {"why": "reserved"})

    guards.append(Guard())
    ticket, code = await world.ticket(new_phone())
    label = {"name": "Pixel", "platform": "android", "app": "1.0"}
    data: dict[str, Any] = {"ticket": ticket, "code": code, "device": label}

    refusal = await world.refusal(None, "accounts.sign_in", **data, name="رئیس جمهور")
    answer = await world.call(None, "accounts.sign_in", **data, name="مینا")

    assert refusal.code is ErrorCode.NAME_REFUSED
    assert answer["new"] is True

"""One row that cannot be served does not stop the tasks, nor keep the others waiting."""

import json
import logging
from collections.abc import Iterator

import pytest

from messenger.accounts.blocking import OLD_MS, Blocks
from messenger.accounts.feature import nothing_left
from messenger.accounts.housekeeping import UNDO_DAYS, Housekeeping
from messenger.accounts.store.people import Doomed, PeopleStore
from messenger.ids import AccountId
from tests.accounts.world import Person, World


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is logged here is on purpose."""
    logger = logging.getLogger("messenger.accounts")
    logger.disabled = True
    yield
    logger.disabled = False


async def test_given_a_block_that_cannot_be_settled_when_the_others_are_then_it_waits_its_turn(
    world: World, mina: Person, reza: Person
) -> None:
    class Poisoned(Blocks):
        async def settle(self, account: AccountId, peer: AccountId) -> None:
            if account == mina.account:
                raise RuntimeError("on purpose")

    parts = world.accounts
    delivery, clock = parts.presence._delivery, world.clock.now_ms
    blocks = Poisoned(parts.people, parts.blocks._relations, parts.profiles, delivery, clock)
    for n, person in enumerate((mina, reza)):
        await world.run(
            "insert into outbox_a(account_id, peer_id, kind, at) values ($1, 1, 1, $2)",
            person.account,
            clock() - OLD_MS - 10 + n,
        )

    await blocks.settle_left()
    again = await blocks.settle_left()

    assert await world.count("outbox_a", "account_id = $1", reza.account) == 0
    assert await world.count("outbox_a", "account_id = $1", mina.account) == 1
    assert again == 0  # the poisoned one is not due
    await world.run("delete from outbox_a where account_id = $1", mina.account)


async def test_given_an_account_that_cannot_be_forgotten_when_the_house_is_kept_then_others_are(
    world: World, mina: Person, reza: Person
) -> None:
    class Poisoned(PeopleStore):
        async def forget(self, doomed: Doomed, before_ms: int, tombstone_until: int) -> bool:
            if doomed.account == mina.account:
                raise RuntimeError("on purpose")
            return await super().forget(doomed, before_ms, tombstone_until)

    for person in (mina, reza):
        await world.run(
            "update account set status = 1, deleted_at = 1 where account_id = $1", person.account
        )
    house = world.accounts.housekeeping
    parts = Poisoned(world.db), house._codes, house._devices
    poisoned = Housekeeping(*parts, world.clock.now_ms, nothing_left)

    await poisoned.round()

    assert UNDO_DAYS > 0
    assert await world.count("account", "account_id = $1 and status = 2", reza.account) == 1
    assert await world.count("account", "account_id = $1 and status = 1", mina.account) == 1
    await house.round()


async def test_given_settings_that_cannot_be_read_when_somebody_comes_then_others_are_still_told(
    world: World, mina: Person, reza: Person
) -> None:
    nina = await world.person("نینا")
    await world.hears(reza)
    await world.call(reza, "accounts.watch", ids=[mina.id])
    await world.run(
        "update account set privacy = '{\"last_seen\": 5}' where account_id = $1", mina.account
    )
    presence = world.accounts.presence
    presence.opened(mina.caller)
    await world.call(reza, "accounts.watch", ids=[nina.id])
    presence.opened(nina.caller)

    update = json.loads(await world.signal(reza))

    assert update["p"] == [[nina.id, "online"]]
    presence.closed(mina.caller)
    presence.closed(nina.caller)

"""`resume`: back after a short absence, by the SDK's recovery and by `sync.difference`.

(a) A connect that says where it left off brings the missed updates in its reply: the row's own
figures, login included. (b) A device that asks for the difference of all its chats: under `more`.
"""

import asyncio
import time
from array import array
from collections.abc import Sequence

import msgspec

from loadgen.bench.crowd import SMALL, crowd_of
from loadgen.bench.driver import LoadError
from loadgen.bench.groups import Asker, groups
from loadgen.bench.procstat import between
from loadgen.bench.row import Row, per_unit
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Stage, seed_accounts
from messenger.client.errors import Json

AT_ONCE = 50
ROUNDS = 5
EVENTS = 4
"""New messages in each changed chat."""
QUIET_S = 1.0


async def run(stage: Stage) -> Row:
    row = Row(name="resume", lost=0, duplicated=0, reordered=0)
    await _recover(stage, row)
    await stage.driver.close()
    await _differ(stage, row)
    await stage.driver.close()
    return row


async def _recover(stage: Stage, row: Row) -> None:
    crowd = await crowd_of(stage, stage.scale.resumers)
    await crowd.connect()
    crowd.cut()
    await asyncio.sleep(QUIET_S)
    await crowd.post(stage.scale.missed)
    await asyncio.sleep(QUIET_S)
    waits, waiting = array("d"), iter(range(len(crowd.accounts)))

    async def worker() -> None:
        for tag in waiting:
            began = time.monotonic()
            await crowd.back(tag)
            waits.append(time.monotonic() - began)

    before = stage.processes.read()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())
    cost = between(before, stage.processes.read())
    row.charge(cost, len(waits))
    row.p50_ms, row.p99_ms = percentile_ms(waits, 0.5), percentile_ms(waits, 0.99)
    row.lost, row.duplicated = crowd.missing, crowd.order.duplicated
    row.reordered = crowd.order.reordered
    row.more |= {"at_once": AT_ONCE, "missed": stage.scale.missed}
    row.more["unrecovered"] = crowd.unrecovered


async def _differ(stage: Stage, row: Row) -> None:
    scale = stage.scale
    accounts = await seed_accounts(stage, scale.differences)
    asks = await _behind(stage, accounts)
    askers = [Asker() for _ in accounts]
    for asker, account in zip(askers, accounts, strict=True):
        await asker.connect(stage, account)
    waits, wrong = array("d"), 0
    waiting = iter([place for _ in range(ROUNDS) for place in range(len(accounts))])

    async def worker() -> None:
        nonlocal wrong
        for place in waiting:
            began = time.monotonic()
            result = await askers[place].ask("sync.difference", asks[place])
            waits.append(time.monotonic() - began)
            wrong += _events(result) != scale.changed * EVENTS

    before = stage.processes.read()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE // 5):
            tasks.create_task(worker())
    cost = between(before, stage.processes.read())
    row.doubt(cost)
    row.lost = (row.lost or 0) + wrong
    row.more["difference_cpu_us"], row.more["difference_cpu_us_by"] = per_unit(cost, len(waits))
    row.more |= {"differences": len(waits), "chats": scale.chats, "changed": scale.changed}
    row.more["difference_p50_ms"] = percentile_ms(waits, 0.5)
    row.more["difference_p99_ms"] = percentile_ms(waits, 0.99)


async def _behind(stage: Stage, accounts: Sequence[int]) -> list[Json]:
    """The question of each account: all in the same groups, some of which have moved on."""
    scale = stage.scale
    cohorts = [accounts[n : n + SMALL - 1] for n in range(0, len(accounts), SMALL - 1)]
    owners = await seed_accounts(stage, len(cohorts))
    asks: list[Json] = []
    for owner, members in zip(owners, cohorts, strict=True):
        chats = await groups(stage, [(owner, members)] * scale.chats)
        writer = Asker()
        await writer.connect(stage, owner)
        heads = await writer.ask("sync.heads", {})
        known = [head[:3] for head in heads["heads"]]
        for chat in chats[: scale.changed]:
            await writer.post(chat, range(EVENTS))
        for account in members:
            reader = Asker()
            await reader.connect(stage, account)
            aev = (await reader.ask("sync.heads", {"limit": 1}))["aev"]
            asks.append({"aev": aev, "chats": known})
    await stage.driver.close()
    return asks


def _events(result: Json) -> int:
    """New messages in the answer. Raises LoadError where it is not whole."""
    if result["left"] or any(part.get("too_long") or part.get("more") for part in result["chats"]):
        raise LoadError(msgspec.json.encode(result)[:300].decode())
    return sum(len(part.get("events") or ()) for part in result["chats"])

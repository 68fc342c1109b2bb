"""A member list serves exactly the deliveries it is new enough for."""

import asyncio
from collections.abc import Sequence

from messenger.delivery.members import LOADERS, RETRY_S, Deliver, MemberLists
from messenger.ids import AccountId, ChatId

CHAT = ChatId(9)
MINA, REZA = AccountId(1), AccountId(2)


class Store:
    """Member lists whose loads are answered when the test says so."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[asyncio.Future[tuple[int, list[AccountId]]]] = asyncio.Queue()

    async def members(self, _chat: ChatId) -> tuple[int, list[AccountId]]:
        answer: asyncio.Future[tuple[int, list[AccountId]]] = asyncio.Future()
        self.asked.put_nowait(answer)
        return await answer


class Heard:
    """What was delivered, in order."""

    def __init__(self) -> None:
        self.all: list[tuple[str, list[AccountId]]] = []
        self.some = asyncio.Event()

    def of(self, name: str) -> Deliver:
        def deliver(accounts: Sequence[AccountId]) -> None:
            self.all.append((name, list(accounts)))
            self.some.set()

        return deliver


async def next_load(store: Store) -> "asyncio.Future[tuple[int, list[AccountId]]]":
    async with asyncio.timeout(5):
        return await store.asked.get()


async def test_given_a_load_that_is_too_old_when_it_ends_then_newer_deliveries_load_again() -> None:
    store, heard = Store(), Heard()
    lists = MemberLists(store.members)
    running = asyncio.ensure_future(lists.run())
    lists.with_members(CHAT, 5, heard.of("at 5"))
    load = await next_load(store)

    lists.with_members(CHAT, 6, heard.of("at 6"))  # a member left meanwhile
    load.set_result((5, [MINA, REZA]))
    (await next_load(store)).set_result((6, [MINA]))
    async with asyncio.timeout(5):
        while len(heard.all) < 2:
            heard.some.clear()
            await heard.some.wait()

    assert heard.all == [("at 5", [MINA, REZA]), ("at 6", [MINA])]
    running.cancel()
    await asyncio.wait([running])


async def test_given_a_known_list_when_it_is_new_enough_then_delivery_is_at_once() -> None:
    store, heard = Store(), Heard()
    lists = MemberLists(store.members)
    running = asyncio.ensure_future(lists.run())
    lists.with_members(CHAT, 5, heard.of("first"))
    (await next_load(store)).set_result((7, [MINA]))
    async with asyncio.timeout(5):
        await heard.some.wait()

    lists.with_members(CHAT, 7, heard.of("second"))

    assert heard.all == [("first", [MINA]), ("second", [MINA])]
    running.cancel()
    await asyncio.wait([running])


async def test_given_lists_that_do_not_load_when_another_is_asked_for_then_it_comes_at_once() -> (
    None
):
    store, heard = Store(), Heard()
    lists = MemberLists(store.members)
    running = asyncio.ensure_future(lists.run())
    began = asyncio.get_running_loop().time()
    for number in range(LOADERS):
        lists.with_members(ChatId(number), 1, heard.of("late"))
        (await next_load(store)).set_exception(RuntimeError("no store"))

    lists.with_members(CHAT, 1, heard.of("at once"))
    (await next_load(store)).set_result((1, [MINA]))
    async with asyncio.timeout(5):
        await heard.some.wait()
        assert asyncio.get_running_loop().time() - began < RETRY_S
        for _ in range(LOADERS):
            (await next_load(store)).set_result((1, [REZA]))
        while len(heard.all) <= LOADERS:
            heard.some.clear()
            await heard.some.wait()

    assert heard.all == [("at once", [MINA]), *[("late", [REZA])] * LOADERS]
    running.cancel()
    await asyncio.wait([running])


async def test_given_a_delivery_that_fails_when_others_follow_then_they_go_out() -> None:
    def fail(_accounts: Sequence[AccountId]) -> None:
        raise RuntimeError("a bug")

    store, heard = Store(), Heard()
    lists = MemberLists(store.members)
    running = asyncio.ensure_future(lists.run())
    lists.with_members(CHAT, 1, fail)
    lists.with_members(CHAT, 1, heard.of("after"))
    (await next_load(store)).set_result((1, [MINA]))
    async with asyncio.timeout(5):
        await heard.some.wait()

    assert lists.with_members(CHAT, 1, fail)

    assert heard.all == [("after", [MINA])]
    running.cancel()
    await asyncio.wait([running])


async def test_given_too_many_waiting_when_one_more_comes_then_it_is_dropped_and_said() -> None:
    store, heard = Store(), Heard()
    lists = MemberLists(store.members, most_waiting=2)

    taken = [lists.with_members(CHAT, 1, heard.of(str(n))) for n in range(3)]
    taken.append(lists.with_members(ChatId(10), 1, heard.of("of another chat")))

    assert taken == [True, True, False, False]

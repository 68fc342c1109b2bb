import asyncio

import pytest

from messenger.client.errors import RpcError
from messenger.client.options import BACKOFF_S, at_once, full_jitter, ignore
from messenger.client.waiting import Disconnected, Waiting
from messenger.wire.messages import PublishResult, SubscribeResult


@pytest.mark.parametrize(
    ("code", "final"),
    [(None, False), (1006, False), (3001, False), (3499, False), (3500, True), (3999, True),
     (4001, False), (4499, False), (4500, True), (4999, True), (5000, False)],
)  # fmt: skip
def test_given_a_close_code_when_asked_then_it_is_final_as_sdks_see_it(
    code: int | None, *, final: bool
) -> None:
    assert Disconnected(code, "why").final is final


async def test_given_answers_when_they_come_then_the_right_ones_wake() -> None:
    waiting = Waiting()
    first, second, topic = waiting.expect(1), waiting.expect(2), waiting.expect_topic("a")

    waiting.settle(2, PublishResult())
    waiting.settle(1, RpcError(104, "method not found"))
    waiting.settle_topic("a", SubscribeResult(id=3))
    waiting.settle(2, PublishResult())

    assert await second == PublishResult()
    assert (await topic).id == 3
    with pytest.raises(RpcError):
        await first


async def test_given_the_end_of_a_connection_when_told_then_all_that_wait_are_told() -> None:
    waiting = Waiting()
    first, given_up, topic = waiting.expect(1), waiting.expect(2), waiting.expect_topic("a")
    given_up.cancel()

    waiting.end(Disconnected(3001, "shutdown"))

    for future in (first, topic):
        with pytest.raises(Disconnected) as ended:
            await future
        assert (ended.value.code, ended.value.reason) == (3001, "shutdown")
    waiting.settle_topic("a", SubscribeResult())


async def test_given_an_answer_nobody_waits_for_when_it_comes_then_it_is_dropped() -> None:
    waiting = Waiting()
    given_up = waiting.expect(1)
    given_up.cancel()
    waiting.expect(2)
    waiting.forget(2)

    waiting.settle(1, PublishResult())
    waiting.settle(2, PublishResult())

    assert given_up.cancelled()


async def test_given_a_condition_when_something_changes_then_it_is_looked_at_again() -> None:
    waiting, values = Waiting(), [0]

    async def change() -> None:
        for value in (1, 2):
            values[0] = value
            waiting.changed()
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(change(), name="change")
        await waiting.until(lambda: values[0] == 2, 5.0)
    with pytest.raises(TimeoutError):
        await waiting.until(lambda: False, 0.01)


def test_given_repeated_failures_when_spaced_then_the_pauses_grow_up_to_a_bound() -> None:
    least, most = BACKOFF_S

    assert all(least <= full_jitter(0) <= 2 * least for _ in range(50))
    assert max(full_jitter(20) for _ in range(200)) <= most
    assert at_once(5.0) == 0.0
    ignore("anything")

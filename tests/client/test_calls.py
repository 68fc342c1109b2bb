from typing import Any

import pytest

from messenger.client.calls import IN_FLIGHT, Calls
from messenger.client.errors import RpcError

BUSY = RpcError(1000, 'OVERLOADED {"retry_after_ms":500}', temporary=True)


class Asked:
    def __init__(self) -> None:
        self.calls = Calls()
        self.told: list[Any] = []

    def ask(self, method: str) -> None:
        self.calls.ask(method, {}, self.told.append, self.told.append)


@pytest.fixture
def asked() -> Asked:
    return Asked()


def test_given_many_calls_when_ready_then_a_few_go_at_a_time_in_order(asked: Asked) -> None:
    for number in range(IN_FLIGHT + 2):
        asked.ask(str(number))

    going = asked.calls.ready(0.0)

    assert [call.method for call in going] == [str(n) for n in range(IN_FLIGHT)]
    assert asked.calls.ready(0.0) == []
    asked.calls.answered(going[0], {})
    assert [call.method for call in asked.calls.ready(0.0)] == [str(IN_FLIGHT)]


def test_given_an_answer_when_it_comes_twice_then_it_counts_once(asked: Asked) -> None:
    asked.ask("a")
    (call,) = asked.calls.ready(0.0)

    asked.calls.answered(call, {"n": 1})
    asked.calls.answered(call, {"n": 2})
    asked.calls.refused(call, BUSY, 0.0)

    assert asked.told == [{"n": 1}]
    assert asked.calls.idle


def test_given_a_refusal_that_passes_when_its_time_is_over_then_the_call_goes_again(
    asked: Asked,
) -> None:
    asked.ask("a")
    (call,) = asked.calls.ready(0.0)

    asked.calls.refused(call, BUSY, now=1.0)

    assert asked.calls.due() == 1.5
    assert not asked.calls.idle
    assert asked.calls.ready(1.4) == []
    assert asked.calls.ready(1.5) == [call]
    assert asked.told == []


def test_given_a_refusal_that_stays_when_it_comes_then_the_asker_is_told(asked: Asked) -> None:
    asked.ask("a")
    (call,) = asked.calls.ready(0.0)
    refusal = RpcError(1202, "NO_CHAT")

    asked.calls.refused(call, refusal, now=1.0)

    assert asked.told == [refusal]
    assert asked.calls.due() is None


def test_given_a_lost_connection_when_answers_still_come_then_nobody_is_told(asked: Asked) -> None:
    asked.ask("a")
    asked.ask("b")
    call, _ = asked.calls.ready(0.0)

    asked.calls.clear()
    asked.calls.answered(call, {})

    assert asked.told == []
    assert asked.calls.idle

"""One message in 64 is measured, from its own time; other updates are not."""

import pytest

from messenger.gateway.ageing import SAMPLE, PushAge
from messenger.metrics import Spread

NEW = (
    b'{"t":"message.new","chat":"5","ev":3,"m":{"seq":2,"from":"9","at":1700000000000,"k":"text"}}'
)


def measured(*updates: bytes, now_ms: float = 1_700_000_000_250.0) -> Spread:
    spread = Spread((0.1, 1.0))
    age = PushAge(spread, lambda: now_ms)
    for update in updates:
        age.saw(update)
    return spread


def test_given_many_messages_when_heard_then_the_first_and_each_64th_is_measured() -> None:
    spread = measured(*[NEW] * (2 * SAMPLE + 1))

    assert sum(spread.counts) == 3
    assert spread.total == pytest.approx(0.75)


def test_given_clocks_that_differ_when_measured_then_the_age_is_never_negative() -> None:
    assert measured(NEW, now_ms=1_699_999_999_000.0).total == 0.0


@pytest.mark.parametrize(
    "update",
    [
        b'{"t":"message.edit","chat":"5","ev":4,"seq":2,"at":1600000000000}',
        b'{"t":"message.new","text":"\\"at\\":1700000000000"}',
        b"not json",
    ],
)
def test_given_another_update_when_its_turn_comes_then_it_is_not_measured(update: bytes) -> None:
    assert sum(measured(update).counts) == 0

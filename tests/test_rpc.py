"""The catalogue: one place where refusals become answers and bugs become error 100."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from messenger.bus.link import BusDown
from messenger.db.engine import StoreDown
from messenger.feature import Access, Caller, Feature, Later, Refused, Rpc
from messenger.ids import AccountId, DeviceId
from messenger.limits import Limits
from messenger.metrics import Metrics
from messenger.rpc import DuplicateMethodError, Rpcs
from messenger.sections import LIMIT_RULES, LimitRule
from messenger.tracing import Asked, derived
from messenger.wire.codes import ErrorCode

CALLER = Caller(AccountId(71), DeviceId(9), "127.0.0.1", "c")
STRANGER = Caller(AccountId(0), DeviceId(0), "127.0.0.1")


class Ask(Struct):
    n: int
    chat: str = "1"


class Answer(Struct):
    n: int


def plain(request: Ask, _caller: Caller) -> Answer:
    return Answer(request.n + 1)


async def waits(request: Ask, _caller: Caller) -> Answer:
    await asyncio.sleep(0)
    return Answer(request.n + 1)


def raises(error: BaseException) -> Callable[[Ask, Caller], Any]:
    def handler(_request: Ask, _caller: Caller) -> Answer:
        raise error

    return handler


def raises_later(error: BaseException) -> Callable[[Ask, Caller], Any]:
    async def handler(_request: Ask, _caller: Caller) -> Answer:
        raise error

    return handler


class Place(Struct):
    seq: int
    ev: int


def places(_request: Ask, _caller: Caller) -> Place:
    return Place(5, 6)


def rpcs_of(
    *rpcs: Rpc,
    enabled: bool = True,
    metrics: Metrics | None = None,
    slow_s: float = 1.0,
    **rules: LimitRule,
) -> Rpcs:
    metrics = metrics or Metrics()
    limits = Limits({**LIMIT_RULES, **rules}, None, metrics)  # type: ignore[arg-type]  # local rules only
    return Rpcs([Feature("test", rpcs=rpcs)], limits, metrics, enabled=enabled, slow_s=slow_s)


async def answer(
    rpcs: Rpcs, method: str, data: bytes = b'{"n":1}', caller: Caller | None = CALLER, **more: Any
) -> Any:
    """The decoded result, or the Refused."""
    replies: list[bytes | Refused] = []
    waiting: Coroutine[Any, Any, None] | None = rpcs.call(
        method, data, caller, replies.append, **more
    )
    if waiting is not None:
        await waiting
    assert len(replies) == 1
    [reply] = replies
    return reply if isinstance(reply, Refused) else msgspec.json.decode(reply)


@pytest.mark.parametrize("handler", [plain, waits])
async def test_given_a_handler_when_called_then_its_answer_is_encoded(handler: Any) -> None:
    assert await answer(rpcs_of(Rpc("t.m", Ask, handler)), "t.m") == {"n": 2}


async def test_given_a_later_when_it_is_settled_then_the_answer_comes_and_not_before() -> None:
    later = Later()
    rpcs = rpcs_of(Rpc("t.m", Ask, lambda _request, _caller: later))
    replies: list[Any] = []

    assert rpcs.call("t.m", b'{"n":1}', CALLER, replies.append) is None
    assert replies == []
    later.settle(Answer(5))

    assert replies == [b'{"n":5}']


@pytest.mark.parametrize("handler", [plain, waits])
async def test_given_a_slow_call_when_answered_then_its_line_has_the_trace_both_ends_know(
    handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    rpcs = rpcs_of(Rpc("t.m", Ask, handler), slow_s=0.0)

    await answer(rpcs, "t.m", asked=7)

    [record] = [record for record in caplog.records if record.msg == "rpc slow"]
    assert vars(record)["trace"] == derived(CALLER.session, 7)
    assert vars(record)["method"] == "t.m"


async def test_given_a_usual_call_when_answered_then_nothing_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        await answer(rpcs_of(Rpc("t.m", Ask, plain)), "t.m", asked=7)
        await answer(rpcs_of(Rpc("t.m", Ask, plain)), "t.m", asked=Asked(trace="ab"))

    assert caplog.records == []


@pytest.mark.parametrize("error", [None, Refused(ErrorCode.NO_CHAT)])
async def test_given_a_trace_that_is_kept_when_answered_then_one_line_tells_of_it(
    error: Refused | None, caplog: pytest.LogCaptureFixture
) -> None:
    rpcs = rpcs_of(Rpc("t.m", Ask, raises(error) if error else places))

    with caplog.at_level(logging.INFO):
        await answer(rpcs, "t.m", asked=Asked(trace="ab", sampled=True))

    [record] = caplog.records
    told = vars(record)
    assert (record.msg, told["trace"]) == ("rpc traced", "ab")
    assert told["result"] == ("NO_CHAT" if error else "answered")
    assert (told.get("seq"), told.get("ev")) == ((None, None) if error else (5, 6))


async def test_given_many_traces_that_are_kept_when_a_call_is_slow_then_its_line_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rpcs = rpcs_of(Rpc("t.m", Ask, plain), slow_s=1.0)
    with caplog.at_level(logging.INFO):
        for _ in range(30):  # beyond the ten lines of a second, even over its end
            await answer(rpcs, "t.m", asked=Asked(trace="ab", sampled=True))
        rpcs._slow_s = 0.0
        await answer(rpcs, "t.m", asked=7)

    assert caplog.messages[-1] == "rpc slow"


async def test_given_a_trace_that_is_kept_when_nobody_is_signed_in_then_no_line_tells_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rpcs = rpcs_of(Rpc("t.m", Ask, plain, access=Access.ANYONE))
    with caplog.at_level(logging.INFO):
        for caller in (None, STRANGER):
            await answer(rpcs, "t.m", caller=caller, asked=Asked(trace="ab", sampled=True))

    assert caplog.messages == []


async def test_given_a_coroutine_with_a_later_when_settled_with_a_refusal_then_it_is_one() -> None:
    later = Later()
    later.settle(Refused(ErrorCode.SLOW_MODE, {"retry_after_ms": 5}))

    async def handler(_request: Ask, _caller: Caller) -> Later:
        return later

    refused = await answer(rpcs_of(Rpc("t.m", Ask, handler)), "t.m")

    assert refused.message == 'SLOW_MODE {"retry_after_ms":5}'


def test_given_an_answer_when_settled_twice_then_it_is_a_bug() -> None:
    later = Later()
    later.settle(Answer(1))
    with pytest.raises(AssertionError):
        later.settle(Answer(2))


@pytest.mark.parametrize(
    ("data", "details"),
    [
        (b"{", {"why": "data is not JSON"}),
        (b'{"n":"x"}', {"field": "n", "why": "Expected 'int', got 'str'"}),
        (b"{}", {"field": "n", "why": "Object missing required field 'n'"}),
        (b"", {"field": "n", "why": "Object missing required field 'n'"}),
        (b"[]", {"field": "", "why": "Expected 'object', got 'array'"}),
        (b'{"n":' + b"[" * 100_000, {"field": "n", "why": "Expected 'int', got 'array'"}),
    ],
)
async def test_given_data_that_does_not_fit_when_decoded_then_107_names_the_field(
    data: bytes, details: dict[str, str]
) -> None:
    refused = await answer(rpcs_of(Rpc("t.m", Ask, plain)), "t.m", data)

    assert refused.code is ErrorCode.BAD_REQUEST
    assert refused.details == details


@pytest.mark.parametrize(("data", "good"), [(rb'"\u0000"', False), (rb'"\\u0000"', True)])
async def test_given_nul_when_decoded_then_it_is_refused_and_its_spelling_is_not(
    data: bytes,
    good: bool,  # noqa: FBT001 - a case of the table
) -> None:
    reply = await answer(rpcs_of(Rpc("t.m", Ask, plain)), "t.m", b'{"n":1,"chat":%b}' % data)

    assert (reply == {"n": 2}) is good
    assert good or reply.code is ErrorCode.INVALID


@pytest.mark.parametrize(
    ("rpc", "method", "caller", "http", "code"),
    [
        (Rpc("t.m", Ask, plain), "t.x", CALLER, False, ErrorCode.METHOD_NOT_FOUND),
        (Rpc("t.m", Ask, plain), "calls.invite", CALLER, False, ErrorCode.FEATURE_OFF),
        (Rpc("t.m", Ask, plain), "t.m", None, False, ErrorCode.UNAUTHORIZED),
        (Rpc("t.m", Ask, plain), "t.m", STRANGER, True, ErrorCode.UNAUTHORIZED),
        (
            Rpc("t.m", Ask, plain, access=Access.HTTP),
            "t.m",
            CALLER,
            False,
            ErrorCode.METHOD_NOT_FOUND,
        ),
        (Rpc("t.m", Ask, plain, access=Access.HTTP), "t.m", STRANGER, True, None),
        (Rpc("t.m", Ask, plain, access=Access.ANYONE), "t.m", None, False, None),
    ],
)
async def test_given_a_caller_when_the_method_is_not_for_them_then_the_code_says_so(
    rpc: Rpc,
    method: str,
    caller: Caller | None,
    http: bool,  # noqa: FBT001 - a case of the table
    code: ErrorCode | None,
) -> None:
    reply = await answer(rpcs_of(rpc), method, caller=caller, http=http)

    assert getattr(reply, "code", None) is code


async def test_given_rpcs_switched_off_when_called_then_108() -> None:
    refused = await answer(rpcs_of(Rpc("t.m", Ask, plain), enabled=False), "t.m")

    assert refused.code is ErrorCode.NOT_AVAILABLE


@pytest.mark.parametrize("make", [raises, raises_later])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Refused(ErrorCode.NO_CHAT), ErrorCode.NO_CHAT),
        (StoreDown("gone"), ErrorCode.OVERLOADED),
        (BusDown("gone"), ErrorCode.OVERLOADED),
        (RuntimeError("a secret"), ErrorCode.INTERNAL),
    ],
)
async def test_given_a_handler_that_raises_when_called_then_its_kind_decides_the_code(
    make: Any, error: Exception, code: ErrorCode
) -> None:
    refused = await answer(rpcs_of(Rpc("t.m", Ask, make(error))), "t.m")

    assert refused.code is code
    assert "secret" not in refused.message


@pytest.mark.parametrize("make", [raises, raises_later])
@pytest.mark.parametrize("error", [Refused(ErrorCode.NO_CHAT), BusDown("gone"), KeyError()])
async def test_given_a_call_that_fails_when_it_is_answered_then_its_time_counts_too(
    make: Any, error: Exception
) -> None:
    metrics = Metrics()
    rpcs = rpcs_of(Rpc("t.m", Ask, make(error)), metrics=metrics)
    await answer(rpcs, "t.m")
    await answer(rpcs, "no.such")

    for method in ("t.m", "unknown"):
        count = metrics.registry.get_sample_value("peyk_rpc_seconds_count", {"method": method})
        assert count == 1


async def test_given_a_handler_that_hangs_when_its_time_is_over_then_1004() -> None:
    refused = await answer(rpcs_of(Rpc("t.m", Ask, raises_later(TimeoutError()))), "t.m")

    assert (refused.code, refused.temporary) == (ErrorCode.TIMEOUT, True)


async def test_given_a_bug_when_it_is_logged_then_with_its_method_and_stack(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR):
        await answer(rpcs_of(Rpc("t.m", Ask, raises(RuntimeError("x")))), "t.m")

    [record] = caplog.records
    assert record.exc_info is not None
    assert vars(record)["method"] == "t.m"


async def test_given_a_limit_when_it_is_used_up_then_the_refusal_names_rule_and_time() -> None:
    rpcs = rpcs_of(Rpc("t.m", Ask, plain, limits=("typing",)))

    assert await answer(rpcs, "t.m") == {"n": 2}
    refused = await answer(rpcs, "t.m")

    assert refused.code is ErrorCode.RATE_LIMITED
    assert refused.details["rule"] == "typing"
    assert refused.details["retry_after_ms"] > 0


def test_given_one_method_twice_when_put_together_then_it_is_refused_at_start() -> None:
    with pytest.raises(DuplicateMethodError):
        rpcs_of(Rpc("t.m", Ask, plain), Rpc("t.m", Ask, waits))


def test_given_long_details_when_shown_then_the_name_alone_is_left() -> None:
    assert Refused(ErrorCode.INVALID, {"why": "x" * 600}).message == "INVALID"

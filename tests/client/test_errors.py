import pytest

from messenger.client.errors import RpcError


def test_given_details_in_the_message_when_read_then_they_come_apart() -> None:
    message = 'RATE_LIMITED {"rule":"msg.account","used":61,"limit":60,"retry_after_ms":1500}'

    error = RpcError(1010, message)

    assert (error.code, error.message, error.details["rule"]) == (
        1010,
        "RATE_LIMITED",
        "msg.account",
    )
    assert error.retry_after_s == 1.5


@pytest.mark.parametrize("message", ["method not found", "NO_CHAT", "ODD {not json", "ODD [1]"])
def test_given_no_details_when_read_then_the_message_stays_whole(message: str) -> None:
    error = RpcError(104, message)

    assert (error.message, error.details, error.retry_after_s) == (message, {}, None)


@pytest.mark.parametrize(
    ("code", "temporary", "retried"),
    [(100, True, True), (1000, False, True), (1004, False, True), (1202, False, False)],
)
def test_given_an_error_when_asked_then_it_says_whether_repeating_helps(
    code: int, *, temporary: bool, retried: bool
) -> None:
    error = RpcError(code, "NAME", temporary=temporary)

    assert error.temporary is retried
    assert (error.retry_after_s is not None) is retried

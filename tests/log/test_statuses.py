"""What each status of the append function becomes, and which sends count as the same."""

import pytest

from messenger.log.statuses import Status, refusal, send_digest
from messenger.wire.codes import ErrorCode


@pytest.mark.parametrize(
    ("status", "code", "details"),
    [
        (Status.OTHER_BODY, ErrorCode.IDEMPOTENCY_MISMATCH, {"seq": 4}),
        (Status.NO_CHAT, ErrorCode.NO_CHAT, {}),
        (Status.NOT_MEMBER, ErrorCode.NO_CHAT, {}),
        (Status.MAY_NOT_POST, ErrorCode.FORBIDDEN, {"right": "post"}),
        (Status.SLOW_MODE, ErrorCode.SLOW_MODE, {"retry_after_ms": 5}),
        (Status.EMBARGO, ErrorCode.FORBIDDEN, {"right": "post", "why": "embargo"}),
        (Status.BANNED, ErrorCode.BANNED, {"until": 6}),
        (Status.REPLY_NOT_FOUND, ErrorCode.REPLY_NOT_FOUND, {}),
        (99, ErrorCode.INTERNAL, {}),
    ],
)
def test_given_a_status_when_refused_then_the_code_and_its_details_are_the_protocols(
    status: int, code: ErrorCode, details: dict[str, object]
) -> None:
    refused = refusal(status, 4, 5, 6)

    assert (refused.code, refused.details) == (code, details)


def test_given_sends_when_anything_they_say_differs_then_the_digest_does() -> None:
    sends = [
        (1, "a", None, None, None),
        (2, "a", None, None, None),
        (1, "b", None, None, None),
        (1, None, None, None, None),
        (1, "a", "{}", None, None),
        (1, "a", None, 5, None),
        (1, "a", None, None, 5),
        (1, "lone \ud800", None, None, None),
    ]

    digests = [send_digest(*send) for send in sends]

    assert len(set(digests)) == len(sends)
    assert all(-(2**31) <= digest < 2**31 for digest in digests)
    assert digests == [send_digest(*send) for send in sends]

from messenger.wire.codes import TEMPORARY, CloseCode, ErrorCode, UnsubscribeCode


def test_given_every_code_when_read_then_it_has_a_text() -> None:
    assert all(code.message for code in ErrorCode)
    assert all(code.reason for code in CloseCode)
    assert all(code.reason for code in UnsubscribeCode)


def test_given_product_errors_when_read_then_their_message_is_their_name() -> None:
    assert all(code.message == code.name for code in ErrorCode if code >= 1000)


def test_given_codes_that_sdks_keep_for_themselves_then_we_never_use_them() -> None:
    assert not any(code < 100 or 114 <= code <= 999 for code in ErrorCode)


def test_given_a_number_when_looked_up_then_it_is_the_code() -> None:
    assert ErrorCode(1010) is ErrorCode.RATE_LIMITED
    assert CloseCode(4501) is CloseCode.DEVICE_REVOKED
    assert UnsubscribeCode(2500) is UnsubscribeCode.INSUFFICIENT_STATE
    assert ErrorCode.OVERLOADED in TEMPORARY
    assert ErrorCode.INVALID not in TEMPORARY


def test_given_codes_that_sdks_treat_as_final_then_they_are_those_we_mean_to_be_final() -> None:
    final = {code for code in CloseCode if 3500 <= code <= 3999 or 4500 <= code <= 4999}

    assert CloseCode.SLOW not in final
    assert CloseCode.REPLACED not in final
    assert {CloseCode.INVALID_TOKEN, CloseCode.BAD_REQUEST, CloseCode.DEVICE_REVOKED} <= final

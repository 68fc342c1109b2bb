import msgspec
import pytest
from msgspec import Raw

from messenger.wire import json_codec
from messenger.wire import messages as m
from messenger.wire.bad_frame import BadFrame
from messenger.wire.codes import CloseCode, UnsubscribeCode

INFO = m.ClientInfo(user="71", client="c1")


def one(data: bytes) -> m.Command:
    (command,) = json_codec.decode_frame(data, 128)
    return command


def test_given_the_first_frame_of_an_sdk_when_decoded_then_commands_come_in_order() -> None:
    data = (
        b'{"connect":{"token":"T","name":"js","unheard_of":[1]},"id":1}\n'
        b'{"subscribe":{"channel":"room:1","recover":true,"offset":5,"epoch":"k"},"id":2}\n'
        b'{"rpc":{"method":"system.echo","data":{"a" : 1}},"id":3}'
    )

    connect, subscribe, rpc = json_codec.decode_frame(data, 128)

    assert (connect.id, connect.request) == (1, m.ConnectRequest(token="T", name="js"))
    assert isinstance(subscribe.request, m.SubscribeRequest)
    assert (subscribe.request.offset, subscribe.request.epoch) == (5, "k")
    assert isinstance(rpc.request, m.RpcRequest)
    assert bytes(rpc.request.data) == b'{"a" : 1}'


def test_given_one_newline_at_the_end_when_decoded_then_it_is_accepted() -> None:
    assert one(b"{}\n") == m.Command()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", CloseCode.BAD_REQUEST),
        (b"\n", CloseCode.BAD_REQUEST),
        (b"\n{}", CloseCode.BAD_REQUEST),
        (b"{}\n\n", CloseCode.BAD_REQUEST),
        (b"{}\n\n{}", CloseCode.BAD_REQUEST),
        (b"{} {}", CloseCode.BAD_REQUEST),
        (b"[]", CloseCode.BAD_REQUEST),
        (b"null", CloseCode.BAD_REQUEST),
        (b"nonsense", CloseCode.BAD_REQUEST),
        (b'{"id":1', CloseCode.BAD_REQUEST),
        (b'{"id":-1,"ping":{}}', CloseCode.BAD_REQUEST),
        (b'{"id":4294967296,"ping":{}}', CloseCode.BAD_REQUEST),
        (b'{"id":1e400}', CloseCode.BAD_REQUEST),
        (b'{"id":1,"rpc":[]}', CloseCode.BAD_REQUEST),
        (b'{"id":1,"rpc":{"method":7}}', CloseCode.BAD_REQUEST),
        (b'{"id":1,"subscribe":{"offset":-1}}', CloseCode.BAD_REQUEST),
        (b'{"id":1,"subscribe":{"offset":"x"}}', CloseCode.BAD_REQUEST),
        (b'{"id":1,"subscribe":{"offset":9223372036854775808}}', CloseCode.BAD_REQUEST),
        (b'{"id":1,"history":{"limit":2147483648}}', CloseCode.BAD_REQUEST),
        (b'{"id":1,"rpc":{"data":' + b"[" * 30_000 + b"]" * 30_000 + b"}}", CloseCode.BAD_REQUEST),
        (b'{"id":1,"rpc":{"data":"\xff"}}', CloseCode.INVALID_TEXT),
        (b"\xc3", CloseCode.INVALID_TEXT),
    ],
)
def test_given_text_that_is_no_command_when_decoded_then_the_close_code_says_why(
    data: bytes, code: CloseCode
) -> None:
    with pytest.raises(BadFrame) as refused:
        json_codec.decode_frame(data, 128)
    assert refused.value.code is code
    assert str(refused.value)


def test_given_one_bad_line_when_decoded_then_no_command_of_the_frame_comes_out() -> None:
    with pytest.raises(BadFrame):
        json_codec.decode_frame(b'{"id":1,"publish":{"channel":"a","data":1}}\n{', 128)


def test_given_offsets_as_text_when_decoded_then_they_are_numbers() -> None:
    command = one(b'{"id":1,"history":{"since":{"offset":"12"},"limit":-1}}')

    assert command.history is not None
    assert command.history.since == m.StreamPosition(offset=12)
    assert command.history.limit == -1


def test_given_two_methods_when_decoded_then_the_first_of_the_schema_counts() -> None:
    command = one(b'{"id":1,"rpc":{"method":"x"},"publish":{"channel":"a"}}')

    assert isinstance(command.request, m.PublishRequest)


def test_given_absent_and_null_data_when_decoded_then_they_differ() -> None:
    absent, null = one(b'{"id":1,"rpc":{}}').rpc, one(b'{"id":1,"rpc":{"data":null}}').rpc

    assert absent is not None
    assert null is not None
    assert (bytes(absent.data), bytes(null.data)) == (b"", b"null")


def test_given_replies_when_encoded_then_zero_values_are_left_out_and_results_are_present() -> None:
    position = m.SubscribeResult(recoverable=True, positioned=True, epoch="k3", offset=4)
    connect = m.ConnectResult(
        client="58d0", ping=25, pong=True, data=Raw(b'{"a":1}'), subs={"user:71": position}
    )

    assert json_codec.reply(4, m.PublishResult()) == b'{"id":4,"publish":{}}'
    assert json_codec.reply(5, m.SubscribeResult()) == b'{"id":5,"subscribe":{}}'
    assert json_codec.reply(1, connect) == (
        b'{"id":1,"connect":{"client":"58d0","data":{"a":1},"subs":{"user:71":{"recoverable":true,'
        b'"epoch":"k3","offset":4,"positioned":true}},"ping":25,"pong":true}}'
    )


def test_given_pushes_when_encoded_then_they_are_the_documented_text() -> None:
    assert json_codec.publication("user:71", b'{"t":"x"}', 5) == (
        b'{"push":{"channel":"user:71","pub":{"data":{"t":"x"},"offset":5}}}'
    )
    assert json_codec.publication_id(3, b"1") == b'{"push":{"id":3,"pub":{"data":1}}}'
    assert json_codec.join_id(3, INFO) == (
        b'{"push":{"id":3,"join":{"info":{"user":"71","client":"c1"}}}}'
    )
    assert json_codec.unsubscribe('a"b', UnsubscribeCode.SERVER) == (
        b'{"push":{"channel":"a\\"b","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}}'
    )


def test_given_an_error_when_encoded_then_its_message_is_always_there() -> None:
    assert json_codec.error(1, 109, "token expired") == (
        b'{"id":1,"error":{"code":109,"message":"token expired"}}'
    )
    assert json_codec.error(1, 100, 'a\n"b"', temporary=True) == (
        b'{"id":1,"error":{"code":100,"message":"a\\n\\"b\\"","temporary":true}}'
    )


def test_given_anything_we_send_when_looked_at_then_no_message_contains_a_newline() -> None:
    topic, info = "a\nb", m.ClientInfo(user="x\ny")

    sent = [
        json_codec.error(1, 100, "a\nb"),
        json_codec.publication(topic, b"1", 1, info, {"k\n": "v\n"}),
        json_codec.join(topic, info),
        json_codec.leave_id(1, info),
        json_codec.subscribe(topic, m.Subscribe(epoch="\n")),
        json_codec.encode_commands([m.Command(1, m.ConnectRequest(token="\n"))]),
    ]

    assert not any(b"\n" in message for message in sent)
    assert all(msgspec.json.decode(message) for message in sent)


def test_given_a_reply_that_is_no_reply_when_decoded_then_the_frame_is_bad() -> None:
    with pytest.raises(BadFrame):
        json_codec.decode_replies(b'{"id":"x"}', 1)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (rb"\ud800", rb"\u0000"),
        (rb"\udc00 \ud83d\ude00 y", rb"\u0000 \ud83d\ude00 y"),
        (rb"\ud83d\ude00 \ud83d", rb"\ud83d\ude00 \u0000"),
        (rb"\\ud800 \ud800", rb"\\ud800 \u0000"),
    ],
)
def test_given_half_a_character_when_decoded_then_it_is_nul_for_the_field_to_refuse(
    said: bytes, kept: bytes
) -> None:
    line = b'{"id":1,"rpc":{"method":"m","data":{"x":"%b"}}}' % said

    [command] = json_codec.decode_frame(line, 1)

    assert command.rpc is not None
    assert bytes(command.rpc.data) == b'{"x":"%b"}' % kept

"""What both encodings promise, and the choice between them."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw

from messenger.wire import messages as m
from messenger.wire.bad_frame import BadFrame
from messenger.wire.codec import JSON, PROTOBUF, Codec, choose
from messenger.wire.codes import CloseCode, ErrorCode, UnsubscribeCode
from tests.wire.strategies import message
from tests.wire.test_protobuf_values import same

both = pytest.mark.parametrize("codec", [JSON, PROTOBUF], ids=["json", "protobuf"])
quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

INFO = m.ClientInfo(user="71", client="c1", conn_info=Raw(b'{"a":1}'), chan_info=Raw(b"2"))
TOPIC = 'room:"سلام"'


def only_reply(codec: Codec, data: bytes) -> m.Reply:
    (reply,) = codec.decode_replies(data, 1)
    return reply


def only_push(codec: Codec, data: bytes) -> m.Push:
    push = only_reply(codec, data).push
    assert push is not None
    return push


@both
@quick
@given(st.data())
def test_given_any_commands_when_sent_in_one_frame_then_the_server_reads_the_same(
    codec: Codec, data: st.DataObject
) -> None:
    commands = data.draw(st.lists(message(m.Command), min_size=1, max_size=4))

    read = codec.decode_frame(codec.encode_commands(commands), 4)  # type: ignore[arg-type]  # the strategy is typed by the base

    assert all(map(same, read, commands))
    assert len(read) == len(commands)


@both
@pytest.mark.parametrize("result", [kind for kind in m.RESULT_NAMES if kind is not m.RpcResult])
@quick
@given(data=st.data())
def test_given_any_result_when_answered_then_the_client_reads_the_same(
    codec: Codec, result: type[m.Message], data: st.DataObject
) -> None:
    sent = data.draw(message(result))

    reply = only_reply(codec, codec.reply(7, sent))  # type: ignore[arg-type]  # the strategy is typed by the base

    assert reply.id == 7
    assert same(getattr(reply, m.RESULT_NAMES[result]), sent)


@both
def test_given_rpc_data_when_answered_then_it_arrives_as_it_is(codec: Codec) -> None:
    reply = only_reply(codec, codec.rpc(9, b'{"seq":1}'))

    assert reply.rpc is not None
    assert (reply.id, bytes(reply.rpc.data)) == (9, b'{"seq":1}')


@both
@pytest.mark.parametrize("temporary", [False, True])
def test_given_an_error_when_answered_then_code_message_and_temporary_arrive(
    codec: Codec, *, temporary: bool
) -> None:
    message = 'RATE_LIMITED {"rule":"msg.account"}'

    reply = only_reply(codec, codec.error(3, ErrorCode.RATE_LIMITED, message, temporary))

    assert reply.id == 3
    assert reply.error == m.Error(1010, message, temporary)


@both
@pytest.mark.parametrize("offset", [0, 1, 300, 2**40])
@pytest.mark.parametrize("info", [None, INFO])
@pytest.mark.parametrize("tags", [None, {}, {"lang": "fa"}])
def test_given_a_publication_when_pushed_by_name_or_number_then_the_client_reads_it(
    codec: Codec, offset: int, info: m.ClientInfo | None, tags: dict[str, str] | None
) -> None:
    data = b'{"t":"message.new","text":"\xd8\xb3"}'
    expected = m.Publication(data=Raw(data), offset=offset, info=info, tags=tags or {})

    named = only_push(codec, codec.publication(TOPIC, data, offset, info, tags))
    numbered = only_push(codec, codec.publication_id(4, data, offset, info, tags))

    assert (named.channel, named.id) == (TOPIC, 0)
    assert (numbered.channel, numbered.id) == ("", 4)
    assert same(named.pub, expected)
    assert same(numbered.pub, expected)


@both
def test_given_join_and_leave_when_pushed_by_name_or_number_then_the_client_reads_them(
    codec: Codec,
) -> None:
    pushes = [
        only_push(codec, data)
        for data in (
            codec.join(TOPIC, INFO),
            codec.join_id(4, INFO),
            codec.leave(TOPIC, INFO),
            codec.leave_id(4, INFO),
        )
    ]

    assert [(push.channel, push.id) for push in pushes] == [(TOPIC, 0), ("", 4)] * 2
    assert all(same(push.join, m.Join(INFO)) for push in pushes[:2])
    assert all(same(push.leave, m.Leave(INFO)) for push in pushes[2:])


@both
@pytest.mark.parametrize("code", list(UnsubscribeCode))
def test_given_an_unsubscribe_when_pushed_then_code_and_reason_arrive(
    codec: Codec, code: UnsubscribeCode
) -> None:
    push = only_push(codec, codec.unsubscribe(TOPIC, code))

    assert push.channel == TOPIC
    assert push.unsubscribe == m.Unsubscribe(code, code.reason)


@both
def test_given_a_new_server_side_subscription_when_pushed_then_its_position_arrives(
    codec: Codec,
) -> None:
    added = m.Subscribe(recoverable=True, positioned=True, epoch="k3", offset=4)

    push = only_push(codec, codec.subscribe(TOPIC, added))

    assert push.channel == TOPIC
    assert same(push.subscribe, added)


@both
def test_given_the_ping_when_read_then_it_is_an_empty_reply_and_its_frame_is_ready(
    codec: Codec,
) -> None:
    assert same(only_reply(codec, codec.PING), m.Reply())
    assert codec.frame(codec.PING) == codec.PING_FRAME
    assert codec.PING_FRAME[0] == (0x82 if codec.BINARY else 0x81)


@both
def test_given_as_many_commands_as_allowed_when_decoded_then_one_more_is_refused(
    codec: Codec,
) -> None:
    pongs = [m.Command()] * 128

    assert len(codec.decode_frame(codec.encode_commands(pongs), 128)) == 128
    with pytest.raises(BadFrame) as refused:
        codec.decode_frame(codec.encode_commands([*pongs, m.Command()]), 128)
    assert refused.value.code is CloseCode.BAD_REQUEST


@both
@pytest.mark.parametrize("decode", ["decode_frame", "decode_replies"])
def test_given_an_empty_frame_when_decoded_then_it_is_bad(codec: Codec, decode: str) -> None:
    decoder: Callable[[bytes, int], object] = getattr(codec, decode)

    with pytest.raises(BadFrame):
        decoder(b"", 128)


@pytest.mark.parametrize(
    ("offered", "query", "codec", "subprotocol", "native_ping"),
    [
        ([], "", JSON, None, False),
        (["centrifuge-json"], "", JSON, "centrifuge-json", False),
        (["centrifuge-protobuf"], "", PROTOBUF, "centrifuge-protobuf", False),
        (["centrifuge-json", "centrifuge-protobuf"], "", PROTOBUF, "centrifuge-protobuf", False),
        ([], "format=protobuf", PROTOBUF, None, False),
        ([], "cf_protocol=protobuf", PROTOBUF, None, False),
        (["other"], "format=json", JSON, None, False),
        ([], "cf_ws_frame_ping_pong=true", JSON, None, True),
        ([], "cf_ws_frame_ping_pong=1", JSON, None, False),
        (["centrifuge-json"], "format=protobuf", PROTOBUF, None, False),
    ],
)
def test_given_a_handshake_when_it_is_read_then_the_encoding_follows_from_it(
    offered: list[str], query: str, codec: Codec, subprotocol: str | None, *, native_ping: bool
) -> None:
    chosen = choose(offered, query)

    assert chosen.codec is codec
    assert (chosen.subprotocol, chosen.native_ping) == (subprotocol, native_ping)

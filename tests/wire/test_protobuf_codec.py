import pytest

from messenger.wire import messages as m
from messenger.wire import protobuf_codec
from messenger.wire.bad_frame import BadFrame
from messenger.wire.codes import CloseCode
from tests.wire.client_proto import classes

REFERENCE = classes()


def test_given_commands_of_a_generated_client_when_decoded_then_they_come_in_order() -> None:
    connect = REFERENCE["Command"](id=1)
    connect.connect.token = "T"
    rpc = REFERENCE["Command"](id=2)
    rpc.rpc.method = "system.echo"
    rpc.rpc.data = b'{"a":1}'
    pong = REFERENCE["Command"]()
    data = b"".join(
        len(body).to_bytes(1, "big") + body
        for body in (command.SerializeToString() for command in (connect, rpc, pong))
    )

    first, second, third = protobuf_codec.decode_frame(data, 128)

    assert (first.id, first.request) == (1, m.ConnectRequest(token="T"))
    assert isinstance(second.request, m.RpcRequest)
    assert bytes(second.request.data) == b'{"a":1}'
    assert (third.id, third.request) == (0, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05",
        b"\x02\x08",
        b"\x80",
        b"\xff" * 11,
        b"\x00\x03\x08\x01",
        b"{}",
    ],
)
def test_given_bytes_that_are_no_command_when_decoded_then_the_frame_is_bad(data: bytes) -> None:
    with pytest.raises(BadFrame) as refused:
        protobuf_codec.decode_frame(data, 128)
    assert refused.value.code is CloseCode.BAD_REQUEST


def test_given_a_publication_when_pushed_then_a_generated_client_reads_it() -> None:
    info = m.ClientInfo(user="71", client="c1")

    data = protobuf_codec.publication("room:1", b'{"t":"x"}', 300, info, {"k": "v"})

    reply = REFERENCE["Reply"].FromString(data[1:])
    assert data[0] == len(data) - 1
    assert reply.push.channel == "room:1"
    assert (reply.push.pub.data, reply.push.pub.offset) == (b'{"t":"x"}', 300)
    assert (reply.push.pub.info.user, dict(reply.push.pub.tags)) == ("71", {"k": "v"})


def test_given_an_empty_result_when_answered_then_it_is_present() -> None:
    data = protobuf_codec.reply(4, m.UnsubscribeResult())

    reply = REFERENCE["Reply"].FromString(data[1:])
    assert reply.id == 4
    assert reply.HasField("unsubscribe")

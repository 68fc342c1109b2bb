import pytest
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from messenger.wire import frames
from messenger.wire.codes import CloseCode


def received(data: bytes) -> list[tuple[Opcode, bytes, bool]]:
    """What websockets' own client parser makes of our bytes."""
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN, max_size=2**20)
    protocol.receive_data(data)
    assert protocol.parser_exc is None
    return [(event.opcode, event.data, event.fin) for event in protocol.events_received()]


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 1_023, 1_024, 65_535, 65_536, 70_000])
@pytest.mark.parametrize("binary", [False, True])
def test_given_a_payload_of_any_length_when_framed_then_a_client_reads_it(
    length: int, *, binary: bool
) -> None:
    payload = b"a" * length

    data = frames.frame(payload, binary)

    opcode = Opcode.BINARY if binary else Opcode.TEXT
    assert received(data) == [(opcode, payload, True)]


def test_given_two_frames_when_joined_then_a_client_reads_two_messages() -> None:
    data = frames.frame(b"one", binary=False) + frames.frame(b"two", binary=False)

    assert [payload for _, payload, _ in received(data)] == [b"one", b"two"]


@pytest.mark.parametrize("code", list(CloseCode))
def test_given_any_close_code_when_framed_then_a_client_reads_code_and_reason(
    code: CloseCode,
) -> None:
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN)

    protocol.receive_data(frames.close_frame(code, code.reason))

    assert protocol.close_rcvd is not None
    assert (protocol.close_rcvd.code, protocol.close_rcvd.reason) == (code, code.reason)


def test_given_a_reason_that_is_too_long_when_framed_then_it_is_cut_at_a_character() -> None:
    protocol = ClientProtocol(parse_uri("ws://127.0.0.1/"), state=State.OPEN)

    protocol.receive_data(frames.close_frame(3000, "x" + "س" * 100))

    assert protocol.close_rcvd is not None
    assert protocol.close_rcvd.reason == "x" + "س" * 61


def test_given_the_ping_constants_when_read_then_they_are_empty_replies() -> None:
    assert received(frames.PING_JSON) == [(Opcode.TEXT, b"{}", True)]
    assert received(frames.PING_PROTOBUF) == [(Opcode.BINARY, b"\x00", True)]

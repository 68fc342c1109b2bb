"""The quick cut finds what the library's parser finds, or leaves it to the library."""

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from messenger.gateway.inbound import CONTROL, TEXT, cut, whole_text

MOST = 65_536
payloads = st.one_of(
    st.binary(max_size=130),
    st.sampled_from([125, 126, 127, 65_535, 65_536]).map(lambda size: b"x" * size),
)


def client_frame(opcode: Opcode, payload: bytes) -> bytes:
    return Frame(opcode, payload).serialize(mask=True)


@given(
    sent=st.lists(st.tuples(st.sampled_from([Opcode.TEXT, Opcode.BINARY]), payloads), max_size=6),
    at=st.integers(0, 400),
)
def test_given_whole_frames_cut_anywhere_when_fed_then_the_library_agrees(
    sent: list[tuple[Opcode, bytes]], at: int
) -> None:
    stream = b"".join(client_frame(opcode, payload) for opcode, payload in sent)
    library = ServerProtocol(state=OPEN, max_size=MOST)
    library.receive_data(stream)
    expected = [(frame.opcode, bytes(frame.data)) for frame in library.events_received()]

    first = cut(stream[:at], MOST)
    second = cut(stream[first.used : at] + stream[at:], MOST)

    found = [*first.frames, *second.frames]
    assert first.usual
    assert second.usual
    assert first.used + second.used == len(stream)
    opcodes = {TEXT: Opcode.TEXT}
    assert [(opcodes.get(one, Opcode.BINARY), data) for one, data in found] == expected


@given(payload=st.binary(max_size=125), opcode=st.sampled_from([Opcode.PING, Opcode.CLOSE]))
def test_given_a_control_frame_when_cut_then_it_is_handed_over_as_it_came(
    payload: bytes, opcode: Opcode
) -> None:
    whole = client_frame(opcode, payload)

    found = cut(whole + client_frame(Opcode.TEXT, b"x"), MOST)

    assert found.frames[0] == (whole[0], whole)
    assert whole[0] in CONTROL
    assert found.frames[1] == (TEXT, b"x")


@given(
    before=payloads,
    unusual=st.sampled_from(
        [
            Frame(Opcode.TEXT, b"x").serialize(mask=False),
            Frame(Opcode.TEXT, b"x", fin=False).serialize(mask=True),
            Frame(Opcode.CONT, b"x").serialize(mask=True),
            b"\xc1\x81\0\0\0\0x",
            Frame(Opcode.TEXT, b"x" * (MOST + 1)).serialize(mask=True),
            b"\x83\x80\0\0\0\0",
            b"\x89\xfe\x00\x80\0\0\0\0" + b"x" * 128,
        ]
    ),
)
def test_given_an_unusual_frame_when_cut_then_it_and_the_rest_are_for_the_library(
    before: bytes, unusual: bytes
) -> None:
    usual = client_frame(Opcode.BINARY, before)

    found = cut(usual + unusual, MOST)

    assert not found.usual
    assert found.used == len(usual)
    assert found.frames == [(0x82, before)]


@given(data=st.binary(max_size=200) | payloads.map(lambda data: client_frame(Opcode.TEXT, data)))
def test_given_any_bytes_when_one_whole_text_is_found_then_the_cut_agrees(data: bytes) -> None:
    text = whole_text(data, MOST)

    found = cut(data, MOST)
    if text is not None:
        assert found.frames == [(TEXT, text)]
        assert found.used == len(data)
    else:
        usual = found.usual and found.used == len(data) <= MOST
        assert not (usual and [first for first, _ in found.frames] == [TEXT]) or len(data) > MOST

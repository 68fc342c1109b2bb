"""The wires of the peers: cut anywhere, every message comes out once."""

import asyncio

import pytest

from loadgen.bench.peer_wires import Mqtt, Nats

BODY = b"#p=000000000001 " + 180 * b"x"
NATS_INPUT = b"PONG\r\n" + b"MSG a.b 1 %d\r\n%b\r\n" % (len(BODY), BODY) + b"PING\r\n"
MQTT_BODY = b"\x00\x03a.b" + BODY
MQTT_INPUT = (
    b"\x20\x02\x00\x00\x90\x03\x00\x01\x00\x30"
    + bytes([len(MQTT_BODY) % 128 | 0x80, len(MQTT_BODY) // 128])
    + MQTT_BODY
    + b"\xd0\x00"
)


class Written(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data


@pytest.mark.parametrize(("wire", "stream"), [(Nats, NATS_INPUT), (Mqtt, MQTT_INPUT)])
async def test_given_a_stream_when_cut_anywhere_then_its_message_comes_once(wire, stream) -> None:
    for cut in range(len(stream)):
        heard = []
        one = wire(lambda tag, body, heard=heard: heard.append((tag, body)), 7, "a.b")
        one.connection_made(Written())

        one.data_received(stream[:cut])
        one.data_received(stream[cut:])

        assert heard == [(7, BODY)]
        assert one.ready.done()


@pytest.mark.parametrize(
    ("wire", "stream", "why"),
    [
        (Nats, b"-ERR 'Authorization Violation'\r\n", "Authorization Violation"),
        (Mqtt, b"\x20\x02\x00\x05", "refused with 5"),
    ],
)
async def test_given_a_refusal_when_heard_then_ready_raises_it(wire, stream, why) -> None:
    one = wire(lambda tag, body: None, 0, "")
    one.connection_made(Written())

    one.data_received(stream)

    with pytest.raises(ConnectionError, match=why):
        await one.ready


async def test_given_bodies_when_published_then_the_bytes_are_those_of_the_standards() -> None:
    nats, mqtt = Nats(lambda tag, body: None, 0, ""), Mqtt(lambda tag, body: None, 0, "")
    to_nats, to_mqtt = Written(), Written()
    nats.connection_made(to_nats)
    mqtt.connection_made(to_mqtt)

    nats.publish(b"a.b", b"salaam")
    mqtt.publish(b"a.b", b"salaam")

    assert to_nats.data.endswith(b"PUB a.b 6\r\nsalaam\r\n")
    assert to_mqtt.data.endswith(b"\x30\x0b\x00\x03a.bsalaam")

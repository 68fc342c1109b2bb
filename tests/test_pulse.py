"""A node is killed when its loop stands still, not while it starts or drains."""

import asyncio
import socket

import pytest

from messenger.pulse import ABSENT_S, STALLED_S, Pulse, Sign, look


def felt(*signs: tuple[Sign, float]) -> str | None:
    pulse, told = Pulse(0.0), None
    for sign, now in signs:
        told = told or pulse.feel(sign, now)
    return told


@pytest.mark.parametrize(
    ("signs", "told"),
    [
        ([(Sign.SILENT, STALLED_S)], None),
        ([(Sign.SILENT, STALLED_S), (Sign.SILENT, STALLED_S + 1)], "node stalled"),
        ([(Sign.SILENT, 9), (Sign.TURNS, 10), (Sign.SILENT, 19)], None),
        ([(Sign.ABSENT, 30), (Sign.ABSENT, ABSENT_S)], None),
        ([(Sign.ABSENT, 30), (Sign.ABSENT, ABSENT_S + 1)], "node listens nowhere"),
        ([(Sign.ABSENT, 60), (Sign.SILENT, 69), (Sign.TURNS, 70)], None),
        ([(Sign.ABSENT, 60), (Sign.SILENT, 71)], "node stalled"),
        ([(Sign.TURNS, 60), (Sign.ABSENT, 120), (Sign.ABSENT, 149)], None),
    ],
)
def test_given_what_looks_found_when_felt_then_only_a_still_loop_is_stalled(
    signs: list[tuple[Sign, float]], told: str | None
) -> None:
    assert felt(*signs) == told


async def test_given_a_port_when_looked_at_then_silence_and_absence_are_told_apart() -> None:
    async def refuses(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuses, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await look(port, "/health/live", 5) == (Sign.TURNS, False)
    assert await look(port, "/health/live", 5) == (Sign.ABSENT, False)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        assert await look(mute.getsockname()[1], "/", 0.05) == (Sign.SILENT, False)

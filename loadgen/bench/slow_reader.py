"""`slow_reader`: some of the readers of a busy chat stop reading; the others must not notice.

Posts are as long as a message may be, so that a stalled socket is full within seconds. First a
window without stalled readers, then one with.
"""

import asyncio
import socket
import time
from array import array
from collections.abc import Callable

from loadgen.bench.driver import Session
from loadgen.bench.procstat import between
from loadgen.bench.room import Room, opened
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.scrape import scrape
from loadgen.bench.stage import Stage

LONG = "\U000103a0" * 4_000
"""A letter of Old Persian cuneiform: 4 bytes, so that 4,000 of them nearly fill a message."""
SLOW = 'peyk_closes_total{code="3008"}'
RECEIVE_BYTES = 4_096
SAMPLE_S = 0.1
SETTLE_S = 5.0


async def run(stage: Stage) -> Row:
    scale, row = stage.scale, Row(name="slow_reader")
    room = await opened(stage, row, scale.readers, LONG)
    slow = stage.driver.sessions[-scale.slow :]
    plain_ms = await _plain(stage, room)
    room.check_refused()
    before, arrived = stage.processes.read(), room.arrived
    rss = stage.processes.rss()["gateway"]
    for session in slow:
        _stop_reading(session)
    peak = await _stalled(stage, room, row, len(slow))
    row.charge(between(before, stage.processes.read()), room.arrived - arrived)
    waits = room.each or array("d")
    row.p50_ms, row.p99_ms = percentile_ms(waits, 0.5), percentile_ms(waits, 0.99)
    row.more |= {
        "stalled": len(slow),
        "plain_p99_ms": plain_ms,
        "posts_per_s": stage.scale.posts_per_s,
    }
    row.more["kib_per_stalled"] = round(max(0, peak - rss) / 1024 / len(slow), 1)
    row.more["p99_ratio"] = round((row.p99_ms or 0.0) / (plain_ms or 1.0), 2)
    _judge(room, row, len(slow))
    await stage.driver.close()
    return row


async def _plain(stage: Stage, room: Room) -> float | None:
    """p99 while all read."""
    room.each = array("d")
    await _post(
        room,
        stage.scale.posts_per_s,
        lambda elapsed_s: elapsed_s < stage.scale.plain_s,
    )
    await _settled(room, room.readers)
    found = percentile_ms(room.each, 0.99)
    room.each = array("d")
    return found


async def _stalled(stage: Stage, room: Room, row: Row, slow: int) -> int:
    """Post until all of them are closed, or too long; the node's largest memory meanwhile."""
    peak, began, closed_at = 0, time.monotonic(), None
    going = True

    async def watch() -> None:
        nonlocal peak, closed_at
        while going and closed_at is None:
            peak = max(peak, stage.processes.rss()["gateway"])
            figures = await scrape(stage.platform.ops_port)
            row.more["slow_closes"] = int(figures.series.get(SLOW, 0))
            if row.more["slow_closes"] >= slow:
                closed_at = time.monotonic()
            await asyncio.sleep(SAMPLE_S)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(), name="watch")
        await _post(
            room,
            stage.scale.posts_per_s,
            lambda elapsed_s: closed_at is None and elapsed_s < stage.scale.slow_s,
        )
        going = False
    await _settled(room, room.readers - slow)
    room.check_refused()
    row.more["seconds_to_3008"] = None if closed_at is None else round(closed_at - began, 2)
    return peak


async def _post(room: Room, per_s: float, go_on: Callable[[float], bool]) -> None:
    """By the clock, from now on."""
    start, gap_s, number = time.monotonic(), 1 / per_s, 0
    while go_on(time.monotonic() - start):
        if time.monotonic() >= start + number * gap_s:
            room.post(start + number * gap_s)
            number += 1
        await asyncio.sleep(0.001)


async def _settled(room: Room, readers: int) -> None:
    """Until those who read have everything."""
    deadline = time.monotonic() + SETTLE_S
    while time.monotonic() < deadline:
        if all(not room.order.missing(tag, room.sent) for tag in range(readers)):
            return
        await asyncio.sleep(0.02)


def _stop_reading(session: Session) -> None:
    """As a phone in a tunnel: the kernel takes in a little more, then nothing."""
    if session.transport is None:
        raise AssertionError("connected")
    under = session.transport.underlying_transport
    under.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    under.pause_reading()


def _judge(room: Room, row: Row, slow: int) -> None:
    """Of those who read: nothing may be lost. The others catch up when they come back."""
    readers = range(room.readers - slow)
    row.lost = sum(room.order.missing(tag, room.sent) for tag in readers)
    row.duplicated, row.reordered = room.order.duplicated, room.order.reordered

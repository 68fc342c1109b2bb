"""A loop that stands still is named, with the place where it stands."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from messenger.watchdog import Watchdog


@asynccontextmanager
async def watched(stall_s: float) -> AsyncIterator[Watchdog]:
    with Watchdog(stall_s) as dog:
        task = asyncio.get_running_loop().create_task(dog.run())
        try:
            yield dog
        finally:
            task.cancel()
            await asyncio.wait([task])


def stand_still(dog: Watchdog) -> None:
    until = time.monotonic() + 20
    while not dog.stalls and time.monotonic() < until:
        time.sleep(0.01)


async def test_given_a_loop_that_stands_when_watched_then_its_stack_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with watched(0.5) as dog:
        with caplog.at_level(logging.WARNING, "messenger.watchdog"):
            await asyncio.sleep(0)  # the first beat
            stand_still(dog)
            async with asyncio.timeout(10):
                while "loop goes on" not in caplog.messages:  # noqa: ASYNC110 - of a thread
                    await asyncio.sleep(0.01)

    stalled, goes_on = caplog.records[:2]
    assert stalled.levelname == "WARNING"
    assert stalled.__dict__["stalled_s"] > 0.5
    assert any(line.endswith(" stand_still") for line in stalled.__dict__["stack"])
    assert goes_on.__dict__["stalled_s"] > 0.5
    assert dog.stalls == 1


async def test_given_a_loop_that_turns_when_watched_then_nothing_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with watched(60.0) as dog:
        await asyncio.sleep(0)
    assert (dog.stalls, caplog.messages) == (0, [])

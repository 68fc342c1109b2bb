"""A node is killed while views are on their way, again and again: what is counted stays exact."""

import asyncio
import json
import random
import sys
from collections import deque

from channels.store.views import ViewStore
from channels.views import Span
from messenger.ids import AccountId
from tests.channels.studio import Studio
from tests.channels.test_viewing import POSTS, Model, a_channel, some_spans, viewed

KILLS = 3
CALLS = 40  # of one life
READERS = 10

Call = tuple[int, int, Span]


class Viewer:
    """A process that counts, and what it has answered."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, url: str) -> "Viewer":
        pipe = asyncio.subprocess.PIPE
        module = (sys.executable, "-m", "tests.channels.viewer", url)
        return cls(await asyncio.create_subprocess_exec(*module, stdin=pipe, stdout=pipe))

    def ask(self, chat: int, call: Call) -> None:
        number, account, span = call
        assert self._process.stdin is not None
        line = json.dumps([number, chat, account, span.lo, span.hi])
        self._process.stdin.write(line.encode() + b"\n")

    async def answered(self, count: int) -> set[int]:
        """The next answers."""
        assert self._process.stdout is not None
        return {int(await self._process.stdout.readline()) for _ in range(count)}

    async def is_killed(self) -> set[int]:
        """kill -9; what it had said before."""
        self._process.kill()
        assert self._process.stdout is not None
        said = await self._process.stdout.read()
        await self._process.wait()
        return {int(line) for line in said.splitlines()}


async def test_given_a_node_killed_again_and_again_then_repeated_calls_make_views_exact(
    studio: Studio,
) -> None:
    random_ = random.Random(5)  # noqa: S311 - seeded
    chat, accounts = await a_channel(studio, READERS)
    calls = deque(
        (number, random_.choice(accounts), some_spans(random_, 1)[0])
        for number in range(CALLS * (KILLS + 1))
    )
    model = Model(POSTS)
    for _, account, span in calls:
        model.sees((chat, AccountId(account)), span)

    for life in range(KILLS + 1):
        viewer = await Viewer.start(studio.url)
        asked = list(calls)[: CALLS if life < KILLS else len(calls)]
        for call in asked:
            viewer.ask(chat, call)
        wanted = random_.randint(1, len(asked) - 1) if life < KILLS else len(asked)
        async with asyncio.timeout(15):
            done = await viewer.answered(wanted)
        done |= await viewer.is_killed()
        # each reader's calls keep their order: what was not answered is asked again, first
        calls = deque(call for call in calls if call[0] not in done)

    assert not calls
    assert await viewed(ViewStore(studio.db), chat) == model.views(chat)

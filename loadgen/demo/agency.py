"""An agency's channel in the demo: posts and edits for a few thousand readers, views to the last.

The readers are rows of the platform's own database, as joining leaves them, and a socket each;
what they hear, tell and see goes into a book of its own, and the book is compared with the server.
"""

import asyncio
import json
import random
import secrets
import time
from collections.abc import Callable

from msgspec import Struct
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from loadgen.bench.channel import channel
from loadgen.bench.driver import Driver, Session, rpc
from loadgen.bench.groups import Asker
from loadgen.bench.procstat import Processes
from loadgen.bench.room import Room, opened
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Scale, Stage, stored
from loadgen.demo.board import Board
from loadgen.platform import Platform
from messenger.tokens import ConnectionTokens

POSTS = 12
EDITS = (2, 5, 9)
"""Posts (by seq) that are corrected afterwards."""
PAUSE_S = 0.1
"""Between posts: an agency on a busy day, a hundred times faster."""
WAIT_S = 20.0
AGAIN = 3
"""Every third reader tells the same views again, as after a lost answer."""
EDITED = b'"t":"message.edited"'
VIEW = 7
"""The id of the rpc that tells views."""


class Book(Struct, frozen=True):
    """What became of the channel's posts, counted by readers and by the server."""

    readers: int
    posts: int
    edits: int
    deliveries: int
    lost: int
    duplicated: int
    reordered: int
    views: int
    """Of all posts together, by the readers' own book."""
    wrong_views: int
    """Posts of which the server shows another number."""
    last_reader_ms: float | None
    """Post to the last reader, the slowest of all posts."""

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.reordered or self.wrong_views)

    @property
    def line(self) -> str:
        exact = "views exact" if not self.wrong_views else f"{self.wrong_views} posts miscounted"
        return (
            f"an agency's channel: {self.posts} posts, {self.edits} edits to {self.readers:,}"
            f" readers: {self.lost} lost, {self.duplicated} duplicated,"
            f" {self.reordered} reordered, {exact} ({self.views:,})"
        )


def config(key: str) -> str:
    """What the platform must be told, so that readers have tokens and may come at once."""
    limits = ("msg.account", "msg.chat", "api.conn")
    raised = "\n".join(f'"{name}" = {{ burst = 1000000, per_s = 1 }}' for name in limits)
    return f'token_keys = ["{key}"]\n[limits]\n{raised}\n'


def new_key() -> str:
    return secrets.token_urlsafe(48)


class Readers(Room):
    """A room whose readers tell what they saw."""

    def __init__(self, room: Room) -> None:
        super().__init__(room.chat, room.readers)
        self.edits = 0
        self.told = 0
        self.answered = 0

    def heard(self, session: Session, data: bytes) -> None:
        if data.startswith(b'{"id":%d,' % VIEW):
            self.answered += b'"error"' not in data[:24]
        elif EDITED in data:
            self.edits += 1
        else:
            super().heard(session, data)

    def tell(self, session: Session, lo: int, hi: int) -> None:
        self.told += 1
        view = {"chat": self.chat, "lo": lo, "hi": hi}
        session.send(rpc(VIEW, "channels.view", {"views": [view]}))


async def run(platform: Platform, key: str, readers: int, seed: int, board: Board) -> Book:
    """The whole life of the channel; nothing of it is left open."""
    state = json.loads((platform.home / "platform.json").read_text())
    _, _, rest = state["database_url"].partition("://")
    engine = create_async_engine(f"postgresql+asyncpg://{rest}", poolclass=NullPool)
    driver = Driver(platform.host, platform.port)
    tokens, processes = ConnectionTokens([key]), Processes(platform.pid)
    stage = Stage(platform, tokens, processes, engine, driver, seed, Scale())
    try:
        board.begin("readers open an agency's channel", readers)
        room = Readers(await opened(stage, Row(name="agency"), readers, make=channel))
        for session in driver.sessions:
            session.heard = room.heard
        room.writer = driver.sessions[0]
        board.begin("the agency posts", POSTS)
        await _post(stage, room, board)
        board.begin("readers tell what they saw", readers)
        truth = await _tell(driver, room, random.Random(f"agency/{seed}"))
        return await _compared(stage, room, truth)
    finally:
        await driver.close()
        await engine.dispose()


async def _post(stage: Stage, room: Readers, board: Board) -> None:
    for _ in range(POSTS):
        room.post()
        board.done += 1
        await asyncio.sleep(PAUSE_S)
    await _until(lambda: room.settled)
    editor = await _desk(stage, 1)
    for seq in EDITS:
        text = f"correction {seq}"
        await editor.ask("messages.edit", {"chat": room.chat, "seq": seq, "text": text})
    await _until(lambda: room.edits >= len(EDITS) * room.readers)


async def _tell(driver: Driver, room: Readers, draw: random.Random) -> dict[int, int]:
    """Each reader scrolls so far, in two steps; the views of every post, by their book."""
    truth = dict.fromkeys(range(1, POSTS + 1), 0)
    for session in driver.sessions[: room.readers]:
        end = draw.randint(0, POSTS)
        for seq in range(1, end + 1):
            truth[seq] += 1
        middle = end // 2
        steps = [(1, middle), (middle + 1, end)]
        if session.tag % AGAIN == 0:
            steps.append((1, end))
        for lo, hi in steps:
            if lo <= hi:
                room.tell(session, lo, hi)
        await asyncio.sleep(0)
    await _until(lambda: room.answered >= room.told)
    return truth


async def _desk(stage: Stage, device: int) -> Asker:
    """Another device of the agency: the one that posts goes on reading."""
    asker = Asker()
    asker.session = await stage.driver.connect(stage.token(0, device), asker.heard)
    return asker


async def _compared(stage: Stage, room: Readers, truth: dict[int, int]) -> Book:
    owner = await _desk(stage, 2)
    asked = {"chat": room.chat, "seqs": sorted(truth)}
    shown = (await owner.ask("channels.stats", asked))["posts"]
    views = {post["seq"]: post["views"] for post in shown}
    held = (await stored(stage, [room.chat]))[room.chat]
    missing = sum(room.order.missing(reader, room.sent) for reader in range(room.readers))
    return Book(
        readers=room.readers,
        posts=room.sent,
        edits=len(EDITS),
        deliveries=room.arrived,
        lost=missing + POSTS - len(held) + (len(EDITS) * room.readers - room.edits),
        duplicated=room.order.duplicated,
        reordered=room.order.reordered,
        views=sum(truth.values()),
        wrong_views=sum(views.get(seq) != count for seq, count in truth.items()),
        last_reader_ms=percentile_ms(room.waits, 1.0),
    )


async def _until(done: Callable[[], bool]) -> None:
    """What does not come within the time is found missing in the book."""
    deadline = time.monotonic() + WAIT_S
    while not done() and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks count
        await asyncio.sleep(0.02)

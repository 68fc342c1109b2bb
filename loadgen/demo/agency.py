"""An agency's channel in the demo: posts, edits, reactions and views of a few thousand readers.

The readers are rows of the platform's own database, as joining leaves them, and a socket each;
what they hear, tell and see goes into a book of its own, and the book is compared with the server.
"""

import asyncio
import json
import random
import secrets
import time
from collections.abc import Callable, Sequence

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from loadgen.bench.channel import channel
from loadgen.bench.driver import Driver, Session
from loadgen.bench.groups import Asker
from loadgen.bench.procstat import Processes
from loadgen.bench.room import seated
from loadgen.bench.row import Row
from loadgen.bench.samples import percentile_ms
from loadgen.bench.stage import Scale, Stage, seed_accounts, stored
from loadgen.demo.board import Board
from loadgen.demo.readership import Readership
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
CUT, CUT_AFTER = 20, 4
"""Every twentieth reader is cut off after so many posts and comes back after the last."""
REACTING = 4
"""Every fourth reader reacts to a post, and every second of those to change their mind."""
REACTIONS_S = 1.5
"""Changed counts are told at most once a second; the last of them by then."""
EMOJI = ("👍", "❤️", "😮")


class Book(Struct, frozen=True):
    """What became of the channel's posts, counted by readers and by the server."""

    readers: int
    posts: int
    edits: int
    reactions: int
    cut: int
    """Readers who were away for some posts and caught up from the log."""
    deliveries: int
    """Of all events to all readers."""
    lost: int
    duplicated: int
    reordered: int
    views: int
    """Of all posts together, by the readers' own book."""
    wrong_views: int
    """Posts of which the server shows another number."""
    wrong_reactions: int
    """The same of reactions."""
    last_reader_ms: float | None
    """Post to the last reader who was there, the slowest of all posts."""

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.reordered or self.miscounted)

    @property
    def miscounted(self) -> int:
        return self.wrong_views + self.wrong_reactions

    @property
    def line(self) -> str:
        views = "exact" if not self.wrong_views else f"wrong on {self.wrong_views} posts"
        emoji = "exact" if not self.wrong_reactions else f"wrong on {self.wrong_reactions} posts"
        return (
            f"an agency's channel: {self.posts} posts, {self.edits} edits to {self.readers:,}"
            f" readers: {self.lost} lost, {self.duplicated} duplicated,"
            f" {self.reordered} reordered, views {views} ({self.views:,}),"
            f" reactions {emoji} ({self.reactions:,})"
        )


def config(key: str) -> str:
    """What the platform must be told, so that readers have tokens. Its limits stay as they are."""
    return f'token_keys = ["{key}"]\n'


def new_key() -> str:
    return secrets.token_urlsafe(48)


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
        room = await _opened(stage, readers)
        board.begin("the agency posts", POSTS)
        away = await _post(stage, room, board)
        board.begin("readers tell what they saw", readers)
        draw = random.Random(f"agency/{seed}")
        await _react(driver, room, draw)
        truth = await _tell(driver, room, draw)
        return await _compared(stage, room, truth, away)
    finally:
        await driver.close()
        await engine.dispose()


async def _opened(stage: Stage, readers: int) -> Readership:
    accounts = await seed_accounts(stage, readers)
    room = Readership(await channel(stage, accounts[0], accounts[1:]), readers)
    await seated(stage, Row(name="agency"), room, accounts)
    return room


async def _post(stage: Stage, room: Readership, board: Board) -> int:
    """Posts and corrections; how many readers were away meanwhile."""
    away = [session for session in stage.driver.sessions[1:] if session.tag % CUT == 1]
    for number in range(POSTS):
        room.post()
        board.done += 1
        await asyncio.sleep(PAUSE_S)
        if number == CUT_AFTER:
            _cut(away)
    editor = await _desk(stage, 1)
    for seq in EDITS:
        edit = {"chat": room.chat, "seq": seq, "text": f"correction {seq}"}
        await editor.ask("messages.edit", edit)
    for session in away:
        back = await stage.driver.connect(stage.token(session.tag), room.heard, session.tag)
        stage.driver.sessions[session.tag] = back
        room.returns(back)
    await _until(lambda: room.missing(POSTS + len(EDITS)) == 0)
    return len(away)


def _cut(sessions: Sequence[Session]) -> None:
    """Without a word, as in a tunnel."""
    for session in sessions:
        if session.transport is not None:
            session.transport.disconnect(graceful=False)


async def _react(driver: Driver, room: Readership, draw: random.Random) -> None:
    """In two rounds, so that of one reader the first word is there before the second."""
    chosen: dict[int, tuple[int, str]] = {}
    for session in driver.sessions[: room.readers : REACTING]:
        seq, emoji = chosen[session.tag] = draw.randint(1, POSTS), draw.choice(EMOJI)
        room.react(session, seq, emoji)
        await asyncio.sleep(0)
    await _until(lambda: room.answered >= room.told)
    for tag in list(chosen)[::2]:
        seq, before = chosen[tag]
        room.react(driver.sessions[tag], seq, draw.choice(EMOJI), before)
    await _until(lambda: room.answered >= room.told)


async def _tell(driver: Driver, room: Readership, draw: random.Random) -> dict[int, int]:
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


async def _compared(stage: Stage, room: Readership, truth: dict[int, int], away: int) -> Book:
    owner = await _desk(stage, 2)
    asked = {"chat": room.chat, "seqs": sorted(truth)}
    shown = (await owner.ask("channels.stats", asked))["posts"]
    views = {post["seq"]: post["views"] for post in shown}
    history = await owner.ask("messages.history", {"chat": room.chat, "limit": 2 * POSTS})
    told = {post["seq"]: post.get("reactions", {}) for post in history["messages"]}
    reactions = {seq: dict(+room.reacted[seq]) for seq in truth}
    await asyncio.sleep(REACTIONS_S)
    head = await _head(stage, room.chat)
    await _until(lambda: room.missing(head) == 0)
    held = (await stored(stage, [room.chat]))[room.chat]
    return Book(
        readers=room.readers,
        posts=room.sent,
        edits=len(EDITS),
        reactions=sum(sum(by.values()) for by in reactions.values()),
        cut=away,
        deliveries=room.taken,
        lost=room.missing(head) + POSTS - len(held) + away - room.recoveries,
        duplicated=room.again,
        reordered=room.overtaken,
        views=sum(truth.values()),
        wrong_views=sum(views.get(seq) != count for seq, count in truth.items()),
        wrong_reactions=sum(told.get(seq) != count for seq, count in reactions.items()),
        last_reader_ms=percentile_ms(room.live_waits, 1.0),
    )


async def _head(stage: Stage, chat: str) -> int:
    async with stage.engine.connect() as connection:
        last = text("select last_ev from chat where chat_id = :chat")
        return int((await connection.execute(last, {"chat": int(chat)})).scalar_one())


async def _until(done: Callable[[], bool]) -> None:
    """What does not come within the time is found missing in the book."""
    deadline = time.monotonic() + WAIT_S
    while not done() and time.monotonic() < deadline:  # noqa: ASYNC110 - callbacks count
        await asyncio.sleep(0.02)

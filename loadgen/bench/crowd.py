"""Many sessions in groups of 200, cut off and brought back: what each missed, and whether it came.

A group's post is one update for each of its members, so that a few hundred posts make tens of
thousands of sessions miss something.
"""

from collections.abc import Sequence

from loadgen.bench.driver import Driver, Position, Session, position, recovered
from loadgen.bench.groups import Asker, groups
from loadgen.bench.marks import Order, mark_of
from loadgen.bench.stage import Stage, account_id, seed_accounts

SMALL = 200
"""Members of the largest chat whose events go to every member's own topic."""


class Crowd:
    """Sessions by tag; each is the `tag`-th of `accounts`."""

    def __init__(self, stage: Stage, accounts: Sequence[int], writers: Sequence[int]) -> None:
        self.accounts = accounts
        self.tokens = [stage.token(n) for n in accounts]
        self.order = Order(len(accounts))
        self.seen = 0
        self.unrecovered = 0
        self.chats: list[str] = []
        self.posted = 0
        self._stage = stage
        self._writers = writers
        self._positions: dict[int, Position] = {}

    async def connect(self) -> None:
        driver, tags = self._stage.driver, range(len(self.accounts))
        sessions = await driver.connect_all(self.tokens, self.heard, tags=tags)
        for session, account in zip(sessions, self.accounts, strict=True):
            self._positions[session.tag] = position(session.reply, account_id(account))
            session.reply = b""

    def cut(self) -> None:
        """All at once and without a word, as when a network goes away."""
        for session in self._stage.driver.sessions:
            if session.heard == self.heard and session.transport is not None:
                session.transport.disconnect(graceful=False)

    async def post(self, each: int) -> None:
        """So many messages into every group."""
        for owner, chat in zip(self._writers, self.chats, strict=True):
            writer = Asker()
            await writer.connect(self._stage, owner)
            await writer.post(chat, range(self.posted, self.posted + each))
        self.posted += each

    async def back(self, tag: int, driver: Driver | None = None) -> None:
        """Reconnect, and take what the reply brings."""
        token, account = self.tokens[tag], account_id(self.accounts[tag])
        to = driver or self._stage.driver
        session = await to.connect(token, self.heard, tag, self._positions[tag])
        updates = recovered(session.reply, account)
        session.reply = b""
        if updates is None:
            self.unrecovered += 1
        for update in updates or ():
            self.heard(session, update)

    def heard(self, session: Session, data: bytes) -> None:
        number = mark_of(data)
        if number >= 0 and self.order.seen(session.tag, number):
            self.seen += 1

    @property
    def whole(self) -> bool:
        """Everybody has everything."""
        return self.seen == self.posted * len(self.accounts)

    @property
    def missing(self) -> int:
        return sum(self.order.missing(tag, self.posted) for tag in range(len(self.accounts)))


async def crowd_of(stage: Stage, count: int) -> Crowd:
    """New accounts in groups of at most 200, each with a writer who is not of the crowd."""
    accounts = await seed_accounts(stage, count)
    cohorts = [accounts[n : n + SMALL - 1] for n in range(0, count, SMALL - 1)]
    writers = await seed_accounts(stage, len(cohorts))
    crowd = Crowd(stage, accounts, writers)
    crowd.chats = await groups(stage, list(zip(writers, cohorts, strict=True)))
    return crowd

"""Any sequence of sends, repeats, edits, deletions and reads, with a plain model beside the log."""

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from messenger.db.engine import Database
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import EventKind, EventLog
from messenger.log.sends import Send
from messenger.log.statuses import Status
from messenger.log.store import ChatStore
from tests.log.conftest import a_send, commit, edit, purge_events, put_chat

Result = TypeVar("Result")

MEMBERS = (1, 2, 3)
ACCOUNTS = st.sampled_from((*MEMBERS, 9))
KEYS = st.integers(1, 12)
TEXTS = st.sampled_from(["a", "b"])


class LogMachine(RuleBasedStateMachine):
    """The model: what each key got, what each message says, which event each ev is."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, database: Database, ids: Iterator[int]
    ) -> None:
        super().__init__()
        self.loop, self.database, self.ids = loop, database, ids
        self.store, self.log = ChatStore(database), EventLog(database)
        self.keys: dict[tuple[int, int], tuple[int, str]] = {}
        self.texts: list[str | None] = []
        self.senders: list[int] = []
        self.evs: list[tuple[str, int | None]] = []
        self.purged = 0

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    @initialize()
    def make(self) -> None:
        self.chat = ChatId(next(self.ids))
        self.wait(put_chat(self.database, self.chat, MEMBERS, kind=2, role=1))

    @rule(sends=st.lists(st.tuples(KEYS, ACCOUNTS, TEXTS), min_size=1, max_size=6))
    def send(self, sends: list[tuple[int, int, str]]) -> None:
        batch = [a_send(self.chat, key, text, account=who, device=who) for key, who, text in sends]

        rows = self.wait(self.committed(batch))

        in_batch: set[tuple[int, int]] = set()
        for (key, who, text), row in zip(sends, rows, strict=True):
            assert (row[0], row[1]) == self.expected(key, who, text, in_batch)

    async def committed(self, batch: list[Send]) -> list[Any]:
        async with self.database.statement() as connection:
            return await commit(connection, batch)

    def expected(
        self, key: int, who: int, text: str, in_batch: set[tuple[int, int]]
    ) -> tuple[Status, int | None]:
        """What the model says; writes the message down where it is new."""
        if (who, key) in in_batch:
            return Status.COPY_IN_BATCH, None
        if (who, key) in self.keys:
            seq, said = self.keys[who, key]
            return (Status.REPEATED if said == text else Status.OTHER_BODY), seq
        in_batch.add((who, key))
        if who not in MEMBERS:
            return Status.NOT_MEMBER, None
        self.texts.append(text)
        self.senders.append(who)
        seq = len(self.texts)
        self.keys[who, key] = seq, text
        self.evs.append(("message", seq))
        return Status.WRITTEN, seq

    @rule(data=st.data(), text=TEXTS)
    def edit(self, data: st.DataObject, text: str) -> None:
        live = [seq for seq, said in enumerate(self.texts, 1) if said is not None]
        if live:
            seq = data.draw(st.sampled_from(live))
            self.wait(edit(self.database, self.chat, seq, text, None))
            self.texts[seq - 1] = text
            self.evs.append(("edit", seq))

    @rule(seq=st.integers(-1, 30), who=ACCOUNTS)
    def delete(self, seq: int, who: int) -> None:
        try:
            done = self.wait(
                self.log.delete_messages(self.chat, [seq], AccountId(who), window_ms=0)
            )
        except Refused:
            assert not (0 < seq <= len(self.texts) and self.senders[seq - 1] == who)
            return
        assert done.changed == (self.texts[seq - 1] is not None)
        if done.changed:
            self.texts[seq - 1] = None
            self.evs.append(("delete", None))

    @rule()
    def event(self) -> None:
        done = self.wait(self.log.append_event(self.chat, EventKind.INFO, None, None, {"a": 1}))
        self.evs.append(("info", None))
        assert (done.ev, done.seq) == (len(self.evs), len(self.texts))

    @precondition(lambda self: len(self.evs) > 3)
    @rule(keep=st.integers(0, 3))
    def purge(self, keep: int) -> None:
        self.purged = self.wait(purge_events(self.database, self.chat, keep=keep, before=0))
        assert self.purged == 0 or self.evs[self.purged - 1][0] != "message"

    @rule(data=st.data())
    def difference(self, data: st.DataObject) -> None:
        ev = data.draw(st.integers(0, len(self.evs)))
        limit = data.draw(st.integers(1, 10))
        rows = self.wait(self.store.events_since(self.chat, ev, limit))

        names = {2: "edit", 3: "delete", 6: "info"}
        found = [("message" if row.is_message else names[row.kind], row.seq) for row in rows]
        assert found == (self.evs[ev : ev + limit] if ev >= self.purged else [])
        assert [row.ev for row in rows] == [*range(ev + 1, ev + 1 + len(rows))]

    @invariant()
    def same(self) -> None:
        head = self.wait(self.store.head(self.chat))
        assert head is not None
        assert (head.seq, head.ev) == (len(self.texts), len(self.evs))
        rows = self.wait(self.store.history(self.chat, limit=100))
        assert [row.body for row in rows] == self.texts
        gone = [seq for seq, text in enumerate(self.texts, 1) if text is None]
        gaps = self.wait(self.store.gaps(self.chat, 0))
        assert [seq for low, high in gaps for seq in range(low, high + 1)] == gone


async def test_given_any_sequence_of_actions_when_read_then_the_log_equals_the_model(
    database: Database, ids: Iterator[int]
) -> None:
    loop = asyncio.get_running_loop()
    bounds = settings(
        max_examples=15,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )

    await asyncio.to_thread(
        run_state_machine_as_test, lambda: LogMachine(loop, database, ids), settings=bounds
    )

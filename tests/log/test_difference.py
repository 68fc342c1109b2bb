"""`chat_difference` equals the merge of messages and events, from every ev, purged or not."""

import random
from collections.abc import Iterator

import pytest
from msgspec import Struct

from messenger.db.engine import Database
from messenger.ids import AccountId, ChatId
from messenger.log.events import EventKind, EventLog
from messenger.log.purges import Bounds, Due, Purges
from messenger.log.store import ChatStore, LogRow, is_dense
from tests.log.conftest import BOTH_RENDERINGS, AChat, a_send, commit, edit, purge_events

pytestmark = BOTH_RENDERINGS

SEEDS = range(4)


class Happened(Struct, frozen=True):
    """The plain model: one ev of the chat."""

    ev: int
    is_message: bool
    kind: int
    seq: int | None


async def history(database: Database, events: EventLog, chat: ChatId, seed: int) -> list[Happened]:
    """A random run of messages and events, as a plain list in the order of ev."""
    rng = random.Random(seed)  # noqa: S311 - a test's history
    model: list[Happened] = []
    seq = 0
    keys: Iterator[int] = iter(range(1, 10_000))
    async with database.statement() as connection:
        for _ in range(40):
            if rng.random() < 0.5:
                size = rng.randint(1, 5)
                await commit(connection, [a_send(chat, next(keys)) for _ in range(size)])
                for _ in range(size):
                    seq += 1
                    model.append(Happened(len(model) + 1, is_message=True, kind=1, seq=seq))
            else:
                for _ in range(rng.randint(1, 3)):
                    kind = rng.choice([EventKind.PIN, EventKind.INFO, EventKind.MEMBER])
                    about = rng.randint(1, seq) if seq else None
                    event = await events.append_event(chat, kind, about, AccountId(1), {"n": 1})
                    assert (event.ev, event.seq) == (len(model) + 1, seq)
                    model.append(Happened(event.ev, is_message=False, kind=kind.value, seq=about))
    return model


def seen(rows: list[LogRow]) -> list[Happened]:
    return [Happened(row.ev, row.is_message, row.kind, row.seq) for row in rows]


@pytest.mark.parametrize("seed", SEEDS)
async def test_given_a_history_when_asked_from_every_ev_then_it_is_the_merge(
    database: Database, store: ChatStore, events: EventLog, a_chat: AChat, seed: int
) -> None:
    chat = await a_chat()
    model = await history(database, events, chat, seed)

    for ev in range(len(model) + 1):
        rows = await store.events_since(chat, ev, 7)

        assert seen(rows) == model[ev : ev + 7]
        assert is_dense(rows, ev)


@pytest.mark.parametrize("seed", SEEDS)
async def test_given_purges_when_asked_from_every_ev_then_it_is_the_merge_or_too_long(
    database: Database, store: ChatStore, events: EventLog, a_chat: AChat, seed: int
) -> None:
    chat = await a_chat()
    model = await history(database, events, chat, seed)
    kept_events = [one.ev for one in model if not one.is_message]
    for keep in (20, 5, 0):
        purged = await purge_events(database, chat, keep=keep, before=0)

        assert purged == (kept_events[-keep - 1] if keep < len(kept_events) else 0)
        head = await store.head(chat)
        assert head is not None
        assert head.purged_ev == purged
        for ev in range(len(model) + 1):
            rows = await store.events_since(chat, ev, 1_000)
            assert seen(rows) == (model[ev:] if ev >= purged else [])


@pytest.mark.parametrize("seed", range(2))
async def test_given_purges_of_events_and_messages_in_turn_when_asked_then_it_is_whole_or_too_long(
    database: Database, store: ChatStore, events: EventLog, a_chat: AChat, seed: int
) -> None:
    chat = await a_chat()
    model = await history(database, events, chat, seed)
    rng = random.Random(seed)  # noqa: S311 - a test's purges
    purges = Purges(database)
    everything = Bounds(10**6, 2**62, 0, 0, 2**62, 0, 0)
    purged = 0
    while True:
        what = rng.choice([Due.EVENTS, Due.MESSAGES])
        if not await purges.step(chat, what, everything, rng.randint(1, 25)):
            break
        head = await store.head(chat)
        assert head is not None
        assert head.purged_ev >= purged
        purged = head.purged_ev
        for ev in range(len(model) + 1):
            rows = await store.events_since(chat, ev, 1_000)
            assert seen(rows) == (model[ev:] if ev >= purged else [])
    last = await store.head(chat)
    assert last is not None
    assert purged > 0
    assert (last.ev, last.seq) == (len(model), sum(one.is_message for one in model))


async def test_given_old_events_when_purged_by_age_then_newer_ones_stay(
    database: Database, store: ChatStore, events: EventLog, a_chat: AChat
) -> None:
    chat = await a_chat()
    for _ in range(3):
        last = await events.append_event(chat, EventKind.INFO, None, AccountId(1), None)

    kept = await purge_events(database, chat, keep=100, before=last.at - 60_000)
    gone = await purge_events(database, chat, keep=100, before=last.at + 60_000)

    assert (kept, gone) == (0, 3)
    assert await store.events_since(chat, 3, 10) == []


async def test_given_an_edited_and_a_deleted_message_when_asked_then_they_show_as_they_are_now(
    database: Database, store: ChatStore, events: EventLog, a_chat: AChat
) -> None:
    chat = await a_chat()
    async with database.statement() as connection:
        await commit(connection, [a_send(chat, 1, "one"), a_send(chat, 2, "two")])
    await edit(database, chat, 1, "ONE", '{"e": 1}')
    await events.delete_messages(chat, [2], AccountId(1), window_ms=0)

    first, second, edited, deleted = await store.events_since(chat, 0, 10)

    assert (first.body, first.payload, first.flags) == ("ONE", {"e": 1}, 4)
    assert first.edited_at is not None
    assert (second.body, second.payload, second.flags) == (None, None, 1)
    assert (edited.kind, edited.seq, edited.actor) == (EventKind.EDIT, 1, 1)
    assert (deleted.kind, deleted.payload) == (EventKind.DELETE, {"seqs": [2]})


async def test_given_nothing_new_or_an_unknown_chat_when_asked_then_it_is_empty(
    store: ChatStore, a_chat: AChat
) -> None:
    chat = await a_chat()

    assert await store.events_since(chat, 0, 10) == []
    assert await store.events_since(chat, 2**31 - 1, 10) == []
    assert await store.events_since(ChatId(3), 0, 10) == []
    assert await store.head(ChatId(3)) is None

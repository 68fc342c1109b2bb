"""Events of a chat: who may delete, what it leaves, and that refusals cost no number."""

import asyncio
import random

import pytest

from messenger.db.engine import Database
from messenger.feature import Refused
from messenger.ids import AccountId, ChatId
from messenger.log.events import EventKind, EventLog
from messenger.log.store import ChatStore
from messenger.wire.codes import ErrorCode
from tests.log.conftest import NOW, AChat, a_send, commit, set_member

MINA, REZA, SARA = AccountId(1), AccountId(2), AccountId(3)
HOUR = 3_600_000


@pytest.fixture
async def chat(database: Database, a_chat: AChat) -> ChatId:
    """Ten messages of Mina; `NOW` is their time."""
    return await with_messages(database, await a_chat(), 10)


async def with_messages(database: Database, chat: ChatId, count: int) -> ChatId:
    async with database.statement() as connection:
        await commit(connection, [a_send(chat, n, f"text {n}") for n in range(1, count + 1)], NOW)
    return chat


@pytest.fixture
def later(database: Database) -> EventLog:
    """An hour after the messages."""
    return EventLog(database, lambda: NOW + HOUR)


@pytest.mark.parametrize(
    ("seq", "account", "code"),
    [
        (3, REZA, ErrorCode.FORBIDDEN),
        (3, AccountId(9), ErrorCode.NO_CHAT),
        (11, MINA, ErrorCode.NO_MESSAGE),
        (0, MINA, ErrorCode.NO_MESSAGE),
        (-1, MINA, ErrorCode.NO_MESSAGE),
    ],
)
async def test_given_a_message_one_may_not_touch_when_deleted_then_no_number_is_used(
    store: ChatStore,
    later: EventLog,
    chat: ChatId,
    seq: int,
    account: AccountId,
    code: ErrorCode,
) -> None:
    with pytest.raises(Refused) as refused:
        await later.delete_messages(chat, [1, seq], account, window_ms=0)

    assert refused.value.code is code
    head = await store.head(chat)
    assert head is not None
    assert (head.ev, head.seq) == (10, 10)


async def test_given_an_old_message_when_deleted_then_the_end_of_its_window_is_told(
    later: EventLog, chat: ChatId
) -> None:
    with pytest.raises(Refused) as refused:
        await later.delete_messages(chat, [3], MINA, window_ms=HOUR - 1)

    assert refused.value.code is ErrorCode.EDIT_WINDOW
    assert refused.value.details == {"until": NOW + HOUR - 1}


async def test_given_the_right_when_others_messages_are_deleted_then_they_are(
    database: Database, store: ChatStore, later: EventLog, chat: ChatId
) -> None:
    await set_member(database, chat, REZA, role=3, rights=8)

    deleted = await later.delete_messages(chat, [2, 4, 4], REZA, window_ms=1)

    assert (deleted.changed, list(deleted.seqs)) == (True, [2, 4])
    assert [row.flags for row in await store.messages(chat, [1, 2, 4])] == [0, 1, 1]


async def test_given_a_deletion_when_repeated_then_the_end_state_and_the_ev_are_the_same(
    later: EventLog, chat: ChatId
) -> None:
    first = await later.delete_messages(chat, [2, 3], MINA, window_ms=0)

    again = await later.delete_messages(chat, [2, 3], MINA, window_ms=0)
    more = await later.delete_messages(chat, [3, 4], MINA, window_ms=0)

    assert (again.changed, again.event.ev, list(again.seqs)) == (False, first.event.ev, [])
    assert (more.changed, list(more.seqs)) == (True, [4])


@pytest.mark.parametrize("seed", range(5))
async def test_given_deletions_in_any_order_when_read_then_gaps_are_the_merged_ranges(
    database: Database, store: ChatStore, later: EventLog, a_chat: AChat, seed: int
) -> None:
    chat = await with_messages(database, await a_chat(), 30)
    rng = random.Random(seed)  # noqa: S311 - a test's order
    gone: set[int] = set()
    for _ in range(8):
        seqs = rng.sample(range(1, 31), 3)
        gone |= set(seqs)
        await later.delete_messages(chat, seqs, MINA, window_ms=0)

        assert await store.gaps(chat, 0) == ranges(gone)
    assert await store.gaps(chat, 15) == [gap for gap in ranges(gone) if gap[1] > 15]


def ranges(seqs: set[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for seq in sorted(seqs):
        if found and found[-1][1] == seq - 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return found


async def test_given_writers_and_events_side_by_side_when_all_are_done_then_ev_is_dense(
    database: Database, store: ChatStore, events: EventLog, a_chat: AChat
) -> None:
    chat = await a_chat()

    async def write(device: int) -> None:
        async with database.statement() as connection:
            for number in range(1, 21):
                await commit(connection, [a_send(chat, number, device=device)])

    async def edit() -> None:
        for number in range(20):
            await events.append_event(chat, EventKind.INFO, None, MINA, {"n": number})

    async with asyncio.TaskGroup() as tasks:
        for device in range(1, 4):
            tasks.create_task(write(device))
            tasks.create_task(edit())

    rows = await store.events_since(chat, 0, 1_000)
    assert [row.ev for row in rows] == [*range(1, 121)]
    assert [row.seq for row in rows if row.is_message] == [*range(1, 61)]


async def test_given_an_unknown_chat_when_an_event_is_made_then_it_is_refused(
    events: EventLog,
) -> None:
    with pytest.raises(Refused) as refused:
        await events.append_event(ChatId(3), EventKind.INFO, None, MINA, None)

    assert refused.value.code is ErrorCode.NO_CHAT

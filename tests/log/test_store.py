"""Reads of the chat log: keyset pages, members of one moment, cursors."""

import asyncio

import pytest

from messenger.db.engine import Database
from messenger.ids import AccountId, ChatId
from messenger.log.store import ChatStore, LogRow, is_dense
from tests.log.conftest import NOW, AChat, a_send, commit, set_member


@pytest.fixture
async def chat(database: Database, a_chat: AChat) -> ChatId:
    """Members 1 to 5; messages 1..20 by accounts 1 and 2 in turn."""
    chat = await a_chat(range(1, 6))
    async with database.statement() as connection:
        sends = [a_send(chat, n, f"text {n}", account=2 - n % 2) for n in range(1, 21)]
        await commit(connection, sends, NOW)
    return chat


async def test_given_twenty_messages_when_paged_then_each_page_is_in_order(
    store: ChatStore, chat: ChatId
) -> None:
    newest = await store.history(chat, limit=3)
    before = await store.history(chat, before=10, limit=3)
    after = await store.history(chat, after=10, limit=3)
    some = await store.messages(chat, [7, 3, 99])

    assert [row.seq for row in newest] == [18, 19, 20]
    assert [row.seq for row in before] == [7, 8, 9]
    assert [row.seq for row in after] == [11, 12, 13]
    assert [(row.seq, row.body, row.sender, row.at) for row in some] == [
        (3, "text 3", 1, NOW),
        (7, "text 7", 1, NOW),
    ]


async def test_given_two_chats_when_heads_are_read_then_unknown_ones_are_left_out(
    store: ChatStore, a_chat: AChat, chat: ChatId
) -> None:
    other = await a_chat(flags=1, epoch=3)

    heads = await store.heads([chat, other, ChatId(3)])

    assert set(heads) == {chat, other}
    assert (heads[chat].epoch, heads[chat].ev, heads[chat].seq, heads[chat].at) == (1, 20, 20, NOW)
    assert (heads[other].epoch, heads[other].flags, heads[other].member_ver) == (3, 1, 1)


async def test_given_members_when_read_then_those_who_left_are_not_among_them(
    database: Database, store: ChatStore, chat: ChatId
) -> None:
    await set_member(database, chat, 2, role=0)
    await set_member(database, chat, 3, role=-1)

    assert await store.members(chat) == (1, [1, 4, 5])
    assert await store.members(ChatId(3)) == (0, [])


async def test_given_members_that_join_when_read_beside_then_list_and_version_agree(
    database: Database, store: ChatStore, a_chat: AChat
) -> None:
    chat = await a_chat(range(1, 3), member_ver=2)

    async def join() -> None:
        for account in range(3, 40):
            async with database.transaction() as connection:
                await connection.exec_driver_sql(
                    "insert into membership(chat_id, account_id, role) values ($1, $2, 1)",
                    (chat, account),
                )
                await connection.exec_driver_sql(
                    "update chat set member_ver = $2 where chat_id = $1", (chat, account)
                )

    joining = asyncio.ensure_future(join())
    while not joining.done():
        version, accounts = await store.members(chat)
        assert accounts == [*range(1, version + 1)]
    await joining


async def test_given_memberships_when_read_then_left_and_banned_are_shown(
    database: Database, store: ChatStore, a_chat: AChat, chat: ChatId
) -> None:
    await set_member(database, chat, 2, role=-1, until=77)
    other = await a_chat([2, 9])
    found = await store.memberships([chat, other, ChatId(3)], AccountId(2))

    assert {one.chat: (one.role, one.until) for one in found.values()} == {
        chat: (-1, 77),
        other: (1, 0),
    }
    assert await store.membership(chat, AccountId(2)) == found[chat]
    assert await store.membership(chat, AccountId(99)) is None


async def test_given_read_cursors_when_readers_are_asked_then_members_beyond_seq_are_named(
    database: Database, store: ChatStore, chat: ChatId
) -> None:
    for account, read in ((1, 20), (2, 10), (3, 12), (4, 20)):
        await set_member(database, chat, account, read_seq=read)
    await set_member(database, chat, 4, role=0)

    assert await store.readers(chat, 11, 10) == [1, 3]
    assert await store.readers(chat, 11, 1) == [1]


async def test_given_recent_messages_when_senders_are_asked_then_each_has_its_newest_seq(
    store: ChatStore, chat: ChatId
) -> None:
    assert sorted(await store.recent_senders(chat, 0, NOW)) == [(1, 19), (2, 20)]
    assert await store.recent_senders(chat, 19, NOW) == [(2, 20)]
    assert await store.recent_senders(chat, 0, NOW + 1) == []


def test_given_a_hole_when_checked_then_the_rows_are_not_dense() -> None:
    def row(ev: int) -> LogRow:
        return LogRow(ev, True, ev, 1, AccountId(1), 0, "", 0, None, None, None, None)  # noqa: FBT003

    assert is_dense([row(5), row(6)], 4)
    assert not is_dense([row(5), row(7)], 4)
    assert not is_dense([row(6)], 4)
    assert is_dense([], 4)

"""Channels for benchmarks: founded by the rpc, filled in the database.

Nobody joins ten million times: subscribers are the rows that joining leaves, on both keys, made by
`insert .. select`. Their accounts have no rows of their own, as nothing on the measured paths
reads them.
"""

import time
from collections.abc import Sequence

from sqlalchemy import text

from loadgen.bench.stage import Stage, account_id, fresh_random_id
from messenger.client.http import call

FIRST_SUBSCRIBER = 2**54
SLICE = 1_000_000  # rows of one statement

FILL = (
    "insert into membership(chat_id, account_id, role, joined_at)"
    " select :chat, :first + n, 1, 1 from generate_series(1, cast(:count as bigint)) n",
    "insert into member(account_id, chat_id, kind, role, flags, joined_at)"
    " select :first + n, :chat, 3, 1, 1, 1 from generate_series(1, cast(:count as bigint)) n",
)
SEAT = (
    "insert into membership(chat_id, account_id, role, joined_at)"
    " select :chat, a, 1, 1 from unnest(cast(:accounts as bigint[])) a",
    "insert into member(account_id, chat_id, kind, role, flags, joined_at)"
    " select a, :chat, 3, 1, 1, 1 from unnest(cast(:accounts as bigint[])) a",
)
COUNT = "update chat set member_count = member_count + :count where chat_id = :chat"


async def founded(stage: Stage, owner: int) -> str:
    """A private channel of the seeded account `owner`."""
    request = {"kind": "channel", "title": "load", "random_id": str(fresh_random_id())}
    made = await call(stage.platform.url, "chats.create", request, stage.token(owner))
    return str(made["chat"]["id"])


async def channel(stage: Stage, owner: int, members: Sequence[int]) -> str:
    """A channel of `owner` with the seeded accounts `members` in it."""
    chat = await founded(stage, owner)
    accounts = [account_id(n) for n in members]
    async with stage.engine.begin() as connection:
        for statement in SEAT:
            values = {"chat": int(chat), "accounts": accounts}
            await connection.execute(text(statement), values)
        await connection.execute(text(COUNT), {"chat": int(chat), "count": len(accounts)})
    return chat


async def filled(stage: Stage, chat: str, subscribers: int, first: int) -> float:
    """So many rows more, from the `first` stranger on; the seconds it took."""
    began = time.monotonic()
    for start in range(0, subscribers, SLICE):
        count = min(SLICE, subscribers - start)
        values = {"chat": int(chat), "first": FIRST_SUBSCRIBER + first + start, "count": count}
        async with stage.engine.begin() as connection:
            await connection.execute(text("set local synchronous_commit = off"))
            for statement in FILL:
                await connection.execute(text(statement), values)
    async with stage.engine.begin() as connection:
        await connection.execute(text(COUNT), {"chat": int(chat), "count": subscribers})
        await connection.execute(text("analyze membership, member"))
    return time.monotonic() - began


async def posted(stage: Stage, chat: str, owner: int, posts: int) -> None:
    """So many posts, in the database: what is measured reads them, or only counts them."""
    async with stage.engine.begin() as connection:
        await connection.execute(
            text(
                "insert into message(chat_id, seq, ev, sender_id, device_id, sent_at, kind, body)"
                " select :chat, n, n, :owner, 0, 1, 1, 'post' from"
                " generate_series(1, cast(:posts as int)) n"
            ),
            {"chat": int(chat), "owner": account_id(owner), "posts": posts},
        )
        await connection.execute(
            text("update chat set last_seq = :posts, last_ev = :posts where chat_id = :chat"),
            {"chat": int(chat), "posts": posts},
        )

"""Every hot statement names its distribution key, and no statement joins tables of two keys.

Without Citus this is what keeps the platform ready for it: a statement that passes here is one
that a single shard can answer.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

from messenger.db.engine import Database, metadata
from messenger.db.statements import Statement

CHAT = "chat_id"
ACCOUNT = "account_id"
PACKAGES = (
    *(f"messenger.{name}" for name in ("accounts", "chats", "db", "log", "messages", "sync")),
    "channels",
)
LOCAL = {"generator", "report", "sanction", "moderator", "channel_directory"}
UNRENDERED = {
    f"channels.store.{name}"
    for name in (
        "figures.ADD_DAYS",
        "figures.ADD_DELIVERY",
        "figures.PUT_CURVE",
        "follows.NAMED",
        "views.ADD_FORWARDS",
        "views.SET_REACH",
    )
}
"""Have no rendering *one* yet: figures of channels, flushed by the minute. On shards they are right
and slow, as the coordinator collects the arrays. The list may only get shorter."""
TWO_KEYS = {"settle_members"}
"""Joins and leaves, not hot: copies the chat's truth under the account's lock, joining nothing."""
OWN_KEY = {"direct": "lo_id", "phone": "phone_hash", "username": "name_fold", "otp": "phone_hash"}


def statements() -> Iterator[tuple[str, Statement]]:
    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for attribute, value in vars(importlib.import_module(module.name)).items():
                if isinstance(value, Statement):
                    yield f"{module.name}.{attribute}", value


def key_of(table: str) -> str:
    """The distribution column: the first of the primary key."""
    return OWN_KEY.get(table) or next(iter(metadata.tables[table].primary_key)).name


def tables_in(sql: str) -> set[str]:
    found = re.findall(r"\b(?:from|join|into|update|only)\s+([a-z_]+)\b", sql)
    found += re.findall(r",\s*([a-z_]+)\s+[a-z]\b(?=\s+where|\s*,)", sql)
    return {name for name in found if name in metadata.tables} - LOCAL


def keys_in(sql: str) -> set[str]:
    return {key_of(table) for table in tables_in(sql)}


def is_keyed(sql: str, key: str) -> bool:
    """`key = $n`, `key = any($n)`, an insert with the key, or a function that is given it."""
    return bool(
        re.search(rf"\b{key} = (any\()?\$\d", sql)
        or re.search(rf"insert into [a-z_]+( as [a-z]+)? ?\({key}\b", sql)
        or (re.search(r"\b[a-z_0-9]+\(\$\d", sql) and not tables_in(sql))
    )


def names_one_key(sql: str, key: str) -> bool:
    """The same without `any($n)`: in every table it touches, one value that a shard can be told."""
    if re.search(rf"\b{key} = any\(", sql) or re.search(rf"\b{key} in \(", sql):
        return False
    if re.search(r"insert into [a-z_]+.*\bselect\b.*\bfrom unnest", sql):
        return False
    return is_keyed(sql, key)


ALL = dict(sorted(statements()))
HOT = {name: found for name, found in ALL.items() if not found.cold}


@pytest.mark.parametrize("statement", HOT.values(), ids=HOT)
def test_given_a_hot_statement_when_read_then_it_names_its_key_and_no_other(
    statement: Statement,
) -> None:
    assert is_keyed(statement.sql, statement.key)
    assert keys_in(statement.sql) <= {statement.key}


@pytest.mark.parametrize("name", HOT)
def test_given_a_hot_statement_when_rendered_for_shards_then_it_names_one_value_of_its_key(
    name: str,
) -> None:
    statement = HOT[name]
    sql = statement.one or statement.sql

    assert names_one_key(sql, statement.key) == (name not in UNRENDERED)
    assert keys_in(sql) <= {statement.key}


LOCKING = {name: one for name, one in ALL.items() if "for update" in one.sql}


@pytest.mark.parametrize("statement", LOCKING.values(), ids=LOCKING)
def test_given_a_statement_that_locks_when_rendered_for_shards_then_it_names_one_value_of_its_key(
    statement: Statement,
) -> None:
    """Cold ones too: Citus locks rows of one shard only."""
    sql = statement.one or statement.sql

    assert "for update" not in sql or names_one_key(sql, statement.key)


async def test_given_the_functions_of_the_database_when_read_then_each_stays_on_one_key(
    database: Database,
) -> None:
    async with database.statement() as connection:
        rows = await connection.exec_driver_sql(
            "select p.proname, p.prosrc from pg_proc p join pg_language l on l.oid = p.prolang"
            " where p.pronamespace = 'public'::regnamespace and l.lanname in ('sql', 'plpgsql')"
        )
        bodies = dict(row for row in map(tuple, rows))

    mixed = {name for name, body in bodies.items() if len(keys_in(body)) > 1}

    assert len(bodies) > 10
    assert mixed == TWO_KEYS


_KEY = r"(?:chat_id|account_id|lo_id|phone_hash|name_fold)"
VALUE = re.compile(rf"\b{_KEY} = (?:p_chat|p_chat_id|p_account|p_lo)\b|using \(chat_id\b")
"""A table's key is given one value, or is that of the table it is joined with."""
CALL = re.compile(r"\b([a-z_]+)\(")
COMMENT = re.compile(r"--[^\n]*")


def simple_faults(body: str) -> list[str]:
    """Statements of a function that a single shard could not answer."""
    faults = []
    for one in COMMENT.sub("", body).split(";"):
        sql = " ".join(one.split())
        tables = re.findall(r"\b(?:from|join|update) ([a-z_]+)\b", sql)
        named = [table for table in tables if table in metadata.tables and table not in LOCAL]
        inserts = re.search(r"\binsert into ([a-z_]+)", sql)
        if inserts and not re.search(r"\) values \(", sql):
            faults.append(sql)  # insert .. select, or inside a CTE
        elif (inserts and re.search(r"\bwith\b", sql)) or len(VALUE.findall(sql)) < len(named):
            faults.append(sql)
    return faults


async def test_given_the_functions_of_one_key_when_read_then_they_are_simple_statements_of_it(
    database: Database,
) -> None:
    """What is called in the rendering *one*, and what that calls, as data-model prescribes."""
    async with database.statement() as connection:
        rows = await connection.exec_driver_sql(
            "select p.proname, p.prosrc from pg_proc p join pg_language l on l.oid = p.prolang"
            " where p.pronamespace = 'public'::regnamespace and l.lanname in ('sql', 'plpgsql')"
        )
        bodies = dict(row for row in map(tuple, rows))
    waiting = {name for one in HOT.values() for name in CALL.findall(one.one or one.sql)}
    reached: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in bodies and name not in reached:
            reached.add(name)
            waiting |= set(CALL.findall(bodies[name]))

    faults = {name: found for name in reached if (found := simple_faults(bodies[name]))}

    assert len(reached) > 25
    assert faults == {}


def test_given_statements_that_no_shard_answers_when_read_then_the_check_finds_each() -> None:
    body = """
      insert into pin(chat_id, seq) select p_chat, s from unnest(p_seqs) s;
      with i as (insert into pin(chat_id, seq) values (p_chat, 1)) select 1;
      update chat set flags = 1 where chat_id = any(p_chats);
      select 1 from chat c join membership m on m.chat_id = c.chat_id where c.chat_id = p_chat;
      update chat set flags = 1 where chat_id = p_chat
    """

    assert len(simple_faults(body)) == 4


def test_given_a_join_over_two_keys_when_read_then_the_check_finds_it() -> None:
    joined = Statement(
        "select 1 from member m join chat c on c.chat_id = m.chat_id where m.account_id = $1",
        key=ACCOUNT,
    )

    assert keys_in(joined.sql) == {CHAT, ACCOUNT}


def test_given_a_statement_without_its_key_when_read_then_the_check_finds_it() -> None:
    scan = Statement("select seq from message where sent_at > $1", key=CHAT)

    assert not is_keyed(scan.sql, scan.key)

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


def is_keyed(statement: Statement) -> bool:
    """`key = $n`, `key = any($n)`, an insert with the key, or a function that is given it."""
    sql, key = statement.sql, statement.key
    return bool(
        re.search(rf"\b{key} = (any\()?\$\d", sql)
        or re.search(rf"insert into [a-z_]+( as [a-z]+)? ?\({key}\b", sql)
        or (re.search(r"\b[a-z_0-9]+\(\$\d", sql) and not tables_in(sql))
    )


HOT = dict(sorted((name, found) for name, found in statements() if not found.cold))


@pytest.mark.parametrize("statement", HOT.values(), ids=HOT)
def test_given_a_hot_statement_when_read_then_it_names_its_key_and_no_other(
    statement: Statement,
) -> None:
    assert is_keyed(statement)
    assert keys_in(statement.sql) <= {statement.key}


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


def test_given_a_join_over_two_keys_when_read_then_the_check_finds_it() -> None:
    joined = Statement(
        "select 1 from member m join chat c on c.chat_id = m.chat_id where m.account_id = $1",
        key=ACCOUNT,
    )

    assert keys_in(joined.sql) == {CHAT, ACCOUNT}


def test_given_a_statement_without_its_key_when_read_then_the_check_finds_it() -> None:
    scan = Statement("select seq from message where sent_at > $1", key=CHAT)

    assert not is_keyed(scan)

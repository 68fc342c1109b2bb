"""Statements are timed by what they do; a slow one is told with the trace of who asked."""

import logging

import pytest

from messenger.db.engine import Database
from messenger.db.watching import LABELS, label_of
from messenger.metrics import Metrics
from messenger.tracing import Asked, current
from tests.conftest import Stores


@pytest.mark.parametrize(
    ("sql", "label"),
    [
        ("select status, seq from commit_messages($1, $2)", "select commit_messages"),
        ("SELECT ensure_dedup_partitions($1)", "select ensure_dedup_partitions"),
        ("select a.x from account a where id = $1", "select account"),
        ("insert into phone (hash) values ($1)", "insert phone"),
        ("update device set seen = $1", "update device"),
        ("delete from otp where id = $1", "delete otp"),
        ("with due as (select id from outbox) delete from outbox", "delete outbox"),
        ("select 1", "select"),
        ("set plan_cache_mode = force_generic_plan", "other"),
    ],
)
def test_given_a_statement_when_labelled_then_verb_and_place_are_named(
    sql: str, label: str
) -> None:
    assert label_of(sql).split()[0] == label.split()[0]
    assert label_of(sql).split()[-1] == label.split()[-1]


async def test_given_statements_when_they_end_then_they_and_the_pool_are_counted(
    stores: Stores,
) -> None:
    metrics = Metrics()
    database = await Database.connect(stores.database_url, pool=2)
    database.watched(metrics)

    async with database.statement() as connection:
        await connection.exec_driver_sql("select count(*) from account where account_id = 0")
        [family] = metrics.db_pool_in_use.collect()
        assert family.samples[0].value == 1
    await database.close()

    assert sum(metrics.db_seconds.labels("select account").counts) == 1


async def test_given_a_slow_statement_when_it_ends_then_its_line_has_the_trace(
    stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    database = await Database.connect(stores.database_url, pool=1)
    database.watched(Metrics())
    token = current.set(Asked("client", 4))
    try:
        async with database.statement() as connection:
            await connection.exec_driver_sql("select pg_sleep(0.6)")
    finally:
        current.reset(token)
        await database.close()

    [record] = [record for record in caplog.records if record.msg == "statement slow"]
    assert record.levelno == logging.WARNING
    assert vars(record)["statement"] == "select pg_sleep"


async def test_given_texts_without_end_when_labelled_then_the_labels_stay_bounded(
    stores: Stores,
) -> None:
    metrics = Metrics()
    database = await Database.connect(stores.database_url, pool=1)
    database.watched(metrics)

    async with database.statement() as connection:
        for number in range(LABELS + 5):
            await connection.exec_driver_sql(f"select 1 as c{number}")
    await database.close()

    assert sum(metrics.db_seconds.labels("other").counts) == 5

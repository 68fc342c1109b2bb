"""Running a `Statement`; what all stores of this package share."""

from collections.abc import Sequence
from typing import Any

from messenger.db.engine import Database
from messenger.db.statements import Statement


async def rows(db: Database, statement: Statement, *values: object) -> Sequence[Any]:
    """All rows of one statement that commits by itself."""
    return await db.rows(statement, *values)


async def execute(db: Database, statement: Statement, *values: object) -> int:
    """Run a statement that answers no rows; how many rows it touched."""
    async with db.statement() as connection:
        return (await connection.exec_driver_sql(statement.sql, values)).rowcount

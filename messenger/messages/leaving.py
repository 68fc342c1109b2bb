"""What an account leaves behind in messages when its person goes."""

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId

DROP_SCHEDULED = Statement("delete from scheduled where sender_id = $1", key="chat_id", cold=True)


class Leaving:
    """Repeatable; an account that comes back starts with nothing planned."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def drop_scheduled(self, account: AccountId) -> None:
        """Nobody sends any more in the name of who has gone."""
        async with self._db.statement() as connection:
            await connection.exec_driver_sql(DROP_SCHEDULED.sql, (account,))

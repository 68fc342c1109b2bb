"""The day partitions of `dedup`: tomorrow's is made ahead, those before yesterday are dropped."""

import asyncio
import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from messenger.db.engine import Database, StoreDownError
from messenger.db.statements import Statement
from messenger.log.held import ENSURE_DAY
from messenger.log.rendering import DAY_MS

DROP = Statement("select drop_dedup_partitions($1)", key="day", cold=True)
EVERY_S = 1_800.0  # far below a day, so that a node that was asleep still makes tomorrow in time
RETRY_S = 60.0

log = logging.getLogger(__name__)


class DedupPartitions:
    """Keeps yesterday, today and tomorrow; any number of nodes may do so at once."""

    def __init__(
        self,
        db: Database,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        self._db = db
        self._now_ms = now_ms
        self._retry_s = retry_s

    async def keep(self) -> tuple[int, int]:
        """(partitions made, partitions dropped), once."""
        today = self._now_ms() // DAY_MS
        async with self._db.statement() as connection:
            made = (await connection.exec_driver_sql(ENSURE_DAY.sql, (today,))).scalar_one()
            dropped = (await connection.exec_driver_sql(DROP.sql, (today - 1,))).scalar_one()
        return made, dropped

    async def run(self) -> None:
        """Every half hour until cancelled; a database that is away is asked again."""
        while True:
            try:
                made, dropped = await self.keep()
            except (StoreDownError, DBAPIError) as error:  # also a lock that is not free
                log.warning("dedup partitions not kept", extra={"why": str(error)[:200]})
                await asyncio.sleep(self._retry_s)
                continue
            if made or dropped:
                log.info("dedup partitions", extra={"made": made, "dropped": dropped})
            await asyncio.sleep(EVERY_S)

"""The lease of an id generator's number: no two processes may mint with the same one.

Times in the table are the database's, so the processes' clocks need not agree; a process judges
its own lease by its monotonic clock and stops minting long before the lease is over.
"""

import asyncio
import time
import uuid
from collections.abc import Callable

from sqlalchemy.exc import DBAPIError

from messenger.db.engine import Database, StoreDownError
from messenger.db.statements import Statement
from messenger.ids import Minter

LEASE_MS = 60_000
GRACE_MS = 5_000  # after expiry, before the number may be used again
RENEW_S = 20.0
STOP_S = 40.0  # without renewal; the rest of the lease is for clocks and pauses

_NOW = "(extract(epoch from clock_timestamp()) * 1000)::bigint"
CLAIM = Statement(
    f"""
    insert into generator as g (gen_id, owner, expires_at)
    select n, $1, {_NOW} + {LEASE_MS} from generate_series(0, 1023) n
    where not exists (
      select 1 from generator x where x.gen_id = n and x.expires_at + {GRACE_MS} > {_NOW})
    order by random() limit 1
    on conflict (gen_id) do update set owner = excluded.owner, expires_at = excluded.expires_at
    where g.expires_at + {GRACE_MS} <= {_NOW}
    returning gen_id
    """,  # noqa: S608 - constants of this module
    key="gen_id",
    cold=True,
)
RENEW = Statement(
    f"update generator set expires_at = {_NOW} + {LEASE_MS}"  # noqa: S608
    " where gen_id = $1 and owner = $2 returning gen_id",
    key="gen_id",
    cold=True,
)
RELEASE = Statement(
    f"update generator set expires_at = {_NOW}, owner = ''"  # noqa: S608
    " where gen_id = $1 and owner = $2",
    key="gen_id",
    cold=True,
)
CLAIM_TRIES = 20  # each may lose its number to another process starting at the same moment


class LeaseLostError(Exception):
    """Minting on could give an id twice."""


class Lease:
    """One generator number, kept by `run`."""

    def __init__(
        self, db: Database, generator: int, owner: str, monotonic: Callable[[], float]
    ) -> None:
        self._db = db
        self._owner = owner
        self._monotonic = monotonic
        self._renewed = monotonic()
        self.generator = generator
        self.minter = Minter(generator, self._now_ms)
        """Raises LeaseLostError once the lease was not renewed for `STOP_S`."""

    async def run(self) -> None:
        """Renew until cancelled, then give the number back. Raises LeaseLostError if it is lost."""
        try:
            while True:
                await asyncio.sleep(RENEW_S)
                await self.renew()
        finally:
            await self._release()

    async def renew(self) -> None:
        """Once; a database that is down is survived for as long as minting goes on.

        A process that was frozen for longer than its lease keeps the number if nobody took it: it
        minted nothing meanwhile.
        """
        asked = self._monotonic()
        try:
            async with self._db.statement() as connection:
                result = await connection.exec_driver_sql(RENEW.sql, (self.generator, self._owner))
                kept = result.fetchone() is not None
        except (StoreDownError, DBAPIError):  # too long of it, and minting stops
            return
        if not kept:
            raise LeaseLostError(f"generator {self.generator} belongs to another process")
        self._renewed = asked

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(1.0), self._db.statement() as connection:
                await connection.exec_driver_sql(RELEASE.sql, (self.generator, self._owner))
        except (StoreDownError, TimeoutError):
            pass  # it expires by itself

    def _now_ms(self) -> int:
        if self._monotonic() - self._renewed > STOP_S:
            raise LeaseLostError(f"generator {self.generator} was not renewed for {STOP_S:.0f} s")
        return int(time.time() * 1000)


async def lease_generator(
    db: Database, owner: str, monotonic: Callable[[], float] = time.monotonic
) -> Lease:
    """Take a free generator number; `owner` is for the operator's eyes."""
    name = f"{owner}/{uuid.uuid4()}"
    for _ in range(CLAIM_TRIES):
        async with db.statement() as connection:
            row = (await connection.exec_driver_sql(CLAIM.sql, (name,))).fetchone()
        if row is not None:
            return Lease(db, int(row[0]), name, monotonic)
    raise LeaseLostError("all 1,024 id generator numbers are leased")

"""Retention: what was kept long enough goes, little by little, on whichever node has the time.

Two walks, over chats and over accounts, each a row of `purge_job`: a lease, and a place that only
moves on when everything up to it is done. A node that dies in the middle of a page leaves the
lease to another one, which starts that page over; steps that were done find nothing to do. Clocks
are the database's for the lease, the node's for ages.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial

from sqlalchemy.exc import DBAPIError

from messenger.db.engine import Database, StoreDownError
from messenger.db.statements import Statement
from messenger.keeping import StoreSettings
from messenger.log.purges import Bounds, Due, Purges
from messenger.metrics import Metrics

DAY_MS = 86_400_000
PAGE = 500  # chats or accounts looked at in a step: ~20 us each, more where the disk is cold
GROWTH = 25  # keys more after a page that was read: one in twenty at most is too long again
LEASE_MS = 30_000  # many times the longest step, which `statement_timeout` bounds
STEPS = 50  # of one chat before the place is saved and the lease renewed
IDLE_S = 60.0  # where another node walks, or the round is over
TRIES = 4  # of a step that took too long, each with a tenth of the rows; and of a single key
JOBS = ("chats", "accounts")
END = 0  # no key of ours

_NOW = "(extract(epoch from clock_timestamp()) * 1000)::bigint"
MAKE = Statement(
    "insert into purge_job(name) values ($1) on conflict do nothing", key="name", cold=True
)
CLAIM = Statement(
    f"update purge_job set owner = $2, until = {_NOW} + {LEASE_MS}"  # noqa: S608 - constants
    f" where name = $1 and (owner = $2 or until <= {_NOW})"
    f" and (cursor > 0 or finished_at + $3 <= {_NOW}) returning cursor",
    key="name",
    cold=True,
)
SAVE = Statement(
    f"update purge_job set cursor = $3, until = {_NOW} + {LEASE_MS}"  # noqa: S608
    " where name = $1 and owner = $2 returning 1",
    key="name",
    cold=True,
)
FINISH = Statement(
    f"update purge_job set cursor = 0, until = 0, finished_at = {_NOW}"  # noqa: S608
    " where name = $1 and owner = $2 returning 1",
    key="name",
    cold=True,
)

log = logging.getLogger(__name__)

Step = Callable[[int], Awaitable[int]]
"""Given how many rows at most, deletes and tells how many."""


class Retention:
    """The walks of one node; `run` as one task, `step` is what it does."""

    def __init__(
        self,
        db: Database,
        settings: StoreSettings,
        metrics: Metrics,
        *,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        self._db = db
        self._purges = Purges(db)
        self._settings = settings
        self._metrics = metrics
        self._now_ms = now_ms
        self._owner = str(uuid.uuid4())
        self._gone = 0
        self._pages = dict.fromkeys(JOBS, PAGE)
        self._failures = dict.fromkeys(JOBS, 0)
        """Of pages of one key, in a row."""
        for job in JOBS:  # shown from the start: an alert asks whether they grow
            metrics.purge_rounds.labels(job)
            metrics.purge_skipped.labels(job)

    async def run(self) -> None:
        """Walk until cancelled. A database that is away is asked again."""
        while True:
            walked = False
            for job in JOBS:
                walked |= await self._walks(job)
            await asyncio.sleep(self._settings.purge_pause if walked else IDLE_S)

    async def _walks(self, job: str) -> bool:
        """A step; what goes wrong in one walk leaves the other its turn."""
        try:
            return await self.step(job)
        except (StoreDownError, DBAPIError) as error:
            log.warning("retention waits", extra={"job": job, "why": str(error)[:200]})
        except Exception:  # the root of a task: rows that stay hurt nobody today
            log.exception("retention failed")
        return False

    async def step(self, job: str) -> bool:
        """One page of a walk; False where another node walks, or the next round is not due."""
        every = int(self._settings.purge_every * 1000)
        async with self._db.statement() as connection:
            await connection.exec_driver_sql(MAKE.sql, (job,))
        claimed = await self._db.rows(CLAIM, job, self._owner, every)
        if not claimed:
            return False
        after: int = claimed[0][0]
        bounds = bounds_of(self._settings, self._now_ms())
        walk = self._chats if job == "chats" else self._accounts
        try:
            done = await walk(after, bounds)
        except (StoreDownError, DBAPIError) as error:
            done = await self._failed(job, after, str(error)[:200])
        else:
            self._pages[job] = min(PAGE, self._pages[job] + GROWTH)
            self._failures[job] = 0
        if done == END:
            await self._finish(job)
        elif done is not None:
            await self._db.rows(SAVE, job, self._owner, done)
        return True

    async def _failed(self, job: str, after: int, why: str) -> int | None:
        """Look at half as many; a single key that fails again and again waits for the next round.

        Returns that key. Where the database is away it is not reached: the claim fails first.
        """
        if self._pages[job] > 1:
            self._pages[job] //= 2
            return None
        self._failures[job] += 1
        if self._failures[job] < TRIES:
            return None
        self._failures[job] = 0
        read = self._purges.chats if job == "chats" else self._purges.accounts
        [key] = await read(after, 1)
        log.error("retention passes over", extra={"job": job, "key": key, "why": why})
        self._metrics.purge_skipped.labels(job).inc()
        return key

    async def _chats(self, after: int, bounds: Bounds) -> int | None:
        """Up to which chat all is done; None: not even the next; END: there is none."""
        chats = await self._purges.chats(after, self._pages["chats"])
        if not chats:
            return END
        due = await self._purges.due(chats, bounds)
        done = None
        for chat in chats:
            for what in due.get(chat, Due(0)):
                step = partial(self._purges.step, chat, what, bounds)
                if not await self._drain(what.name or "", step):
                    return done
            done = chat
        return done

    async def _accounts(self, after: int, bounds: Bounds) -> int | None:
        """The same for accounts."""
        accounts = await self._purges.accounts(after, self._pages["accounts"])
        if not accounts:
            return END
        due = set(await self._purges.facts_due(accounts, bounds))
        done = None
        for account in accounts:
            step = partial(self._purges.facts, account, bounds)
            if account in due and not await self._drain("facts", step):
                return done
            done = account
        return done

    async def _drain(self, table: str, step: Step) -> bool:
        """Step until little is left, at most `STEPS` times; False: there is more."""
        for _ in range(STEPS):
            went = await self._bounded(step)
            self._count(table, went)
            if went == 0:
                return True
            await asyncio.sleep(self._settings.purge_pause)
        return False

    async def _bounded(self, step: Step) -> int:
        """A step that takes too long is tried with fewer rows: a post may have many reactions."""
        limit = self._settings.purge_rows
        for left in reversed(range(TRIES)):
            try:
                return await step(limit)
            except StoreDownError:
                if not left or limit == 1:
                    raise
                limit = max(1, limit // 10)
        raise AssertionError("unreachable: the last try returns or raises")

    async def _finish(self, job: str) -> None:
        if job == "chats":
            before = self._now_ms() - self._settings.keep_request_days * DAY_MS
            await self._drain("outbox", partial(self._purges.outbox, before))
        await self._db.rows(FINISH, job, self._owner)
        self._metrics.purge_rounds.labels(job).inc()
        log.info("retention round", extra={"job": job, "rows": self._gone})
        self._gone = 0

    def _count(self, table: str, rows: int) -> None:
        self._gone += rows
        self._metrics.purged_rows.labels(table.lower()).inc(rows)


def bounds_of(settings: StoreSettings, now_ms: int) -> Bounds:
    """What `settings` keep at this moment."""

    def before(days: int) -> int:
        return now_ms - days * DAY_MS

    return Bounds(
        events=settings.keep_events,
        events_before=before(settings.keep_event_days),
        facts=settings.keep_facts,
        facts_before=before(settings.keep_fact_days),
        messages_before=before(settings.keep_message_days) if settings.keep_message_days else 0,
        index_before=before(settings.keep_index_days),
        requests_before=before(settings.keep_request_days),
    )

"""Messages for later: kept until due, then sent exactly once.

A worker locks due rows with SKIP LOCKED, sends each under a key made from its id, and deletes the
row after the commit. A worker that dies in between leaves the row; the next one sends it again
under the same key and is told that it was written before.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from messenger.db.engine import Database, StoreDown
from messenger.db.statements import Statement
from messenger.feature import Caller, Later, Refused, WriteGate
from messenger.ids import ChatId, DeviceId
from messenger.log.committer import Committer
from messenger.log.events import MessageFlag
from messenger.log.sends import Send, Written
from messenger.log.store import ChatStore
from messenger.messages.aside import Aside
from messenger.messages.objects import KIND_NAMES, chat_of, id_of
from messenger.messages.protocol import (
    Empty,
    Extra,
    OfChat,
    ScheduledMessage,
    ScheduledMessages,
    Unschedule,
    WillSend,
)
from messenger.wire.codes import ErrorCode

PER_CHAT = 100
AHEAD_MS = 365 * 86_400_000
LAST_DAY_MS = 7 * 86_400_000  # later nobody remembers having planned it
EVERY_S = 1.0
BATCH = 100
ANSWER_S = 5.0  # longer than the committer's deadline: it answers everything
NO_DEVICE = DeviceId(0)

# The sender's seat is locked while they add one: two at once would both find room for the last.
SEAT = Statement(
    "select role from membership where chat_id = $1 and account_id = $2 for update", key="chat_id"
)
REPLY = Statement("select seq from message where chat_id = $1 and seq = $2", key="chat_id")
# One row: 0 added, 1 was there with the same digest, 2 with another, 3 too many. A repeat finds
# its id again, since the id is made from the device's key.
ADD = Statement(
    "select put_scheduled($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::jsonb, $14, $15)",
    key="chat_id",
)
LIST = Statement(
    "select id, due, kind, flags, reply_seq, body, extra from scheduled"
    " where chat_id = $1 and sender_id = $2 order by due, id limit $3",
    key="chat_id",
)
REMOVE = Statement(
    "delete from scheduled where chat_id = $1 and id = $2 and sender_id = $3 returning id",
    key="chat_id",
)
_DUE = "select chat_id, id from scheduled where due <= $1 order by due limit $2"
# On one PostgreSQL each worker passes over what another one holds; shards cannot lock together.
DUE = Statement(f"{_DUE} for update skip locked", key="chat_id", cold=True, one=_DUE)
_CLAIM = (
    "select chat_id, id, sender_id, kind, flags, reply_seq, media_id, body, extra::text, digest,"
    " waits_since from scheduled where {} and id = any($2::bigint[]) and due <= $3"
    " for update skip locked"
)
CLAIM = Statement(
    _CLAIM.format("chat_id = any($1::bigint[])"),
    key="chat_id",
    one=_CLAIM.format("chat_id = $1"),
    spread=(1, 2),
)
DELAY = Statement(
    "update scheduled set due = $3,"
    " waits_since = case when waits_since = 0 then due else waits_since end"
    " where chat_id = $1 and id = $2",
    key="chat_id",
)
DONE = Statement("delete from scheduled where chat_id = $1 and id = $2", key="chat_id")

log = logging.getLogger(__name__)


def natural_key(text: str) -> int:
    """The random_id of a message that the server makes: 63 bits of SHA-256, never 0."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1 or 1


class Schedule:
    """Keeps, lists, removes and fires scheduled messages."""

    def __init__(
        self,
        db: Database,
        chats: ChatStore,
        committer: Committer,
        aside: Aside,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        *,
        gate: WriteGate | None = None,
    ) -> None:
        self._gate = gate
        self._db = db
        self._chats = chats
        self._committer = committer
        self._aside = aside
        self._now_ms = now_ms

    def add(self, send: Send, due: int) -> Later:
        """Keep `send` until `due`; answers WillSend once that is durable."""
        now = self._now_ms()
        if not now < due <= now + AHEAD_MS:
            why = {"field": "schedule_at", "why": "not within the next 365 days"}
            raise Refused(ErrorCode.INVALID, why)
        return self._aside.ask(lambda: self._add(send, due))

    async def _add(self, send: Send, due: int) -> WillSend:
        number = natural_key(f"schedule:{send.device}:{send.random_id}")
        sender = (send.chat, number, due, send.account, send.device, send.random_id)
        content = (send.digest, send.kind, send.flags, send.reply, send.media, send.body)
        values = (*sender, *content, send.extra, self._now_ms(), PER_CHAT)
        async with self._db.transaction() as connection:
            seat = await connection.exec_driver_sql(SEAT.sql, (send.chat, send.account))
            if (seat.scalar() or 0) <= 0:
                raise Refused(ErrorCode.NO_CHAT)
            reply = await connection.exec_driver_sql(REPLY.sql, (send.chat, send.reply))
            if send.reply is not None and reply.scalar() is None:
                raise Refused(ErrorCode.REPLY_NOT_FOUND)
            answer = (await connection.exec_driver_sql(ADD.sql, values)).scalar_one()
        match answer:
            case 2:
                raise Refused(ErrorCode.IDEMPOTENCY_MISMATCH, {"seq": 0})
            case 3:
                raise Refused(ErrorCode.TOO_LARGE, {"field": "scheduled", "limit": PER_CHAT})
        return WillSend(str(number))

    async def scheduled(self, request: OfChat, caller: Caller) -> ScheduledMessages:
        """The caller's own, soonest first."""
        chat = chat_of(request.chat)
        membership = await self._chats.membership(chat, caller.account)
        if membership is None or membership.role <= 0:
            raise Refused(ErrorCode.NO_CHAT)
        rows = await self._rows(LIST, chat, caller.account, PER_CHAT)
        return ScheduledMessages([_message_of(row) for row in rows])

    async def unschedule(self, request: Unschedule, caller: Caller) -> Empty:
        """Nothing is sent after the answer; NOT_FOUND also where it was sent already."""
        chat, number = chat_of(request.chat), id_of(request.id, "id")
        if not await self._rows(REMOVE, chat, number, caller.account):
            raise Refused(ErrorCode.NOT_FOUND, {"what": "scheduled message"})
        return Empty()

    async def run(self) -> None:
        """Fire what is due, until cancelled."""
        while True:
            finished = 0
            try:
                finished = await self.fire()
            except (StoreDown, TimeoutError):
                log.warning("scheduled messages wait", extra={"retry_s": EVERY_S})
            except Exception:  # the root of a task
                log.exception("scheduled messages not sent")
            if finished < BATCH:
                await asyncio.sleep(EVERY_S)

    async def fire(self) -> int:
        """Send what is due now and not claimed by another worker; returns how many are finished.

        One that may not be sent yet is due again when it may: it must not stand before others. It
        is given up a week after the day that its sender chose.
        """
        finished = 0
        async with self._db.transaction() as connection:
            rows = await self._claimed(connection)
            answers = await self._send([_send_of(row) for row in rows]) if rows else []
            for row, answer in zip(rows, answers, strict=True):
                if isinstance(answer, Written) or _is_final(answer) or self._is_late(row[10]):
                    await connection.exec_driver_sql(DONE.sql, (row[0], row[1]))
                    finished += 1
                else:
                    again = self._now_ms() + _wait_ms(answer)
                    await connection.exec_driver_sql(DELAY.sql, (row[0], row[1], again))
        return finished

    async def _claimed(self, connection: AsyncConnection) -> Sequence[Any]:
        """What is due, locked until the transaction ends, soonest first."""
        now = self._now_ms()
        [(sql, values)] = DUE.calls(self._db.rendering, (now, BATCH))
        due: Sequence[Any] = (await connection.exec_driver_sql(sql, values)).fetchall()
        if not due:
            return []
        keys = [row[0] for row in due], [row[1] for row in due]
        found: list[Any] = []
        for sql, values in CLAIM.calls(self._db.rendering, (*keys, now)):
            found += (await connection.exec_driver_sql(sql, values)).fetchall()
        rows = {(row[0], row[1]): row for row in found}
        return [rows[key] for key in zip(*keys, strict=True) if key in rows]

    def _is_late(self, waits_since: int) -> bool:
        return 0 < waits_since < self._now_ms() - LAST_DAY_MS

    async def _send(self, sends: Sequence[Send]) -> list[Written | Refused]:
        """The answers in order. The rows' locks are on another connection than the commit."""
        answers: dict[int, Written | Refused] = {}
        complete = asyncio.Event()

        def keep(number: int, answer: Written | Refused) -> None:
            answers[number] = answer
            if len(answers) == len(sends):
                complete.set()

        for number, send in enumerate(sends):
            try:
                if self._gate is not None:  # it may have been closed since
                    self._gate.check(chat=send.chat, account=send.account)
                self._committer.append(send, partial(keep, number))
            except Refused as refused:
                keep(number, refused)
        async with asyncio.timeout(ANSWER_S):
            await complete.wait()
        return [answers[number] for number in range(len(sends))]

    async def _rows(self, statement: Statement, *values: object) -> Sequence[Any]:
        return await self._db.rows(statement, *values)


def _is_final(refused: Refused) -> bool:
    """Else the row stays and its turn comes again."""
    return not refused.temporary and refused.code != ErrorCode.SLOW_MODE


def _wait_ms(refused: Refused) -> int:
    """As long as the refusal says, at least a second."""
    return max(int(refused.details.get("retry_after_ms", 0)), int(EVERY_S * 1000))


def _send_of(row: Sequence[Any]) -> Send:
    chat, number, sender, kind, flags, reply, media, body, extra, digest, _ = row
    return Send(
        chat=ChatId(chat),
        account=sender,
        device=NO_DEVICE,
        random_id=natural_key(f"sched:{number}"),
        digest=digest,
        kind=kind,
        flags=flags,
        reply=reply,
        media=media,
        body=body,
        extra=extra,
    )


def _message_of(row: Sequence[Any]) -> ScheduledMessage:
    number, due, kind, flags, reply, body, extra = row
    return ScheduledMessage(
        id=str(number),
        at=due,
        k=KIND_NAMES[kind],
        text=body,
        ents=msgspec.convert(extra, Extra).ents if extra else None,
        reply=reply,
        silent=bool(flags & MessageFlag.SILENT),
    )

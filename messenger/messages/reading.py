"""Read and delivered cursors: gathered for a moment, merged by max, moved in a few statements.

The account's own cursor (`member`) is the truth for unread; the chat's copy (`membership`, small
chats) is for ticks and `readers`. An answer is given when the own cursor is durable. A message
from one's own account moves the cursor like a read of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from msgspec import Struct

from messenger.db.engine import StoreDown
from messenger.feature import Answer, Caller, Later, Refused, Shed, Sheds, sheds_nothing
from messenger.ids import AccountId, ChatId
from messenger.log.sends import Written
from messenger.messages.cursors import CursorStore, Receipts
from messenger.messages.objects import chat_of
from messenger.messages.protocol import Empty, MoveCursors, Moved
from messenger.wire.codes import ErrorCode

WINDOW_S = 0.2  # a person who scrolls moves the cursor several times a second
SHED_WINDOW_S = 1.0  # under load five times as many moves share a statement; none is lost
OWN_WINDOW_S = 1.0  # nobody waits for the cursor that an own message moves
MOVES = 500  # of one flush
WAITING = 5_000  # calls; beyond it OVERLOADED. Own sends are bounded by the committer's queue
RETRY_S = 1.0
LAST_FLUSH_S = 2.0

log = logging.getLogger(__name__)

Cursor = tuple[AccountId, ChatId]


class _Call(Struct, frozen=True):
    account: AccountId
    cursors: dict[ChatId, int]
    later: Later


class Cursors:
    """The rpcs `messages.read` and `messages.delivered`, and the task behind them."""

    def __init__(
        self,
        store: CursorStore,
        receipts: Receipts,
        *,
        window_s: float = WINDOW_S,
        is_shedding: Sheds = sheds_nothing,
    ) -> None:
        self._store = store
        self._receipts = receipts
        self._window_s = window_s
        self._is_shedding = is_shedding
        self._reads: list[_Call] = []
        self._deliveries: list[_Call] = []
        self._own: dict[Cursor, int] = {}
        self._wake = asyncio.Event()
        self._due = asyncio.Event()
        self._timed = False

    def read(self, request: MoveCursors, caller: Caller) -> Later:
        """Answers the account's aev once the cursors are durable."""
        return self._queue(self._reads, request, caller)

    def delivered(self, request: MoveCursors, caller: Caller) -> Later:
        """Small chats only; ignored in big ones."""
        return self._queue(self._deliveries, request, caller)

    def own_sends(self, batch: Sequence[Written]) -> None:
        """For the committer's `on_batch`: what one writes one has read."""
        for written in batch:
            key = written.send.account, written.send.chat
            self._own[key] = max(written.seq, self._own.get(key, 0))
        self._woken()

    def sent_before(self, chat: ChatId, newest: Iterable[tuple[AccountId, int]]) -> None:
        """The same for messages whose node died before it moved their senders' cursors."""
        for account, seq in newest:
            self._own[account, chat] = max(seq, self._own.get((account, chat), 0))
        self._woken()

    def _queue(self, calls: list[_Call], request: MoveCursors, caller: Caller) -> Later:
        if len(calls) >= WAITING:
            raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": 1_000})
        cursors: dict[ChatId, int] = {}
        for cursor in request.cursors:
            chat = chat_of(cursor.chat, "cursors")
            cursors[chat] = max(cursor.seq, cursors.get(chat, 0))
        call = _Call(caller.account, cursors, Later())
        calls.append(call)
        if not self._timed:
            self._timed = True
            window_s = SHED_WINDOW_S if self._is_shedding(Shed.RECEIPTS) else self._window_s
            asyncio.get_running_loop().call_later(window_s, self._due.set)
        self._woken()
        return call.later

    def _woken(self) -> None:
        self._wake.set()
        if len(self._own) + len(self._reads) + len(self._deliveries) >= MOVES:
            self._due.set()

    async def run(self) -> None:
        """Flush until cancelled; then once more what is waiting."""
        try:
            while True:
                await self._wake.wait()
                await self._gather()
                await self.flush()
        finally:
            await self._flush_last()

    async def _flush_last(self) -> None:
        try:
            async with asyncio.timeout(LAST_FLUSH_S):
                while self._own or self._reads or self._deliveries:
                    await self.flush()
        except TimeoutError:
            log.warning("cursors left behind", extra={"own": len(self._own)})

    async def _gather(self) -> None:
        try:
            async with asyncio.timeout(OWN_WINDOW_S):
                await self._due.wait()
        except TimeoutError:
            pass  # only own sends were waiting

    async def flush(self) -> None:
        """Move what is waiting now, at most about `MOVES` cursors of each sort."""
        reads, own = _taken(self._reads), _taken_own(self._own)
        deliveries = _taken(self._deliveries)
        self._timed = False
        self._due.clear()
        self._wake.clear()
        if self._own or self._reads or self._deliveries:
            self._wake.set()
            self._due.set()
        await self._step(partial(self._move_reads, reads, own), reads, own)
        await self._step(partial(self._move_deliveries, deliveries), deliveries, {})

    async def _step(
        self, work: Callable[[], Awaitable[None]], calls: Sequence[_Call], own: dict[Cursor, int]
    ) -> None:
        """`work` settles all of `calls` as the last thing it does, or none."""
        try:
            await work()
        except StoreDown:
            log.warning("cursors wait", extra={"retry_s": RETRY_S})
            _settle(calls, Refused(ErrorCode.OVERLOADED, {"retry_after_ms": 1_000}))
            self._again(own)
            await asyncio.sleep(RETRY_S)
        except Exception:  # the root of a background task: it outlives one bad batch
            log.exception("cursors not moved")
            _settle(calls, Refused(ErrorCode.INTERNAL))
            await self._one_by_one(own)

    async def _one_by_one(self, own: dict[Cursor, int]) -> None:
        """Nobody repeats the own cursors of a bad batch: only the bad one is dropped."""
        for key, seq in own.items():
            try:
                await self._move_reads([], {key: seq})
            except StoreDown:
                self._again({key: seq})
            except Exception:
                log.exception("own cursor dropped", extra={"chat": key[1]})

    async def _move_reads(self, calls: Sequence[_Call], own: dict[Cursor, int]) -> None:
        wanted = dict(own)
        for call in calls:
            for chat, seq in call.cursors.items():
                wanted[call.account, chat] = max(seq, wanted.get((call.account, chat), 0))
        if not wanted:
            return
        moves = await self._store.move(wanted)
        self._receipts.tell_own(moves.moved)
        await self._receipts.copy(moves.small)
        for call in calls:
            if any((call.account, chat) in moves.known for chat in call.cursors):
                call.later.settle(Moved(moves.aevs[call.account]))
            else:
                call.later.settle(Refused(ErrorCode.NO_CHAT))

    async def _move_deliveries(self, calls: Sequence[_Call]) -> None:
        if not calls:
            return
        wanted: dict[Cursor, int] = {}
        for call in calls:
            for chat, seq in call.cursors.items():
                wanted[call.account, chat] = max(seq, wanted.get((call.account, chat), 0))
        known = await self._receipts.deliver(wanted)
        for call in calls:
            member = any((call.account, chat) in known for chat in call.cursors)
            call.later.settle(Empty() if member else Refused(ErrorCode.NO_CHAT))

    def _again(self, own: dict[Cursor, int]) -> None:
        for key, seq in own.items():
            self._own[key] = max(seq, self._own.get(key, 0))
        self._wake.set()


def _taken(calls: list[_Call]) -> list[_Call]:
    """The first calls with up to `MOVES` cursors, at least one call; removed from `calls`."""
    moves = 0
    for number, call in enumerate(calls):
        moves += len(call.cursors)
        if moves > MOVES and number:
            taken, calls[:] = calls[:number], calls[number:]
            return taken
    taken, calls[:] = calls[:], []
    return taken


def _taken_own(own: dict[Cursor, int]) -> dict[Cursor, int]:
    keys = list(own)[:MOVES]
    return {key: own.pop(key) for key in keys}


def _settle(calls: Iterable[_Call], answer: Answer | Refused) -> None:
    for call in calls:
        call.later.settle(answer)

"""Forwarding: a new message that says where its text was first said.

The first author stays named through any number of forwards, unless the forwarder hides it; the
chat is named only where anybody could read it.
"""

from collections.abc import Sequence
from functools import partial

import msgspec

from messenger.feature import Caller, Later, Refused, WriteGate
from messenger.ids import ChatId
from messenger.limits import Limits
from messenger.log.committer import Committer
from messenger.log.events import ChatFlag, MessageFlag
from messenger.log.sends import Send, Written
from messenger.log.statuses import send_digest
from messenger.log.store import ChatStore, MessageRow
from messenger.messages.objects import Kind, chat_of, extra_text, id_of
from messenger.messages.protocol import (
    Extra,
    Forward,
    Forwarded,
    ForwardMessages,
    NotForwarded,
    OfChat,
    Sent,
)
from messenger.messages.sending import sent
from messenger.messages.store import MessageStore, floor_of
from messenger.wire.codes import ErrorCode

CHARGED_MOST = 10  # of `msg.chat`: one large forward is no flood, a second one at once is


class Forwarding:
    """The rpc `messages.forward`."""

    def __init__(
        self,
        store: MessageStore,
        chats: ChatStore,
        committer: Committer,
        limits: Limits,
        gate: WriteGate | None = None,
    ) -> None:
        self._store = store
        self._chats = chats
        self._committer = committer
        self._limits = limits
        self._gate = gate

    async def forward(self, request: ForwardMessages, caller: Caller) -> Later:
        """Each message is sent or refused on its own; a repeat finds those that were sent."""
        source, to = chat_of(request.source, "from"), chat_of(request.to, "to")
        keys = [id_of(key, "random_ids") for key in request.random_ids]
        if len(keys) != len(request.seqs) or len(set(keys)) != len(keys):
            why = {"field": "random_ids", "why": "one per message, each its own"}
            raise Refused(ErrorCode.INVALID, why)
        if len(keys) > 1:  # one was taken before the handler was called
            self._limits.check_now("msg.account", caller, request, cost=len(keys) - 1)
        charged = min(len(keys), CHARGED_MOST)
        self._limits.check_now("msg.chat", caller, OfChat(request.to), cost=charged)
        if self._gate is not None:
            self._gate.check(chat=to, account=caller.account)
        standing = await self._store.member(source, caller.account)
        if standing.flags & ChatFlag.PROTECTED:
            raise Refused(ErrorCode.PROTECTED_CONTENT)
        view = await self._store.view(caller.account, source)
        asked = set(request.seqs)
        hidden = await self._store.hidden(caller.account, [(source, seq) for seq in asked])
        rows = {
            row.seq: row
            for row in await self._chats.messages(source, asked)
            if row.seq > floor_of(standing, view)
            and (source, row.seq) not in hidden
            and _is_forwardable(row)
        }
        public = bool(standing.flags & ChatFlag.PUBLIC)
        sends: list[Send | Refused] = []
        for seq, key in zip(request.seqs, keys, strict=True):
            row = rows.get(seq)
            if row is None:
                sends.append(Refused(ErrorCode.NO_MESSAGE))
                continue
            fwd = _forward(row, source, public=public, hide=request.hide_sender)
            sends.append(_send(row, fwd, to, key, caller, f"fwd:{source}:{seq}"))
        return self._append(sends)

    def _append(self, sends: Sequence[Send | Refused]) -> Later:
        later = Later()
        answers: dict[int, Sent | NotForwarded] = {}

        def keep(number: int, answer: Written | Refused) -> None:
            answers[number] = _refused(answer) if isinstance(answer, Refused) else sent(answer)
            if len(answers) == len(sends):
                later.settle(Forwarded([answers[number] for number in range(len(sends))]))

        for number, send in enumerate(sends):
            if isinstance(send, Refused):
                keep(number, send)
                continue
            try:
                self._committer.append(send, partial(keep, number))
            except Refused as refused:
                keep(number, refused)
        return later


def _is_forwardable(row: MessageRow) -> bool:
    return row.kind == Kind.TEXT and not row.flags & MessageFlag.DELETED


def _send(row: MessageRow, fwd: Forward, to: ChatId, key: int, caller: Caller, origin: str) -> Send:
    extra = msgspec.convert(row.extra, Extra) if row.extra else Extra()
    return Send(
        chat=to,
        account=caller.account,
        device=caller.device,
        random_id=key,
        # of the origin, not of the text: a repeat after the original was edited is still a repeat
        digest=send_digest(row.kind, origin, None, None, None),
        kind=row.kind,
        flags=int(MessageFlag.FORWARD),
        reply=None,
        media=None,
        body=row.body,
        extra=extra_text(Extra(ents=extra.ents, fwd=fwd)),
    )


def _forward(row: MessageRow, source: ChatId, *, public: bool, hide: bool) -> Forward:
    extra = msgspec.convert(row.extra, Extra) if row.extra else Extra()
    first = extra.fwd or Forward(
        at=row.at,
        account=str(row.sender),
        chat=str(source) if public else None,
        seq=row.seq if public else None,
    )
    return Forward(at=first.at) if hide else first


def _refused(refused: Refused) -> NotForwarded:
    return NotForwarded({"code": int(refused.code), "message": refused.message})

"""Forwarding: a new message that says where its text was first said.

The first author stays named through any number of forwards, unless the forwarder hides it; the
chat is named only where anybody could read it.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import msgspec

from messenger.feature import Caller, Later, Refused, WriteGate
from messenger.ids import ChatId
from messenger.limits import Limits
from messenger.log.committer import Committer
from messenger.log.events import CHANNEL, ChatFlag, MessageFlag
from messenger.log.sends import Send, Written
from messenger.log.statuses import send_digest
from messenger.log.store import ChatStore, MessageRow, SentBefore
from messenger.messages.objects import Kind, chat_of, extra_text, id_of
from messenger.messages.posts import Posts
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
from messenger.messages.store import MessageStore, Standing, floor_of
from messenger.wire.codes import ErrorCode

CHARGED_MOST = 10  # of `msg.chat`: one large forward is no flood, a second one at once is

Origin = tuple[ChatId, int]
"""The channel's post that is forwarded, however often it was before."""


class Forwarding:
    """The rpc `messages.forward`."""

    def __init__(
        self,
        store: MessageStore,
        chats: ChatStore,
        committer: Committer,
        limits: Limits,
        gate: WriteGate | None = None,
        posts: Posts | None = None,
    ) -> None:
        self._posts = posts
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
        # before the source is looked at: a repeat may come when it is deleted or out of sight
        known = await self._chats.sent_before(to, caller.device, keys)
        asked = [seq for seq, key in zip(request.seqs, keys, strict=True) if key not in known]
        forwards = await self._forwards(request, source, asked, caller) if asked else {}
        sends: list[Send | Sent | Refused] = []
        origins: dict[int, Origin | None] = {}
        for seq, key in zip(request.seqs, keys, strict=True):
            digest = _digest(source, seq)
            if key in known:
                sends.append(_again(known[key], digest))
            elif seq in forwards:
                row, fwd, origins[key] = forwards[seq]
                sends.append(_send(row, fwd, to, key, caller, digest))
            else:
                sends.append(Refused(ErrorCode.NO_MESSAGE))
        return self._append(sends, origins)

    async def _forwards(
        self, request: ForwardMessages, source: ChatId, asked: Sequence[int], caller: Caller
    ) -> dict[int, tuple[MessageRow, Forward, Origin | None]]:
        """Those of `asked` that the caller sees and may take with them."""
        standing = await self._store.member(source, caller.account)
        if standing.flags & ChatFlag.PROTECTED:
            raise Refused(ErrorCode.PROTECTED_CONTENT)
        view = await self._store.view(caller.account, source)
        hidden = await self._store.hidden(caller.account, [(source, seq) for seq in asked])
        public = bool(standing.flags & ChatFlag.PUBLIC)
        rows = [
            row
            for row in await self._chats.messages(source, asked)
            if row.seq > floor_of(standing, view)
            and (source, row.seq) not in hidden
            and _is_forwardable(row)
        ]
        found = {}
        for row in rows:
            fwd = _forward(row, source, standing, public=public, hide=request.hide_sender)
            found[row.seq] = row, fwd, _origin(fwd, source, row.seq, standing)
        return found

    def _append(
        self, sends: Sequence[Send | Sent | Refused], origins: Mapping[int, Origin | None]
    ) -> Later:
        later = Later()
        answers: dict[int, Sent | NotForwarded] = {}

        def keep(number: int, answer: Written | Sent | Refused) -> None:
            answers[number] = _answer(answer)
            if isinstance(answer, Written) and not answer.dup and self._posts is not None:
                origin = origins.get(answer.send.random_id)
                if origin is not None:
                    self._posts.forwarded(*origin)
            if len(answers) == len(sends):
                later.settle(Forwarded([answers[number] for number in range(len(sends))]))

        for number, send in enumerate(sends):
            if not isinstance(send, Send):
                keep(number, send)
                continue
            try:
                self._committer.append(send, partial(keep, number))
            except Refused as refused:
                keep(number, refused)
        return later


def _is_forwardable(row: MessageRow) -> bool:
    return row.kind == Kind.TEXT and not row.flags & MessageFlag.DELETED


def _digest(source: ChatId, seq: int) -> int:
    """Of the origin, not of the text: a repeat after the original was edited is still a repeat."""
    return send_digest(Kind.TEXT, f"fwd:{source}:{seq}", None, None, None)


def _again(known: SentBefore, digest: int) -> Sent | Refused:
    if known.digest != digest:
        return Refused(ErrorCode.IDEMPOTENCY_MISMATCH, {"seq": known.seq})
    return Sent(seq=known.seq, ev=known.ev, at=known.at, dup=True)


def _send(row: MessageRow, fwd: Forward, to: ChatId, key: int, caller: Caller, digest: int) -> Send:
    extra = msgspec.convert(row.extra, Extra) if row.extra else Extra()
    return Send(
        chat=to,
        account=caller.account,
        device=caller.device,
        random_id=key,
        digest=digest,
        kind=row.kind,
        flags=int(MessageFlag.FORWARD),
        reply=None,
        media=None,
        body=row.body,
        extra=extra_text(Extra(ents=extra.ents, fwd=fwd, preview=extra.preview)),
    )


def _forward(
    row: MessageRow, source: ChatId, standing: Standing, *, public: bool, hide: bool
) -> Forward:
    """Of a channel's post the author stays unknown unless the post is signed."""
    extra = msgspec.convert(row.extra, Extra) if row.extra else Extra()
    post = standing.chat_kind == CHANNEL
    signed = extra.signed if post else None
    author = signed.account if signed is not None else None
    first = extra.fwd or Forward(
        at=row.at,
        account=author if post else str(row.sender),
        chat=str(source) if public else None,
        seq=row.seq if public else None,
        name=signed.name if signed is not None else None,
    )
    return Forward(at=first.at) if hide else first


def _answer(answer: Written | Sent | Refused) -> Sent | NotForwarded:
    match answer:
        case Refused():
            return NotForwarded({"code": int(answer.code), "message": answer.message})
        case Written():
            return sent(answer)
        case _:
            return answer


def _origin(fwd: Forward, source: ChatId, seq: int, standing: Standing) -> Origin | None:
    """The post whose forwards this one counts among."""
    if fwd.chat is not None and fwd.seq is not None:
        return chat_of(fwd.chat), fwd.seq
    return (source, seq) if standing.chat_kind == CHANNEL else None

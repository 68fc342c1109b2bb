"""Posts that say who wrote them: the author is looked up before the commit, in order.

Only these sends wait for a look into the database. They go through one queue and one task, so
that the posts of a session keep their order; what the look-up knows already costs nothing.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec
from msgspec import Struct

from messenger.db.engine import StoreDown
from messenger.feature import Later, Refused
from messenger.ids import ChatId
from messenger.log.sends import Send
from messenger.messages.objects import extra_text
from messenger.messages.posts import Posts
from messenger.messages.protocol import Extra
from messenger.wire.codes import ErrorCode

WAITING = 1_000  # a second or more of look-ups; beyond it OVERLOADED
RETRY_MS = 1_000

log = logging.getLogger(__name__)


class _Unsigned(Struct, frozen=True):
    send: Send
    asked: bool
    go_on: Callable[[Send], Later]
    later: Later


class Signing:
    """Gives sends their signature, then hands them on."""

    def __init__(self, posts: Posts) -> None:
        self._posts = posts
        self._waiting: asyncio.Queue[_Unsigned] = asyncio.Queue(WAITING)

    def is_due(self, chat: ChatId) -> bool:
        """Are posts of this chat known to be signed."""
        return self._posts.signs(chat)

    def sign(self, send: Send, go_on: Callable[[Send], Later], *, asked: bool) -> Later:
        """Answers what `go_on` answers for the signed message. `asked`: by who sends it."""
        later = Later()
        try:
            self._waiting.put_nowait(_Unsigned(send, asked, go_on, later))
        except asyncio.QueueFull:
            raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": RETRY_MS}) from None
        return later

    async def run(self) -> None:
        """Sign until cancelled."""
        while True:
            one = await self._waiting.get()
            try:
                signed = await self._signed(one.send, asked=one.asked)
                one.go_on(signed).then(one.later.settle)
            except Refused as refused:
                one.later.settle(refused)
            except StoreDown:
                one.later.settle(Refused(ErrorCode.OVERLOADED, {"retry_after_ms": RETRY_MS}))
            except Exception:  # the root of a task: it outlives a bug in one post
                log.exception("post not signed")
                one.later.settle(Refused(ErrorCode.INTERNAL))

    async def _signed(self, send: Send, *, asked: bool) -> Send:
        signature = await self._posts.signature(send.chat, send.account, asked=asked)
        if signature is None:
            return send
        extra = msgspec.json.decode(send.extra, type=Extra) if send.extra else Extra()
        # the digest stays that of what was said: a repeat under a new name is still a repeat
        text = extra_text(msgspec.structs.replace(extra, signed=signature))
        return msgspec.structs.replace(send, extra=text)

"""Coming and going: how many channels one may own, and how fast people may come into one.

A bought crowd comes faster than people do. The guard lets in as many as real news would bring and
sends the others away for a moment, most of them before anything is asked of the database: a flood
on one channel must not be felt in any other chat. Whoever is refused is told the rule and when to
try again; nobody is turned away for good.
"""

from collections.abc import Callable

from channels.facts import ChannelFacts, is_verified
from channels.sanctions import Sanctioned
from channels.store.follows import FollowStore
from messenger.chats.rules import JoinSource
from messenger.chats.store.chats import ChatRow
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId
from messenger.limits import Limits
from messenger.wire.codes import ErrorCode

OWNED_MAX = 50  # channels of one account, as many as an agency has desks
PUBLIC_MAX = 10  # of them with a username: names are scarce
DAY_MS = 86_400_000


class Following:
    """The core's `ChannelRules`."""

    def __init__(
        self,
        store: FollowStore,
        facts: ChannelFacts,
        limits: Limits,
        now_ms: Callable[[], int],
        in_force: Sanctioned,
        on_changed: Callable[[ChatId], None],
    ) -> None:
        self._in_force = in_force
        self._store = store
        self._facts = facts
        self._limits = limits
        self._now_ms = now_ms
        self._on_changed = on_changed
        self._days: dict[tuple[ChatId, int], dict[str, int]] = {}

    async def check_create(self, account: AccountId, *, public: bool) -> None:
        owned = await self._store.owned(account)
        if len(owned) >= OWNED_MAX:
            limit = {"rule": "channels.owned", "limit": OWNED_MAX}
            raise Refused(ErrorCode.TOO_MANY_CHATS, limit)
        if public:
            await self._check_names(owned)

    async def check_public(self, account: AccountId) -> None:
        await self._check_names(await self._store.owned(account))

    def check_try(self, what: str) -> None:
        """A bucket of its own, far wider: else dead links would keep people out of a channel."""
        try:
            self._limits.check_now("join.tries", what)
        except Refused as refused:
            details = {**refused.details, "why": "many come in at once"}
            raise Refused(ErrorCode.JOIN_GUARD, details) from None

    def check_join(self, row: ChatRow, caller: Caller) -> None:
        """Per node: n nodes let in n times as many."""
        self._in_force.check_join(row.chat)
        verified = is_verified(row, self._now_ms())
        rule = "join.verified" if verified else "join.channel"
        try:
            self._limits.check_now("join.net", caller, row)
            self._limits.check_now(rule, str(row.chat))
        except Refused as refused:
            why = "many come in from one network" if refused.details["rule"] == "join.net" else None
            details = {**refused.details, "why": why or "many come in at once"}
            raise Refused(ErrorCode.JOIN_GUARD, details) from None

    def joined(self, chat: ChatId, source: JoinSource, count: int = 1) -> None:
        if count:
            self._count(chat, _COLUMNS[source], count)

    def left(self, chat: ChatId) -> None:
        self._count(chat, "lost", 1)

    def changed(self, chat: ChatId) -> None:
        self._facts.forget(chat)
        self._on_changed(chat)

    def take_days(self) -> dict[tuple[ChatId, int], dict[str, int]]:
        """What came and left since the last call, by channel and UTC day."""
        taken, self._days = self._days, {}
        return taken

    async def _check_names(self, owned: list[ChatId]) -> None:
        if await self._store.named(owned) >= PUBLIC_MAX:
            limit = {"rule": "channels.public", "limit": PUBLIC_MAX}
            raise Refused(ErrorCode.TOO_MANY_CHATS, limit)

    def _count(self, chat: ChatId, column: str, count: int) -> None:
        day = self._days.setdefault((chat, self._now_ms() // DAY_MS), {})
        day[column] = day.get(column, 0) + count


_COLUMNS: dict[JoinSource, str] = {
    "link": "by_link",
    "name": "by_name",
    "request": "by_request",
    "added": "by_admin",
}

"""What the feature `channels` decides where a chat is one of its own.

The core makes, fills and empties chats of every kind; it asks and tells through this, and works
without it: then no channel can be made.
"""

from typing import Literal, Protocol

from messenger.chats.store.chats import ChatRow
from messenger.feature import Caller
from messenger.ids import AccountId, ChatId

JoinSource = Literal["link", "name", "request", "added"]


class ChannelRules(Protocol):
    """Asked before, told after."""

    async def check_create(self, account: AccountId, *, public: bool) -> None:
        """Refused(TOO_MANY_CHATS) where the account owns as many channels as it may."""
        ...

    async def check_public(self, account: AccountId) -> None:
        """The same for one more channel with a username."""
        ...

    def check_try(self, what: str) -> None:
        """Refused(JOIN_GUARD) before it is looked up what this chat or name is."""
        ...

    def check_join(self, row: ChatRow, caller: Caller) -> None:
        """Refused(JOIN_GUARD) where more come in than people would."""
        ...

    def joined(self, chat: ChatId, source: JoinSource, count: int = 1) -> None: ...

    def left(self, chat: ChatId) -> None: ...

    def changed(self, chat: ChatId) -> None:
        """Its title, name, badge or end: what people find it by."""
        ...

"""What the feature `channels` adds to messages that are posts; without it nothing is asked."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from messenger.ids import AccountId, ChatId
from messenger.messages.protocol import Signature


class Posts(Protocol):
    """Asked by the messages of every chat; answers for channels."""

    def signs(self, chat: ChatId) -> bool:
        """Is it known that posts of this chat are signed; never awaits."""
        ...

    async def signature(self, chat: ChatId, account: AccountId, *, asked: bool) -> Signature | None:
        """What a post of this account says of its author; None where it says nothing."""
        ...

    async def allows(self, chat: ChatId, emoji: str) -> bool:
        """May posts of this chat be reacted to with it."""
        ...

    async def views(self, chat: ChatId, seqs: Sequence[int]) -> Mapping[int, int]:
        """Subscribers who have seen each post; empty for other chats."""
        ...

    def forwarded(self, chat: ChatId, seq: int) -> None:
        """A message was forwarded to another chat."""
        ...

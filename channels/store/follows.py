"""Who owns how many channels: the account's side by account_id, the chats' by chat_id."""

from collections.abc import Sequence

from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId, ChatId

OWNED = Statement(
    "select chat_id from member where account_id = $1 and kind = 3 and role = 4 and flags & 4 = 0",
    key="account_id",
)
NAMED = Statement(
    "select count(*) from chat where chat_id = any($1::bigint[]) and username is not null"
    " and flags & 4 = 0",
    key="chat_id",
)


class FollowStore:
    """Reads only."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def owned(self, account: AccountId) -> list[ChatId]:
        """Channels of which the account is the owner."""
        return [row[0] for row in await self._db.rows(OWNED, account)]

    async def named(self, chats: Sequence[ChatId]) -> int:
        """How many of `chats` have a username."""
        return int((await self._db.rows(NAMED, list(chats)))[0][0]) if chats else 0

"""The directory of public channels: a coordinator-local copy of what they are found by."""

from collections.abc import Collection, Sequence

from msgspec import Struct

from channels.lookalike import Candidate
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import ChatId

CANDIDATES = 60  # looked at for twenty hits: verified ones and the largest are among them

PUT = Statement(
    "insert into channel_directory as d (chat_id, username, title_fold, skeleton, tokens,"
    " category, members, verified, hidden) values ($1, $2, $3, $4, $5::int[], $6, $7, $8, $9)"
    " on conflict (chat_id) do update set username = excluded.username,"
    " title_fold = excluded.title_fold, skeleton = excluded.skeleton, tokens = excluded.tokens,"
    " category = excluded.category, members = excluded.members, verified = excluded.verified,"
    " hidden = excluded.hidden",
    key="chat_id",
    cold=True,
)
DROP = Statement(
    "delete from channel_directory where chat_id = any($1::bigint[])", key="chat_id", cold=True
)
_COLUMNS = (
    "select chat_id, username, title_fold, skeleton, members, verified from channel_directory"
    " where not hidden and "
)
FIND = Statement(
    _COLUMNS + "(tokens @> $1::int[] or username like $2 or title_fold like $3 or skeleton = $4)"
    " order by verified desc, members desc, chat_id limit $5",
    key="chat_id",
    cold=True,
)
IN_CATEGORY = Statement(
    _COLUMNS + "category = $1 order by verified desc, members desc, chat_id limit $2",
    key="chat_id",
    cold=True,
)
NAMES = Statement(
    "select name_fold, target_id from username where kind = 2 and name_fold > $1"
    " and tombstone_until = 0 order by name_fold limit $2",
    key="name_fold",
    cold=True,
)
LISTED = Statement(
    "select chat_id from channel_directory where chat_id > $1 order by chat_id limit $2",
    key="chat_id",
    cold=True,
)


class Listing(Struct, frozen=True):
    """A channel as the directory keeps it."""

    chat: ChatId
    username: str
    title_fold: str
    skeleton: str
    tokens: Sequence[int]
    category: str
    members: int
    verified: bool
    hidden: bool


class DirectoryStore:
    """A copy: whatever is wrong in it is right after the next look at the channel."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def put(self, listing: Listing) -> None:
        one = listing
        await self._db.rows(
            PUT,
            one.chat,
            one.username,
            one.title_fold,
            one.skeleton,
            list(one.tokens),
            one.category,
            one.members,
            one.verified,
            one.hidden,
        )

    async def drop(self, chats: Collection[ChatId]) -> None:
        if chats:
            await self._db.rows(DROP, list(chats))

    async def find(
        self, tokens: Sequence[int], username: str, title: str, skeleton: str
    ) -> list[Candidate]:
        """By all words, by the beginning of name or title, or by what the name looks like."""
        values = (list(tokens), _start(username), _start(title), skeleton)
        return [Candidate(*row) for row in await self._db.rows(FIND, *values, CANDIDATES)]

    async def in_category(self, category: str) -> list[Candidate]:
        return [Candidate(*row) for row in await self._db.rows(IN_CATEGORY, category, CANDIDATES)]

    async def names(self, after: str, limit: int) -> list[tuple[str, ChatId]]:
        """Usernames of chats, by name."""
        return [(row[0], row[1]) for row in await self._db.rows(NAMES, after, limit)]

    async def listed(self, after: ChatId, limit: int) -> list[ChatId]:
        """Channels of the directory, by id."""
        return [row[0] for row in await self._db.rows(LISTED, after, limit)]


def _start(text: str) -> str:
    """A pattern of `like`; `_` is a letter of names and must not mean any letter."""
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, f"\\{sign}")
    return f"{text}%"

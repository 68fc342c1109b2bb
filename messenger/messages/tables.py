"""What hangs on a message: key C = chat_id, except `hidden` and `mention`, key A = account_id."""

from sqlalchemy import BigInteger, Column, Index, Integer, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import ARRAY

from messenger.db.columns import big, json, key, number
from messenger.db.engine import metadata

reaction = Table(
    "reaction",
    metadata,
    key("chat_id"),
    key("seq", Integer),
    key("account_id"),
    Column("emoji", Text, nullable=False),
    big("at"),
)

post_stat = Table(
    "post_stat",
    metadata,
    key("chat_id"),
    key("seq", Integer),
    number("forwards"),
    number("reach"),
    json("reactions"),
)

hidden = Table(
    "hidden",
    metadata,
    key("account_id"),
    key("chat_id"),
    key("seq", Integer),
)

mention = Table(
    "mention",
    metadata,
    key("account_id"),
    key("chat_id"),
    key("seq", Integer),
    big("at"),
)

scheduled = Table(
    "scheduled",
    metadata,
    key("chat_id"),
    key("id"),
    Column("due", BigInteger, nullable=False),
    Column("sender_id", BigInteger, nullable=False),
    Column("device_id", BigInteger, nullable=False),
    Column("random_id", BigInteger, nullable=False),
    Column("digest", Integer, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    number("flags"),
    Column("reply_seq", Integer),
    Column("media_id", BigInteger),
    Column("body", Text),
    json("extra"),
    big("created_at"),
    big("waits_since"),
    Index("scheduled_due", "due"),
    Index("scheduled_sender", "sender_id"),
)

message_index = Table(
    "message_index",
    metadata,
    key("chat_id"),
    key("seq", Integer),
    Column("tokens", ARRAY(Integer), nullable=False),
    Index("message_index_tokens", "tokens", postgresql_using="gin"),
)

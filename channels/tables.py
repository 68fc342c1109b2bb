"""Tables of channels: key C = chat_id; directory, moderators and sanctions are local."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql import false

from messenger.db.columns import big, json, key, number, small, words
from messenger.db.engine import metadata

channel_view = Table(
    "channel_view",
    metadata,
    key("chat_id"),
    key("seq", Integer),
    number("d"),
    postgresql_with={"fillfactor": 70},
)

channel_view_block = Table(
    "channel_view_block",
    metadata,
    key("chat_id"),
    key("block", Integer),
    big("d"),
    postgresql_with={"fillfactor": 70},
)

channel_offer = Table(
    "channel_offer",
    metadata,
    key("chat_id"),
    Column("account_id", BigInteger, nullable=False),
    Column("by_id", BigInteger, nullable=False),
    big("until"),
)

channel_log = Table(
    "channel_log",
    metadata,
    key("chat_id"),
    Column("n", BigInteger, Identity(always=False), primary_key=True),
    big("at"),
    Column("actor_id", BigInteger, nullable=False),
    Column("act", Text, nullable=False),
    Column("account_id", BigInteger),
    json("payload"),
)

channel_day = Table(
    "channel_day",
    metadata,
    key("chat_id"),
    key("day", Integer),
    number("members"),
    number("lost"),
    number("by_link"),
    number("by_name"),
    number("by_request"),
    number("by_admin"),
)

channel_curve = Table(
    "channel_curve",
    metadata,
    key("chat_id"),
    key("seq", Integer),
    key("age_s", Integer),
    number("views"),
)

channel_delivery = Table(
    "channel_delivery",
    metadata,
    key("chat_id"),
    key("seq", Integer),
    key("within_ms", Integer),
    number("readers"),
)

channel_directory = Table(
    "channel_directory",
    metadata,
    key("chat_id"),
    Column("username", Text, nullable=False),
    words("title_fold"),
    words("skeleton"),
    Column("tokens", ARRAY(Integer), nullable=False),
    words("category"),
    number("members"),
    Column("verified", Boolean, nullable=False, server_default=false()),
    Column("hidden", Boolean, nullable=False, server_default=false()),
    Index("channel_directory_tokens", "tokens", postgresql_using="gin"),
    Index("channel_directory_category", "category", "verified", "members"),
    Index(
        "channel_directory_username",
        "username",
        postgresql_ops={"username": "text_pattern_ops"},
    ),
    Index(
        "channel_directory_title",
        "title_fold",
        postgresql_ops={"title_fold": "text_pattern_ops"},
    ),
    Index("channel_directory_skeleton", "skeleton"),
)

moderator = Table("moderator", metadata, key("account_id"), big("at"))

sanction = Table(
    "sanction",
    metadata,
    key("case_id"),
    Column("chat_id", BigInteger, nullable=False),
    Column("report_id", BigInteger),
    Column("kind", SmallInteger, nullable=False),
    words("rule"),
    words("note"),
    Column("by_id", BigInteger, nullable=False),
    big("at"),
    big("until"),
    small("state"),
    words("appeal"),
    big("appealed_at"),
    Index("sanction_chat", "chat_id"),
    Index("sanction_state", "state", "case_id"),
)

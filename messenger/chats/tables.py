"""My view of my chats (key A = account_id); links, requests and pins of a chat (key C)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
)
from sqlalchemy.sql import false

from messenger.db.columns import big, key, number, small
from messenger.db.engine import metadata

member = Table(
    "member",
    metadata,
    key("account_id"),
    key("chat_id"),
    small("kind"),
    small("role"),
    number("flags"),
    number("joined_seq"),
    number("read_seq"),
    number("cleared_seq"),
    Column("pin_rank", SmallInteger),
    Column("folder", SmallInteger),
    big("muted_until"),
    big("joined_at"),
    postgresql_with={"fillfactor": 80},
)

direct = Table(
    "direct",
    metadata,
    key("lo_id"),
    key("hi_id"),
    Column("chat_id", BigInteger, nullable=False),
)

create_key = Table(
    "create_key",
    metadata,
    key("account_id"),
    key("device_id"),
    key("random_id"),
    Column("chat_id", BigInteger, nullable=False),
    big("at"),
)

invite_link = Table(
    "invite_link",
    metadata,
    key("chat_id"),
    Column("link_hash", LargeBinary, primary_key=True),
    Column("creator_id", BigInteger, nullable=False),
    big("created_at"),
    Column("expires_at", BigInteger),
    Column("max_uses", Integer),
    number("uses"),
    Column("approval", Boolean, nullable=False, server_default=false()),
    Column("revoked_at", BigInteger),
)

join_request = Table(
    "join_request",
    metadata,
    key("chat_id"),
    key("account_id"),
    big("at"),
    Column("link_hash", LargeBinary),
)

pin = Table(
    "pin",
    metadata,
    key("chat_id"),
    key("seq", Integer),
    Column("by_id", BigInteger, nullable=False),
    big("at"),
)

"""Accounts and what belongs to one: key A = account_id. Look-ups by their own keys.

`report` is cold and stays on the coordinator under Citus.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.sql import false

from messenger.db.columns import big, json, key, number, small, words
from messenger.db.engine import metadata

account = Table(
    "account",
    metadata,
    key("account_id"),
    small("kind", "1"),
    words("name"),
    words("name_fold"),
    Column("username", Text),
    Column("about", Text),
    Column("photo_id", BigInteger),
    Column("phone_hash", LargeBinary),
    Column("phone_enc", LargeBinary),
    small("status"),
    json("privacy"),
    big("created_at"),
    number("seen_day"),
    Column("deleted_at", BigInteger),
    json("badge"),
    number("badge_epoch"),
    Index("account_deleted", "deleted_at", postgresql_where=text("deleted_at is not null")),
)

device = Table(
    "device",
    metadata,
    key("account_id"),
    key("device_id"),
    words("name"),
    words("platform"),
    words("app"),
    Column("refresh_hash", LargeBinary, nullable=False),
    Column("refresh_prev", LargeBinary),
    big("rotated_at"),
    Column("push_provider", Text),
    Column("push_token", Text),
    big("created_at"),
    number("seen_day"),
    Column("revoked_at", BigInteger),
    Index("device_revoked", "revoked_at", postgresql_where=text("revoked_at is not null")),
)

contact = Table(
    "contact",
    metadata,
    key("account_id"),
    key("peer_id"),
    words("name"),
    big("at"),
)

block = Table(
    "block",
    metadata,
    key("account_id"),
    key("peer_id"),
    big("at"),
)

phone = Table(
    "phone",
    metadata,
    Column("phone_hash", LargeBinary, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
)

username = Table(
    "username",
    metadata,
    Column("name_fold", Text, primary_key=True),
    small("kind"),
    Column("target_id", BigInteger, nullable=False),
    Column("frozen", Boolean, nullable=False, server_default=false()),
    big("tombstone_until"),
    Index("username_claimed", "tombstone_until", postgresql_where=text("tombstone_until < 0")),
    Index("username_chats", "name_fold", postgresql_where=text("kind = 2")),
)

otp = Table(
    "otp",
    metadata,
    Column("phone_hash", LargeBinary, primary_key=True),
    key("issued_at"),
    Column("code_hash", LargeBinary, nullable=False),
    small("tries"),
    words("net"),
    words("channel"),
    Column("used_at", BigInteger),
    Index("otp_issued", "issued_at"),
)

report = Table(
    "report",
    metadata,
    key("report_id"),
    Column("account_id", BigInteger, nullable=False),
    Column("chat_id", BigInteger, nullable=False),
    Column("seq", Integer),
    words("reason"),
    words("text"),
    small("state"),
    Column("assignee_id", BigInteger),
    Column("decision", SmallInteger),
    Column("case_id", BigInteger),
    big("at"),
    Index("report_state", "state", "report_id"),
)

"""The chat log's tables, key C = chat_id, and the account log's, key A = account_id.

`membership` is here because the append statement checks "may this account write" and inserts,
on one distribution key.
"""

from sqlalchemy import BigInteger, Column, Identity, Index, Integer, SmallInteger, Table, Text, text

from messenger.db.columns import big, json, key, number, small, words
from messenger.db.engine import metadata

chat = Table(
    "chat",
    metadata,
    key("chat_id"),
    Column("kind", SmallInteger, nullable=False),
    Column("owner_id", BigInteger),
    Column("title", Text),
    Column("title_fold", Text),
    Column("about", Text),
    Column("username", Text),
    Column("photo_id", BigInteger),
    big("created_at"),
    number("epoch", "1"),
    number("last_seq"),
    number("last_ev"),
    big("last_at"),
    number("purged_ev"),
    number("purged_seq"),
    number("archived_seq"),
    json("badge"),
    number("badge_epoch"),
    number("member_count"),
    number("member_ver"),
    number("rights"),
    small("slow_s"),
    json("settings"),
    number("flags"),
    postgresql_with={"fillfactor": 70},
)

membership = Table(
    "membership",
    metadata,
    key("chat_id"),
    key("account_id"),
    small("role"),
    number("rights"),
    big("until"),
    number("flags"),
    big("joined_at"),
    number("joined_seq"),
    number("read_seq"),
    number("delivered_seq"),
    number("seen_seq"),
    big("last_post_at"),
    postgresql_with={"fillfactor": 85},
)

message = Table(
    "message",
    metadata,
    key("chat_id"),
    key("seq", Integer),
    Column("ev", Integer, nullable=False),
    Column("sender_id", BigInteger, nullable=False),
    Column("device_id", BigInteger, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    number("flags"),
    Column("edited_at", BigInteger),
    Column("reply_seq", Integer),
    Column("media_id", BigInteger),
    Column("body", Text),
    json("extra"),
)

chat_event = Table(
    "chat_event",
    metadata,
    key("chat_id"),
    key("ev", Integer),
    Column("seq_then", Integer, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("seq", Integer),
    Column("actor_id", BigInteger),
    Column("at", BigInteger, nullable=False),
    json("payload"),
)

dedup = Table(
    "dedup",
    metadata,
    key("chat_id"),
    key("device_id"),
    key("random_id"),
    key("day", Integer),
    Column("seq", Integer, nullable=False),
    Column("ev", Integer, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
    Column("digest", Integer, nullable=False),
    postgresql_partition_by="RANGE (day)",
)

chat_gap = Table(
    "chat_gap",
    metadata,
    key("chat_id"),
    key("low", Integer),
    Column("high", Integer, nullable=False),
)

outbox_c = Table(
    "outbox_c",
    metadata,
    key("chat_id"),
    Column("n", BigInteger, Identity(), primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    json("payload"),
    Column("at", BigInteger, nullable=False),
)

account_head = Table(
    "account_head",
    metadata,
    key("account_id"),
    number("last_aev"),
    number("purged_aev"),
    postgresql_with={"fillfactor": 50},
)

account_event = Table(
    "account_event",
    metadata,
    key("account_id"),
    key("aev", Integer),
    Column("kind", SmallInteger, nullable=False),
    big("chat_id"),
    Column("at", BigInteger, nullable=False),
    json("payload"),
    Index(
        "account_event_latest",
        "account_id",
        "kind",
        "chat_id",
        unique=True,
        postgresql_where=text("kind < 100"),
    ),
)

outbox_a = Table(
    "outbox_a",
    metadata,
    key("account_id"),
    Column("n", BigInteger, Identity(), primary_key=True),
    Column("chat_id", BigInteger),
    Column("peer_id", BigInteger),
    Column("kind", SmallInteger, nullable=False),
    json("payload"),
    Column("at", BigInteger, nullable=False),
)

purge_job = Table(
    "purge_job",
    metadata,
    Column("name", Text, primary_key=True),
    big("cursor"),
    words("owner"),
    big("until"),
    big("finished_at"),
)

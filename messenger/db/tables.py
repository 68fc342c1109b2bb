"""Tables that belong to no package of the product; all coordinator-local under Citus."""

from sqlalchemy import SmallInteger, Table, Text
from sqlalchemy.schema import Column

from messenger.db.columns import big, key
from messenger.db.engine import metadata

generator = Table(
    "generator",
    metadata,
    key("gen_id", SmallInteger),
    Column("owner", Text, nullable=False),
    big("expires_at"),
)

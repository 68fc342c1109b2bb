"""Nothing waits for ever: scheduled messages that stay refused, and names nobody came to carry.

`scheduled.waits_since`: the due time as its sender set it, once the message had to wait; 0 before.
`username.tombstone_until` below 0: claimed at minus that time, and not yet seen with its holder.
Nodes of the previous version write neither and are not disturbed by them.
"""

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS: tuple[str, ...] = (
    "alter table scheduled add column waits_since bigint not null default 0",
    "create index username_claimed on username (tombstone_until) where tombstone_until < 0",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.get_bind().exec_driver_sql(statement)

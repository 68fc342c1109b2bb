"""The functions of changes of members, with events and outboxes."""

from alembic import op

revision = "0003"
down_revision = "0002"

FUNCTIONS: tuple[str, ...] = ()


def upgrade() -> None:
    for statement in FUNCTIONS:
        op.get_bind().exec_driver_sql(statement)

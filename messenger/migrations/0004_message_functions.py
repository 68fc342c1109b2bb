"""The functions of reactions, pins and schedules."""

from alembic import op

revision = "0004"
down_revision = "0003"

FUNCTIONS: tuple[str, ...] = ()


def upgrade() -> None:
    for statement in FUNCTIONS:
        op.get_bind().exec_driver_sql(statement)

"""The functions of sign-in, devices and privacy."""

from alembic import op

revision = "0005"
down_revision = "0004"

FUNCTIONS: tuple[str, ...] = ()


def upgrade() -> None:
    for statement in FUNCTIONS:
        op.get_bind().exec_driver_sql(statement)

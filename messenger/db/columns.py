"""The column shapes of data-model 3: `NOT NULL` with default 0 unless said otherwise."""

from sqlalchemy import BigInteger, Column, Integer, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

ZERO = text("0")


def key(name: str, kind: type[TypeEngine[int]] = BigInteger) -> Column[int]:
    """A part of the primary key."""
    return Column(name, kind, primary_key=True, autoincrement=False)


def big(name: str, default: str = "0") -> Column[int]:
    """An id, or milliseconds UTC."""
    return Column(name, BigInteger, nullable=False, server_default=text(default))


def number(name: str, default: str = "0") -> Column[int]:
    """A seq, an ev, a count, or bits."""
    return Column(name, Integer, nullable=False, server_default=text(default))


def small(name: str, default: str = "0") -> Column[int]:
    """A kind, a role, seconds."""
    return Column(name, SmallInteger, nullable=False, server_default=text(default))


def words(name: str) -> Column[str]:
    """Text that is always there, perhaps empty."""
    return Column(name, Text, nullable=False, server_default=text("''"))


def json(name: str) -> Column[object]:
    """Optional JSON."""
    return Column(name, JSONB(none_as_null=True), nullable=True)

"""The form of a statement: its text, and the distribution key it filters on.

A test collects every `Statement` of every module and fails where a hot one does not name its key
as a constant, or joins tables of two keys.
"""

from msgspec import Struct


class Statement(Struct, frozen=True):
    """SQL with $1, $2.. and what it is keyed by."""

    sql: str
    key: str
    """The distribution column that every table in it is filtered on."""
    cold: bool = False
    """May touch many shards: never on a user's common path."""

"""The form of a statement: its text, and the distribution key it filters on.

A test collects every `Statement` of every module and fails where a hot one does not name its key
as a constant, or joins tables of two keys. A statement has one or two renderings: *many* takes
arrays of keys and is the fastest on one PostgreSQL; *one* takes a single key value, because that
is all that a single shard of Citus can answer.
"""

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct

RenderingName = Literal["many", "one"]
Call = tuple[str, tuple[Any, ...]]


class Statement(Struct, frozen=True):
    """SQL with $1, $2.. and what it is keyed by."""

    sql: str
    key: str
    """The distribution column that every table in it is filtered on."""
    cold: bool = False
    """May touch many shards: never on a user's common path."""
    one: str | None = None
    """The rendering *one*; None where `sql` names a single key value already."""
    spread: tuple[int, ...] = ()
    """Numbers of the array parameters that run in parallel, the key's first. In `one` the first is
    a single value, the others hold what belongs to it, in their order. None: both take one key."""

    def calls(self, rendering: RenderingName, values: Sequence[Any]) -> list[Call]:
        """What to send: all at once, or one call for each key value."""
        if rendering == "many" or self.one is None:
            return [(self.sql, tuple(values))]
        if not self.spread:
            return [(self.one, tuple(values))]
        return [(self.one, given) for given in self._by_key(values)]

    def _by_key(self, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        first, *others = (number - 1 for number in self.spread)
        places: dict[Any, list[int]] = {}
        for place, key in enumerate(values[first]):
            places.setdefault(key, []).append(place)
        found = []
        for key, mine in places.items():
            given = list(values)
            given[first] = key
            for number in others:
                given[number] = [values[number][place] for place in mine]
            found.append(tuple(given))
        return found

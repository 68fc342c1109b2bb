"""How long statements take, by what they do; slow ones are told with the trace of who asked.

SQL texts are constants (values are parameters), so that their labels are few; a comment per
request would make every text a new one, and the driver would prepare each anew.
"""

import logging
import re
import time
from typing import Any

from sqlalchemy import Engine, event

from messenger.metrics import Metrics
from messenger.tracing import Sparing

SLOW_S = 0.5  # a quarter of the default statement_timeout
LABELS = 300  # beyond: "other"; there are about a hundred texts

_VERB = re.compile(r"\s*(?:with\b.*?\)\s*)?(select|insert|update|delete)\b", re.DOTALL)
_CALLED = re.compile(r"\b(?:from|into|update)\s+(?:only\s+)?([a-z_]+)")
_FUNCTION = re.compile(r"\s*select\s+([a-z_]+)\(")

log = logging.getLogger(__name__)


class StatementWatch:
    """Feeds `db_seconds` from the events of one engine."""

    def __init__(self, engine: Engine, metrics: Metrics) -> None:
        self._seconds = metrics.db_seconds
        self._labels: dict[str, str] = {}
        self._sparing = Sparing(time.monotonic)
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)

    def _before(self, _c: Any, _cursor: Any, _sql: str, _p: Any, context: Any, _many: bool) -> None:  # noqa: FBT001 - the library's signature
        context.peyk_began = time.perf_counter()

    def _after(self, _c: Any, _cursor: Any, sql: str, _p: Any, context: Any, _many: bool) -> None:  # noqa: FBT001 - the library's signature
        elapsed = time.perf_counter() - context.peyk_began
        label = self._labels.get(sql)
        if label is None:
            label = self._new_label(sql)
        self._seconds.labels(label).observe(elapsed)
        if elapsed > SLOW_S and self._sparing.may():
            log.warning(
                "statement slow",
                extra={
                    "statement": label,
                    "seconds": round(elapsed, 3),
                    "lines_dropped": self._sparing.taken(),
                },
            )

    def _new_label(self, sql: str) -> str:
        if len(self._labels) >= LABELS:
            return "other"
        label = self._labels[sql] = label_of(sql)
        return label


def label_of(sql: str) -> str:
    """Verb and first table or function: `select message`, `select commit_messages`."""
    text = sql.lower()
    verb, called = _VERB.match(text), _CALLED.search(text) or _FUNCTION.match(text)
    return f"{verb[1] if verb else 'other'} {called[1] if called else ''}".strip()

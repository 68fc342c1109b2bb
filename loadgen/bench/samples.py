"""Percentiles of all samples of a run; none is averaged, none is dropped."""

import math
from collections.abc import Sequence


def percentile_ms(seconds: Sequence[float], q: float) -> float | None:
    """Nearest rank, in milliseconds; None without samples."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return round(1_000 * ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)], 3)

"""Views of posts: which are new, and how many there are, from a difference array. Pure.

A reader's cursor only grows. What a viewport [lo, hi] adds is max(lo, cursor + 1)..hi: +1 where it
begins, -1 after its end. The views of a post are the sum of all marks up to it.
"""

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

BLOCK = 256  # posts whose marks are summed up together; the SQL divides by the same number


class Span(Struct, frozen=True, gc=False):
    """Posts lo..hi that were on a screen together."""

    lo: int
    hi: int


def queue_span(waiting: list[Span], span: Span) -> None:
    """Add to what one reader has waiting; joined with the last one where that counts the same.

    It does where it begins within or right after that one: then whatever the cursor is, and
    wherever the channel ends, the two one after the other count what the joined one counts.
    """
    if waiting and waiting[-1].lo <= span.lo <= waiting[-1].hi + 1:
        last = waiting[-1]
        waiting[-1] = Span(last.lo, max(last.hi, span.hi))
    else:
        waiting.append(span)


def clusters(seqs: Iterable[int], gap: int = BLOCK) -> list[Span]:
    """Ranges that hold all of `seqs` and no long stretch of others: each is read at once."""
    found: list[Span] = []
    for seq in sorted(set(seqs)):
        if found and seq - found[-1].hi <= gap:
            found[-1] = Span(found[-1].lo, seq)
        else:
            found.append(Span(seq, seq))
    return found


def running(span: Span, before: int, marks: Mapping[int, int]) -> dict[int, int]:
    """Views of every post of `span`; `before`: the sum of all marks below it."""
    views: dict[int, int] = {}
    for seq in range(span.lo, span.hi + 1):
        before += marks.get(seq, 0)
        views[seq] = before
    return views


def percentile(counts: Sequence[tuple[int, int]], share: float) -> int:
    """The bound within which at least `share` of all are; (bound, how many) by bound. 0: nobody."""
    total = sum(count for _, count in counts)
    reached = 0
    for bound, count in sorted(counts):
        reached += count
        if count and reached >= share * total:
            return bound
    return 0

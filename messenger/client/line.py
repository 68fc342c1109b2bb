"""The gap rule for one line of numbers: the events of a chat, or the facts of the account.

Two events may arrive swapped, twice or not at all. The next number is applied, an old one is
dropped, a later one waits for those before it; if they do not come, somebody asks the server.
"""

from messenger.client.errors import Json

HOLD_S = 0.5
HELD = 2_000  # beyond it an update is not kept: the difference that must follow brings it


class Line:
    """Numbers applied so far, and updates that wait for earlier ones."""

    __slots__ = ("_held", "applied", "asked", "behind", "since")

    def __init__(self, applied: int | None = None) -> None:
        self.applied = applied
        """None: not known yet (a chat that is being fetched); everything waits."""
        self.behind = 0
        """The highest number heard of."""
        self.since: float | None = None
        self.asked = False
        """A difference is on its way: do not ask twice."""
        self._held: dict[int, Json] = {}

    def offer(self, number: int, update: Json) -> None:
        if self.applied is not None and number <= self.applied:
            return
        self.hear(number)
        if len(self._held) < HELD:
            self._held[number] = update

    def hear(self, number: int) -> None:
        """A number exists, though its update is not here."""
        self.behind = max(self.behind, number)

    def jump(self, number: int) -> None:
        """All up to `number` has been applied by other means."""
        self.applied = max(self.applied or 0, number)
        self._held = {n: update for n, update in self._held.items() if n > self.applied}

    def leave(self) -> None:
        """The chat was left. What waits may belong to a membership that begins again."""
        self.applied = None
        self.asked = False

    def drop_held(self) -> None:
        """What waits is older than heads that are about to be asked for."""
        self._held.clear()
        self.behind = 0
        self.since = None

    def believe(self) -> None:
        """The server has nothing beyond what it just gave: forget what was only heard of."""
        self.behind = max(self._held, default=self.applied or 0)

    def take(self, now: float) -> list[Json]:
        """The updates that may be applied now, in order; they count as applied."""
        if self.applied is None:
            self.since = now if self.since is None and self.behind else self.since
            return []
        ready = []
        while (update := self._held.pop(self.applied + 1, None)) is not None:
            self.applied += 1
            ready.append(update)
        if self.behind <= self.applied:
            self.since = None
        elif self.since is None or ready:
            self.since = now
        return ready

    def overdue(self, now: float) -> bool:
        """The missing numbers did not come in time, and nobody has asked for them."""
        due = self.due
        return due is not None and now >= due

    @property
    def due(self) -> float | None:
        """When somebody should ask; None while nothing is missing or it has been asked for."""
        return None if self.asked or self.since is None else self.since + HOLD_S

"""What a connection must not let pass: the server's next ping, the end of its token."""

PATIENCE_S = 10.0
FOREVER_S = 86_400.0
REFRESH_AT = 0.8  # of a token's life


class Deadlines:
    """Times of the loop's clock."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.silent_at = 0.0
        """Without a frame until then the link counts as dead."""
        self.refresh_at: float | None = None

    def opened(self, now: float, timeout_s: float) -> None:
        self.silent_at = now + timeout_s
        self.refresh_at = None

    def expect_ping(self, ping_s: int, now: float) -> None:
        """The next ping is due in `ping_s`; 0 = the server sends none."""
        self.silent_at = now + ping_s + self._patience_s if ping_s else now + FOREVER_S

    def expires(self, ttl_s: int | None, now: float) -> None:
        self.refresh_at = None if ttl_s is None else now + ttl_s * REFRESH_AT

    def refresh_due(self, now: float) -> bool:
        """True once for each token."""
        if self.refresh_at is None or now < self.refresh_at:
            return False
        self.refresh_at = None
        return True

    def next(self, other: float | None, now: float) -> float:
        """Seconds until the first of these and `other`."""
        times = (other, self.refresh_at, self.silent_at)
        return max(0.0, min(time for time in times if time is not None) - now)

"""Ceilings on what the service takes: a token bucket over an injected clock."""

from collections.abc import Callable


class Bucket:
    """Lets through `per_second` on average and `burst` at once.

    Args:
        per_second: How many tokens come back each second.
        burst: How many there are at most, and at the start.
        now: A clock in seconds.
    """

    def __init__(self, per_second: float, burst: float, now: Callable[[], float]) -> None:
        self._per_second = per_second
        self._burst = burst
        self._now = now
        self._tokens = burst
        self._filled_at = now()

    def take(self) -> bool:
        """Take a token; False if there is none."""
        now = self._now()
        gained = max(0.0, now - self._filled_at) * self._per_second
        self._tokens = min(self._burst, self._tokens + gained)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

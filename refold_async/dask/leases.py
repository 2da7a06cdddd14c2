"""A lease: for how long a worker may start runs without hearing from its batch.

No two clocks are compared. A worker's answer to a beat says when it answered, by its own clocks;
the next beat gives that moment back, and the lease counts from it. However long a beat was under
way, and whatever slept meanwhile, the lease is over when so many seconds have passed since the
batch received the answer: the worker gave it before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refold_async.dask.messages import Mark

if TYPE_CHECKING:
    from refold_async._clock import Clock


class Lease:
    """A worker's lease.

    Attributes:
        epoch: how often it was given anew, after it had run out or for the first time. What was
            allowed in an earlier epoch is not any more: the batch may have taken it for lost.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.seconds = seconds
        self.epoch = 0
        self._clock = clock
        self._made = self.mark()
        self._from: Mark | None = None

    def mark(self) -> Mark:
        """Give the present moment, to be given back by the next beat."""
        return Mark(self._clock.monotonic(), self._clock.time())

    def renew(self, mark: Mark | None) -> None:
        """Count from an earlier answer of ours; one that is too old renews nothing."""
        if mark is None or self._age(mark) >= self.seconds:
            return
        if self.left <= 0:
            self.epoch += 1
            self._from = mark
        elif self._from is None or mark.monotonic > self._from.monotonic:
            self._from = mark

    @property
    def left(self) -> float:
        """Seconds that are left; 0 or less if it has run out, or was never given."""
        if self._from is None:
            return -self._age(self._made)
        return self.seconds - self._age(self._from)

    def _age(self, mark: Mark) -> float:
        """Tell how long ago it was, by the clock that says more.

        The monotonic clock stands still while the machine sleeps, and the wall clock may be set.
        """
        now = self.mark()
        return max(now.monotonic - mark.monotonic, now.wall - mark.wall, 0.0)

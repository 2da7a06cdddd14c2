"""Since when must a run be looked for? The service's time, by what its runs have shown.

When we learn of a run it has been created, by the service's own clock: so that clock stood there,
or later. From such moments others are reckoned by two clocks of this machine, and the earlier
result counts: the wall clock may be set, the monotonic one stands still while the machine sleeps.
`Date` headers prove nothing: a proxy may have written them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from refold_async._models import created_second

if TYPE_CHECKING:
    from refold_async._clock import Clock

_KEPT = 20
"""Runs, the latest: a machine that slept, or a host of the service that is off, is outlived."""
_ABSURD = 86_400.0
"""Seconds from the wall clock from which on a time that was read is taken for none."""


class Moment(NamedTuple):
    """A moment by both clocks of this machine, in seconds."""

    monotonic: float
    wall: float


class ServiceTime:
    """Bounds the service's clock from below; nobody who sets a clock of this machine fools it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ours: deque[tuple[float | str, Moment]] = deque(maxlen=_KEPT)
        self._newest: tuple[float, Moment] | None = None

    def now(self) -> Moment:
        """Give the present moment."""
        return Moment(self._clock.monotonic(), self._clock.time())

    def seen(self, created: float | str, at: Moment) -> None:
        """Note that a run of ours was known at a moment, by its creation or its id (read later)."""
        self._ours.append((created, at))

    def newest(self, created: float, at: Moment) -> None:
        """Note when the newest run of an account was created: it tells until one of ours does."""
        self._newest = created, at

    def earliest(self, moment: Moment) -> float | None:
        """Give the service's time at a moment, or an earlier one; None if nothing tells it."""
        told = [
            (created, at)
            for said, at in self._ours
            if (created := _second(said)) is not None and abs(created - at.wall) < _ABSURD
        ]
        if not told and self._newest is not None:
            told = [self._newest]
        elapsed = [
            created + min(moment.monotonic - at.monotonic, moment.wall - at.wall)
            for created, at in told
            if created - at.wall < _ABSURD
        ]
        return min(elapsed, default=None)


def _second(told: float | str) -> float | None:
    return created_second(told) if isinstance(told, str) else told

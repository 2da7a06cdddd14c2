"""Since when must a run be looked for? The service's time, by what its runs have shown.

When we learn of a run it has been created, by the service's own clock: so that clock stood there,
or later. From such moments others are reckoned by two clocks of this machine, and the earlier
result counts: the wall clock may be set, the monotonic one stands still while the machine sleeps.
`Date` headers prove nothing: a proxy may have written them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from refold_async._models import created_second
from refold_async._protocol import read_http_date

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async._clock import Clock

_KEPT = 20
"""Runs, the latest: a machine that slept, or a host of the service that is off, is outlived."""
_ABSURD = 86_400.0
"""Seconds from which on a time that was read is taken for none: counted from the wall clock, or
from the service's `Date` where the wall clock is off by more."""


Date: TypeAlias = "tuple[str | None, float]"
"""What a reply's `Date` said, and when it came by the wall clock."""


class Moment(NamedTuple):
    """A moment by both clocks of this machine, in seconds."""

    monotonic: float
    wall: float

    def before(self, seconds: float) -> Moment:
        """Give the moment so many seconds earlier."""
        return Moment(self.monotonic - seconds, self.wall - seconds)


class ServiceTime:
    """Bounds the service's clock from below; nobody who sets a clock of this machine fools it."""

    def __init__(self, clock: Clock, date: Callable[[], Date] = lambda: (None, 0.0)) -> None:
        self._clock = clock
        self._date = date  # of the latest reply
        self._unread: deque[tuple[float | str, Moment, Date]] = deque(maxlen=_KEPT)
        self._ours: deque[tuple[float, Moment]] = deque(maxlen=_KEPT)
        self._newest: tuple[float, Moment] | None = None

    def now(self) -> Moment:
        """Give the present moment."""
        return Moment(self._clock.monotonic(), self._clock.time())

    def seen(self, created: float | str, at: Moment) -> None:
        """Note that a run of ours was known at a moment, by its creation or its id (read later)."""
        self._unread.append((created, at, self._date()))

    def newest(self, created: float, at: Moment) -> None:
        """Note when the newest run of an account was created: it tells until one of ours does."""
        if _ahead(created, at, self._date()) < _ABSURD:
            self._newest = created, at

    def earliest(self, moment: Moment) -> float | None:
        """Give the service's time at a moment, or an earlier one; None if nothing tells it."""
        while self._unread:
            said, at, date = self._unread.popleft()
            created = created_second(said) if isinstance(said, str) else said
            if created is not None and abs(_ahead(created, at, date)) < _ABSURD:
                self._ours.append((created, at))
        told = self._ours or ([self._newest] if self._newest is not None else [])
        reckoned = (
            created + min(moment.monotonic - at.monotonic, moment.wall - at.wall)
            for created, at in told
        )
        return min(reckoned, default=None)


def _ahead(created: float, at: Moment, date: Date) -> float:
    """Tell by how much a time is ahead of the wall clock, or of the `Date`: the smaller of both."""
    said, received_at = date
    second = read_http_date(said or "")
    offset = 0.0 if second is None else second - received_at
    return min(created - at.wall, created - at.wall - offset, key=abs)

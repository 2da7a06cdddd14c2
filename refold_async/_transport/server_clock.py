"""The service's clock, as far as it has shown itself.

`Date` headers tell it to the second, but a proxy may have written them by a clock of its own. The
times at which runs of ours were created are the service's own: they bound its clock from below. It
is good enough to plan by, and proves nothing.
"""

from __future__ import annotations

from collections import deque

from refold_async._models import created_second
from refold_async._protocol import read_http_date

_KEPT = 20
"""Bounds, the latest: so a clock that was set back is believed again after as many runs."""
_ABSURD = 86_400.0
"""Seconds from which on an id that looks like an ObjectId is taken for none, and a `Date` too."""


class ServerClock:
    """What to add to the local clock (epoch seconds) to get the service's."""

    def __init__(self) -> None:
        self.date: tuple[str | None, float] = (None, 0.0)  # as it was said, and when it came
        self._started: deque[tuple[str, float]] = deque(maxlen=_KEPT)  # runs not read yet
        self._read_bounds: deque[float] = deque(maxlen=_KEPT)

    def told(self, date: str | None, received_at: float) -> None:
        """Note the `Date` of a reply; it is read when somebody asks."""
        self.date = date, received_at

    def started(self, execution_id: str, known_at: float) -> None:
        """Note that a run was known here at `known_at`; its id is read when somebody asks."""
        self._started.append((execution_id, known_at))

    def created(self, moment: float, known_at: float) -> None:
        """Note that a run created at `moment`, by the service, was known here at `known_at`."""
        if abs(moment - known_at) < _ABSURD:
            self._read_bounds.append(moment - known_at)

    @property
    def _bounds(self) -> deque[float]:
        while self._started:
            execution_id, known_at = self._started.popleft()
            second = created_second(execution_id)
            if second is not None:
                self.created(second, known_at)
        return self._read_bounds

    @property
    def offset(self) -> float | None:
        """The difference by `Date`; None before the first reply, or if it is absurd."""
        date, received_at = self.date
        told = read_http_date(date or "")
        return None if told is None or abs(told - received_at) > _ABSURD else told - received_at

    def at(self, local: float) -> float:
        """Give the service's time at a local time, as well as we know."""
        return local + (max(self._bounds) if self._bounds else self.offset or 0.0)

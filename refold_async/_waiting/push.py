"""What pushes have told, and how far they can be relied on. Pure: times are given, nothing waits.

Trust is a number: the share of ends whose push never comes. Looks are priced by it: a service
without webhooks is looked at as ever, one whose webhooks come hardly at all.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

_KEPT, _KEPT_FOR = 10_000, 600.0
"""Events that came before anybody waited for their run: so many, and for so many seconds."""
_FADING = 0.95
"""What an end weighs beside the one after it: the last 14 make half of the picture."""
_PRIOR = 2.0
"""Ends that what is known of the whole client counts for, beside an account's own."""
_LEAST = 0.01
"""Nothing is relied on more than this: one push in a hundred may be lost."""
_SILENT = 8
"""Ends that are overdue without any push at which none are relied on any more."""


class Early:
    """Runs that ended before anybody here waited for them, as pushes told."""

    def __init__(self) -> None:
        self._events: OrderedDict[str, tuple[str | None, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._events)

    def keep(self, execution_id: str, account: str | None, now: float) -> None:
        """Keep what was told until somebody waits for it."""
        while self._events and now - next(iter(self._events.values()))[1] > _KEPT_FOR:
            self._events.popitem(last=False)
        self._events.setdefault(execution_id, (account, now))
        if len(self._events) > _KEPT:
            self._events.popitem(last=False)

    def take(self, execution_id: str, account: str | None, now: float) -> bool:
        """Tell whether an end was told of this account's run; it is forgotten thereby."""
        event = self._events.get(execution_id)
        if event is None:
            return False
        whose, at = event
        if whose is not None and account is not None and whose != account:
            return False
        del self._events[execution_id]
        return now - at <= _KEPT_FOR


class Share:
    """The share of ends whose push did not come, lately."""

    __slots__ = ("_ends", "_lost")

    def __init__(self) -> None:
        self._ends = self._lost = 0.0

    def count(self, *, lost: bool) -> None:
        """Note an end, and whether its push was lost."""
        self._ends = self._ends * _FADING + 1
        self._lost = self._lost * _FADING + lost

    def lost(self, prior: float) -> float:
        """Give the share, which is `prior` until ends have shown another."""
        return (self._lost + _PRIOR * prior) / (self._ends + _PRIOR)


class Trust:
    """How many pushes are lost, by account; and whether they have stopped coming at all.

    Args:
        pinned: a share to go by, whatever comes; None to learn it.
    """

    def __init__(self, pinned: float | None = None) -> None:
        self._pinned = pinned
        self._all = Share()
        self._accounts: dict[str | None, Share] = {}
        self._expected: list[float] = []  # when ends should have been told of, monotonic seconds
        self._overdue = 0  # of these, since a push came
        self.silent = False

    def lost(self, account: str | None) -> float:
        """Give the share of ends of an account whose push will not come, as expected."""
        if self.silent:
            return 1.0
        if self._pinned is not None:
            return self._pinned
        share = self._accounts.get(account)
        of_all = self._all.lost(1.0)
        return max(of_all if share is None else share.lost(of_all), _LEAST)

    def count(self, account: str | None, *, lost: bool) -> None:
        """Note an end, and whether its push was lost."""
        self._all.count(lost=lost)
        self._accounts.setdefault(account, Share()).count(lost=lost)

    def forget(self, account: str | None) -> None:
        """Let go of an account nobody waits for; what it taught of the client stays."""
        self._accounts.pop(account, None)

    # -- silence -----------------------------------------------------------------------------

    def expect(self, at: float) -> None:
        """Note that by then a run has very likely ended, and its push come."""
        if len(self._expected) < _KEPT:
            heapq.heappush(self._expected, at)

    def heard(self, now: float) -> None:
        """Note that a push came: whatever was lost before, they come."""
        self._pass_by(now)
        self._overdue, self.silent = 0, False

    def falls_silent(self, now: float) -> bool:
        """Tell whether pushes have just stopped coming: then none are relied on until one comes."""
        self._pass_by(now)
        if self.silent or self._overdue < _SILENT:
            return False
        self.silent = True
        return True

    @property
    def next_check(self) -> float | None:
        """When `falls_silent` may have something else to say; None if nothing is expected."""
        return self._expected[0] if self._expected else None

    def _pass_by(self, now: float) -> None:
        while self._expected and self._expected[0] <= now:
            heapq.heappop(self._expected)
            self._overdue += 1

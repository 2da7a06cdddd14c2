"""How far pushes can be relied on. Pure: times are given, nothing waits.

Trust is a number: the share of ends whose push never comes. Looks are priced by it: a service
without webhooks is looked at as ever, one whose webhooks come hardly at all.
"""

from __future__ import annotations

import heapq
import itertools
import math
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refold_async._waiting.watch import Watch

_FADING, _FADING_OF_ALL = 0.97, 0.99
"""What an end weighs beside the one after it: an account's last 23 make half of the picture, and
the last 69 of the whole client."""
_PRIOR, _PRIOR_OF_ALL = 8.0, 2.0
"""Ends that what is known beforehand counts for: of the whole client, beside an account's own; and
that none is told, beside what is known of the whole client."""
_ACCOUNTS = 10_000
"""Accounts of which a share is kept, those used last."""
_LEAST = 0.004
"""Nothing is relied on more than this: one push in 250 may be lost."""
SILENT = 8
"""Ends that are overdue without any push at which none are relied on any more."""
_EXPECTED = 10_000
"""Runs whose push is expected, at most."""


class Share:
    """The share of ends whose push did not come, lately."""

    __slots__ = ("_ends", "_fading", "_lost", "_prior")

    def __init__(self, fading: float = _FADING, prior: float = _PRIOR) -> None:
        self._fading = fading
        self._prior = prior
        self._ends = self._lost = 0.0

    def count(self, *, lost: bool) -> None:
        """Note an end, and whether its push was lost."""
        self._ends = self._ends * self._fading + 1
        self._lost = self._lost * self._fading + lost

    def lost(self, before: float) -> float:
        """Give the share, which is the one known before until ends have shown another."""
        return (self._lost + self._prior * before) / (self._ends + self._prior)


class Trust:
    """How many pushes are lost, by account; that of the whole client is where each begins."""

    def __init__(self) -> None:
        self._all = Share(_FADING_OF_ALL, _PRIOR_OF_ALL)
        self._accounts: OrderedDict[str | None, Share] = OrderedDict()

    def lost(self, account: str | None) -> float:
        """Give the share of ends of an account whose push will not come, as expected."""
        share, of_all = self._accounts.get(account), self.of_all
        return max(of_all if share is None else share.lost(of_all), _LEAST)

    @property
    def of_all(self) -> float:
        """The share of all accounts together."""
        return self._all.lost(1.0)

    def count(self, account: str | None, *, lost: bool) -> None:
        """Note an end, and whether its push was lost."""
        self._all.count(lost=lost)
        self._accounts.setdefault(account, Share()).count(lost=lost)
        self._accounts.move_to_end(account)
        if len(self._accounts) > _ACCOUNTS:
            self._accounts.popitem(last=False)


class Silence:
    """Notices that pushes have stopped: runs are overdue, and nothing has come since."""

    def __init__(self) -> None:
        self._expected: list[tuple[float, int, weakref.ref[Watch]]] = []
        self._order = itertools.count()
        self._overdue: set[str] = set()
        self.silent = False

    def expect(self, watch: Watch, at: float) -> None:
        """Note that by then (monotonic seconds) a run has very likely ended, and its push come."""
        if len(self._expected) < _EXPECTED:
            heapq.heappush(self._expected, (at, next(self._order), weakref.ref(watch)))

    def heard(self, now: float) -> None:
        """Note that a push came: whatever was lost before, they come."""
        self._pass_by(now)
        self._overdue.clear()
        self.silent = False

    def falls(self, now: float) -> bool:
        """Tell whether pushes have just stopped coming."""
        self._pass_by(now)
        if self.silent or len(self._overdue) < SILENT:
            return False
        self.silent = True
        return True

    @property
    def next_check(self) -> float:
        """When `falls` may have something else to say."""
        return self._expected[0][0] if self._expected else math.inf

    def _pass_by(self, now: float) -> None:
        while self._expected and self._expected[0][0] <= now:
            watch = heapq.heappop(self._expected)[2]()
            if watch is not None and watch.wanted and watch.hint is None and not watch.learned:
                self._overdue.add(watch.execution_id)

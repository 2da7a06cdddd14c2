"""When a run is likely to end, learned per workflow; and from that, when a look is worth its price.

A look that comes later finds more runs ended, but those have been over for longer. So it is made
when the time that ended runs have gone unnoticed, as expected, adds up to the price of a read.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHORTEST = 0.05
"""Seconds a run takes at least: what is shorter can't be told from it by looking."""
_LONGEST = 30 * 86_400.0
"""Seconds a run takes at most: logs are kept for so long. A longer one is a broken date."""
_KEPT = 300
"""Durations kept per workflow, the latest. At 100 runs per second these are those of three seconds:
fewer would tell only of the few pages that were looked at last."""
_ENOUGH = 5
"""Durations from which on a workflow counts as known."""
_WORKFLOWS = 1_000
"""Workflows of which durations are kept, those used last."""
_PRICE = 0.15
"""What a read is worth: seconds of delay, summed over the runs that have ended unnoticed. A single
run of an hour is then known within 40 s; `tests/bench/simulate_waiting.py` shows other prices."""
_FREE = 0.3
"""Reads per second from which on they become dearer, in proportion: so 8 runs per second cost 0.4
reads each, 100 a fifth, and 1,000 that take an hour less than 10 reads a second in all."""
_MANY = 0.3
"""Share of runs that may be over, as expected, before pressure is no reason to wait for more."""
_LATELY = 10.0
"""Seconds over which reads are counted."""
_NEAR = 0.005
"""Share by which a pause may be longer than it is worth, but for a millisecond."""


class Durations:
    """How long the runs of a workflow take: the latest of them, none likelier than another.

    Between n durations are n + 1 gaps, and the next run may fall into any of them. So one in n + 1
    is shorter than all, though not by more than half, and one in n + 1 is longer: such a run goes
    on for about as long as it did so far, as one of which nothing is known.
    """

    __slots__ = ("_latest", "_points", "_shares", "_sorted", "_sums", "count")

    def __init__(self) -> None:
        self.count = 0
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []
        self._points: list[float] = []  # ages; what follows is computed when it is asked for
        self._shares: list[float] = []  # of runs that are over at that age
        self._sums: list[float] = []  # of the seconds they have been over, per run

    def observe(self, seconds: float) -> None:
        """Learn from a run."""
        took = min(max(seconds, _SHORTEST), _LONGEST)
        if len(self._latest) == _KEPT:
            del self._sorted[bisect_right(self._sorted, self._latest.popleft()) - 1]
        self._latest.append(took)
        insort(self._sorted, took)
        self.count += 1
        self._points = []

    @property
    def longest(self) -> float:
        """The longest of them, in seconds."""
        return self._sorted[-1] if self._sorted else 0.0

    @property
    def mostly(self) -> float:
        """The seconds that nine in ten of them took no longer than."""
        return self._sorted[len(self._sorted) * 9 // 10] if self._sorted else 0.0

    def after(self, age: float, seconds: float) -> tuple[float, float]:
        """Say what becomes of a run that still goes on at an age, so many seconds later.

        Returns:
            The chance that it is over by then, and how long it has been, on average.
        """
        if age >= self.longest:
            return _goes_on(max(age, _SHORTEST), seconds)
        ended, over_for = self._at(age)
        ended_then, over_for_then = self._at(age + seconds)
        going = 1 - ended
        gained = over_for_then - over_for - ended * seconds
        return (ended_then - ended) / going, max(gained, 0.0) / going

    def remaining(self, age: float) -> float:
        """Give the seconds that half of the runs of this age take no longer than."""
        if age >= self.longest:
            return age
        share = (1 + self._at(age)[0]) / 2
        at = bisect_right(self._shares, share)
        if at == len(self._shares):
            return self.longest * (1 - self._shares[-1]) / (1 - share) - age
        part = (share - self._shares[at - 1]) / (self._shares[at] - self._shares[at - 1])
        return self._points[at - 1] + part * (self._points[at] - self._points[at - 1]) - age

    def _at(self, age: float) -> tuple[float, float]:
        """Give the share of runs that are over at an age, and for how long, per run."""
        if not self._points:
            self._compute()
        points, shares, sums = self._points, self._shares, self._sums
        at = bisect_right(points, age)
        if at == 0:
            return 0.0, 0.0
        since = age - points[at - 1]
        if at == len(points):
            ended, over_for = _goes_on(points[-1], since)
            left = 1 - shares[-1]
            return shares[-1] + left * ended, sums[-1] + shares[-1] * since + left * over_for
        slope = (shares[at] - shares[at - 1]) / (points[at] - points[at - 1])
        share = shares[at - 1] + slope * since
        return share, sums[at - 1] + (shares[at - 1] + share) / 2 * since

    def _compute(self) -> None:
        number = len(self._sorted)
        self._points = [self._sorted[0] / 2, *self._sorted]
        self._shares = [each / (number + 1) for each in range(number + 1)]
        self._sums = [0.0]
        for at in range(number):
            over = (self._shares[at] + self._shares[at + 1]) / 2
            self._sums.append(self._sums[-1] + over * (self._points[at + 1] - self._points[at]))


def _goes_on(age: float, seconds: float) -> tuple[float, float]:
    """Say what becomes of a run of which no more is known than that it goes on at this age.

    The chance that it ends soon falls with its age: half of such runs become twice as old.
    """
    return seconds / (age + seconds), seconds - age * math.log1p(seconds / age)


UNKNOWN = Durations()
"""What is known of a workflow no run of which was seen to end."""


class Cadence:
    """What is known of the durations of each workflow; those unused for long are forgotten."""

    def __init__(self) -> None:
        self._workflows: OrderedDict[str, Durations] = OrderedDict()

    def observe(self, workflow: str | None, seconds: float) -> None:
        """Learn from a run."""
        if workflow is None:
            return
        durations = self._workflows.setdefault(workflow, Durations())
        self._workflows.move_to_end(workflow)
        if len(self._workflows) > _WORKFLOWS:
            self._workflows.popitem(last=False)
        durations.observe(seconds)

    def of(self, workflow: str | None) -> Durations:
        """Give what is known of a workflow; `UNKNOWN` if that is not enough."""
        durations = self._workflows.get(workflow or "")
        return durations if durations is not None and durations.count >= _ENOUGH else UNKNOWN


class Pace:
    """How many reads there were lately."""

    __slots__ = ("_at", "_rate")

    def __init__(self) -> None:
        self._at = 0.0
        self._rate = 0.0

    def count(self, now: float) -> None:
        """Note a read."""
        self._rate = self.rate(now) + 1 / _LATELY
        self._at = now

    def rate(self, now: float) -> float:
        """Give the reads per second."""
        return self._rate * math.exp((self._at - now) / _LATELY)


def pressure(rate: float) -> float:
    """Give how many times dearer a read is while there are so many per second."""
    return max(1.0, rate / _FREE)


class Group(NamedTuple):
    """Runs that are alike."""

    durations: Durations
    age: float
    """Seconds, when they were last known to go on."""
    since: float
    """Seconds that have passed since then."""
    runs: int


def pause(
    groups: Sequence[Group],
    longest: float,
    *,
    pressure: float = 1.0,
    lost: float = 1.0,
    single: bool = False,
) -> float:
    """Give the seconds until a look at all of these runs is worth its price.

    Args:
        groups: the runs.
        longest: the longest pause.
        pressure: how many times dearer than usual a read is. It is no reason to look later than
            when many of the runs are expected to be over: few would be known very late.
        lost: the share of ends that no push tells of, which are what there is to find.
        single: whether the look is at one run, whose output it brings along if the run has ended:
            then it had to be made anyway, and its price counts only as far as it may be in vain.
    """
    number = sum(group.runs for group in groups)

    def is_worth_it(seconds: float) -> bool:
        cost, over = 0.0, 0.0
        for durations, age, since, runs in groups:
            ended, over_for = durations.after(age, since + seconds)
            cost += lost * runs * over_for
            over += lost * runs * ended / (1 - ended * (1 - lost))  # by now, and not told
        worth = _PRICE if over > _MANY * number else _PRICE * pressure
        return cost >= (worth * (1 - over) if single else worth)

    if is_worth_it(0.0):
        return 0.0
    if not is_worth_it(longest):
        return longest
    low, high = 0.0, longest
    while high - low > max(_NEAR * low, 0.001):
        middle = (low + high) / 2
        if is_worth_it(middle):
            high = middle
        else:
            low = middle
    return high

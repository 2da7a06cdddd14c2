"""When a run is likely to end, learned per workflow; and from that, when a look is worth its price.

A look that comes later finds more runs ended, but those have been over for longer. So it is made
when the time that ended runs have gone unnoticed, as expected, adds up to the price of a read.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import OrderedDict
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORTEST, _RATIO, _BINS = 0.05, 1.12, 160  # up to 43 days
_LOG_RATIO = math.log(_RATIO)
_FADING = 1.02
"""What a run weighs more than the one before it: the last 35 make half of the picture."""
_ENOUGH = 5
"""Runs of a workflow from which on it counts as known."""
_UNHEARD_OF = 0.01
"""Share of longer runs below which the history says nothing about a run that still goes on."""
_WORKFLOWS = 1_000
_STEPS = [0.05 * 1.2**n for n in range(100)]
_PRICE, _SCALE = 0.18, 0.53
_SHORTEST_PAUSE = 0.5
_LATELY = 5.0
_PER_SECOND, _STRETCH = 5.5, 0.6
"""Lists per second from which on they are read more rarely, and how pauses grow with more."""


def price(runs: int) -> float:
    """Give what one read for so many runs is worth: seconds of delay, summed over them.

    See `tests/bench/simulate_waiting.py` for what other prices come to.
    """
    return float(_PRICE * runs**_SCALE)


class Durations:
    """How long the runs of a workflow take: a histogram on a logarithmic scale, which fades."""

    __slots__ = ("_below", "_gain", "_weights", "count")

    def __init__(self) -> None:
        self.count = 0
        self._weights = [0.0] * _BINS
        self._gain = 1.0
        self._below: list[float] | None = None  # running sums, made when they are asked for

    def observe(self, seconds: float) -> None:
        """Learn from a run; each is smeared, less so the more are known."""
        self.count += 1
        width = 4 if self.count < 10 else 2 if self.count < 50 else 1  # noqa: PLR2004
        at = int(_place(seconds))
        for step in range(-width, width + 1):
            weight = self._gain * (width + 1 - abs(step)) / (width + 1) ** 2
            self._weights[min(max(at + step, 0), _BINS - 1)] += weight
        self._gain *= _FADING
        if self._gain > 1e50:  # noqa: PLR2004 - far from what a float holds
            self._weights = [weight / self._gain for weight in self._weights]
            self._gain = 1.0
        self._below = None

    def ended_by(self, age: float) -> float:
        """Give the share of runs that are over at an age (seconds)."""
        below = self._sums()
        place = _place(age)
        at = int(place)
        if at >= _BINS:
            return 1.0
        before = below[at - 1] if at else 0.0
        return (before + (below[at] - before) * (place - at)) / below[-1]

    def ends_within(self, age: float, seconds: float) -> float:
        """Give the chance that a run of this age which still goes on ends so soon."""
        ended = self.ended_by(age)
        left = 1 - ended
        if left < _UNHEARD_OF:  # as much longer as it is old already, for all we know
            return min(1.0, seconds / max(age, _SHORTEST))
        return min(1.0, (self.ended_by(age + seconds) - ended) / left)

    def remaining(self, age: float) -> float:
        """Give the seconds that half of the runs of this age take no longer than."""
        ended = self.ended_by(age)
        if 1 - ended < _UNHEARD_OF:
            return age / 2
        below = self._sums()
        at = bisect_left(below, (1 + ended) / 2 * below[-1])
        return float(max(0.0, _SHORTEST * _RATIO ** (at + 0.5) - age))

    def _sums(self) -> list[float]:
        if self._below is None:
            self._below = list(accumulate(self._weights))
        return self._below


def _place(seconds: float) -> float:
    """Where a duration belongs in the histogram."""
    return max(0.0, math.log(max(seconds, _SHORTEST) / _SHORTEST) / _LOG_RATIO)


class Cadence:
    """What is known of the durations of each workflow; those unused for long are forgotten."""

    def __init__(self) -> None:
        self._workflows: OrderedDict[str, Durations] = OrderedDict()

    def observe(self, workflow: str | None, seconds: float) -> bool:
        """Learn from a run; tell whether its workflow is known from now on, and was not before."""
        if workflow is None:
            return False
        durations = self._workflows.setdefault(workflow, Durations())
        self._workflows.move_to_end(workflow)
        if len(self._workflows) > _WORKFLOWS:
            self._workflows.popitem(last=False)
        durations.observe(seconds)
        return durations.count == _ENOUGH

    def of(self, workflow: str | None) -> Durations | None:
        """Give what is known of a workflow, None if that is not enough."""
        durations = self._workflows.get(workflow or "")
        return durations if durations is not None and durations.count >= _ENOUGH else None


class Pace:
    """How close looks at one cohort may be: the more lists are read, the farther apart."""

    def __init__(self) -> None:
        self._at = 0.0
        self._rate = 0.0  # lists per second, lately

    def count(self, now: float) -> None:
        """Note that a list is read."""
        self._rate = self._rate * math.exp((self._at - now) / _LATELY) + 1 / _LATELY
        self._at = now

    def pressure(self, now: float) -> float:
        """Give what the price of a read is multiplied by: 1 while few lists are read."""
        rate = self._rate * math.exp((self._at - now) / _LATELY)
        return float(max(1.0, rate / _PER_SECOND) ** 2)

    def shortest(self, now: float) -> float:
        """Give the shortest pause between two looks, in seconds."""
        return float(_SHORTEST_PAUSE * self.pressure(now) ** _STRETCH)


def pause(
    groups: Iterable[tuple[Durations, float, int]],
    worth: float,
    longest: float,
    *,
    looked: bool = True,
) -> float:
    """Give the seconds until a look at all of these runs is worth its price.

    Args:
        groups: what is known of a workflow, the age of its runs in seconds, and how many they are.
        worth: the price of the look.
        longest: the longest pause.
        looked: whether they were all running just now; else nobody has looked at them yet.
    """
    over, going = 0.0, []
    for durations, age, runs in groups:
        ended = 0.0 if looked else runs * durations.ended_by(age)
        over += ended
        going.append((durations, age, runs - ended))
    cost = now = 0.0
    expected = over
    for step in _STEPS:
        ended = over + sum(n * d.ends_within(age, step) for d, age, n in going)
        more = (expected + ended) / 2 * (step - now)
        if more and cost + more >= worth:
            now += (step - now) * (worth - cost) / more
            break
        if step >= longest:
            return longest
        cost, expected, now = cost + more, ended, step
    return min(now, longest)

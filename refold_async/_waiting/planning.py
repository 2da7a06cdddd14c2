"""When to look at what is waited for: ages, what is learned of durations, and the pace of lists."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from refold_async._models import created_at
from refold_async._waiting.cadence import Cadence, Pace, pause, price

if TYPE_CHECKING:
    from refold_async._clock import Clock
    from refold_async._config import PollPolicy
    from refold_async._models import Execution
    from refold_async._stats import Counters
    from refold_async._transport import ServerClock
    from refold_async._waiting.pool import Cohort
    from refold_async._waiting.watch import Watch

_GROWTH = 1.5
_JITTER = 0.15
_DAY = 86_400.0
_BEFORE = 2.0
"""Seconds for which a run may have existed before it was known here: `Date` counts whole ones."""


class Planner:
    """Sets when runs and cohorts are due, and learns from the ends that are seen."""

    def __init__(
        self, policy: PollPolicy, clock: Clock, server_clock: ServerClock, counters: Counters
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._server_clock = server_clock
        self._counters = counters
        self._cadence = Cadence()
        self._pace = Pace()

    def knows(self, watch: Watch) -> bool:
        """Whether it is known how long runs of the workflow take."""
        return self._cadence.of(watch.workflow) is not None

    def count_list(self) -> None:
        """Note that a list is read."""
        self._pace.count(self._clock.monotonic())

    def date(self, watch: Watch, *, fresh: bool) -> None:
        """Find out when a run was created."""
        now = self._clock.monotonic()
        service_now = self._server_clock.at(self._clock.time())
        told = created_at(watch.execution_id)
        if told is not None:
            watch.created = told.timestamp()
        watch.fresh = fresh
        if fresh:
            watch.born = watch.due - self._policy.first
            if watch.created is None or abs(service_now - watch.created) > _DAY:
                watch.created = service_now - (now - watch.born) - _BEFORE
                watch.unsure = 2 * _BEFORE
        elif watch.created is not None:
            watch.born = now - max(service_now - watch.created, 0.0)
        known = self._cadence.of(watch.workflow)
        if fresh and known is not None and watch.born is not None:
            watch.due = watch.born + pause([(known, 0.0, 1)], price(1), self._policy.max_interval)

    def eta(self, watch: Watch) -> float | None:
        """Give the seconds a run will probably still take, None if nothing tells."""
        if watch.result is not None or watch.progress.ended:
            return 0.0
        if watch.born is None:
            return None
        age = self._clock.monotonic() - watch.born
        known = self._cadence.of(watch.workflow)
        if known is not None:
            return known.remaining(age)
        snapshot, seen_at = watch.progress.snapshot, watch.progress.seen_at
        done = None if snapshot is None else snapshot.completion_percentage
        if done is None or seen_at is None or not done > 0:
            return None
        return max((seen_at - watch.born) * 100 / done - age, 0.0)

    def postpone(self, watch: Watch, *, at_once: bool) -> None:
        """Set the next look at one run: at once if just the output of an ended one is missing."""
        now = self._clock.monotonic()
        known = self._cadence.of(watch.workflow)
        longest = min([self._policy.max_interval, *(watch.watchers or ())])
        if at_once:
            wait = 0.0
        elif known is not None and watch.born is not None:
            wait = pause([(known, now - watch.born, 1)], price(1), longest)
        else:
            wait = min(watch.interval, longest) * random.uniform(1 - _JITTER, 1 + _JITTER)
            watch.interval = min(watch.interval * _GROWTH, self._policy.max_interval)
        watch.due = max(now + wait, watch.progress.not_before)

    def plan(self, cohort: Cohort) -> None:
        """Set the next look at a cohort."""
        now = self._clock.monotonic()
        groups: dict[tuple[str | None, int], int] = {}
        youngest = math.inf
        for watch in cohort.members.values():
            age = now - (watch.born if watch.born is not None else now)
            if self._cadence.of(watch.workflow) is None:
                youngest = min(youngest, age)
            else:
                key = watch.workflow, int(age)
                groups[key] = groups.get(key, 0) + 1
        longest = self._policy.max_interval
        shortest = min(self._pace.shortest(now), longest) if cohort.looked else 0.0
        if youngest < math.inf:
            longest = min(longest, self._policy.first + youngest / 2) if cohort.looked else 0.0
        known = [(d, age + 0.5, n) for (w, age), n in groups.items() if (d := self._cadence.of(w))]
        worth = price(min(len(cohort.members), self._policy.page_size)) * self._pace.pressure(now)
        wait = pause(known, worth, longest, looked=cohort.looked)
        cohort.due = max(now + max(wait, shortest), cohort.not_before)

    def learn(self, watch: Watch, run: Execution | None) -> bool:
        """Learn from an end how long runs of the workflow take, and how late it was noticed.

        Returns:
            Whether the workflow is known from now on, and was not before.
        """
        if watch.learned:
            return False
        watch.learned = True
        now = self._clock.monotonic()
        if run is not None and run.completed_at is not None and run.created_at is not None:
            took = (run.completed_at - run.created_at).total_seconds()
            late = self._server_clock.at(self._clock.time()) - run.completed_at.timestamp()
            if late >= 0 and watch.fresh:  # others may have been over for long
                self._counters.noticed += 1
                self._counters.unnoticed_for += late
        elif watch.fresh and watch.born is not None:
            took = now - watch.born
        else:
            return False
        return self._cadence.observe(watch.workflow, took)

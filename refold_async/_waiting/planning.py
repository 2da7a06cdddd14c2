"""When to look at what is waited for: how old it is, what is learned, and what reads cost now."""

from __future__ import annotations

import math
import random
from operator import itemgetter
from typing import TYPE_CHECKING

from refold_async._models import ExecutionStatus, created_second
from refold_async._waiting.cadence import UNKNOWN, Cadence, Group, Pace, pause, pressure
from refold_async._waiting.pool import FEWEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refold_async._clock import Clock
    from refold_async._config import PollPolicy
    from refold_async._models import Execution
    from refold_async._stats import Counters
    from refold_async._transport import ServerClock
    from refold_async._waiting.cadence import Durations
    from refold_async._waiting.pool import Account, Page
    from refold_async._waiting.push import Pushes
    from refold_async._waiting.watch import Watch

_JITTER = 0.08
"""Share by which a pause may vary, so that what was started together drifts apart."""
_TOO_SOON = 0.25
"""Share of a pause that may be missing at a look; if more is, reads have become dearer since."""
_OLD = 60.0
"""Seconds after which a run of an unknown workflow counts as old: it may well go on for as long."""
_DAY = 86_400.0
_BEFORE = 2.0
"""Seconds for which a run may have existed before it was known here: `Date` counts whole ones."""
_SAMPLED = 16
"""Of so many runs of a known workflow one is read whole at its first look, to go on learning."""
_BACKOFF = 15.0
"""Seconds between two looks that fail, at most."""
_PLANNED_FOR = 0.25
"""Share of a pause for which its end is not computed anew, if nothing becomes known of the run."""
_HARDLY = 0.9
"""Share of the time up to the first look that a run is taken to have lasted, if nothing tells."""


class Planner:
    """Sets when pages are due, and learns from the ends that are seen."""

    def __init__(
        self,
        policy: PollPolicy,
        clock: Clock,
        server_clock: ServerClock,
        counters: Counters,
        accounts: Mapping[str | None, Account],
        pushes: Pushes,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._server_clock = server_clock
        self._counters = counters
        self._cadence = Cadence()
        self._pace = Pace()
        self._dated = 0
        self._accounts = accounts
        self.pushes = pushes

    def service_now(self) -> float:
        """Give the service's time, in epoch seconds."""
        return self._server_clock.at(self._clock.time())

    def knows(self, watch: Watch) -> bool:
        """Whether it is known how long runs of the workflow take."""
        return self._cadence.of(watch.workflow) is not UNKNOWN

    def date(self, watch: Watch) -> None:
        """Find out when a run was created, and whether its first look is to teach something."""
        now, service_now = self._clock.monotonic(), self.service_now()
        second = created_second(watch.execution_id)
        if second is not None and abs(service_now - second) < _DAY * 365:
            watch.created = float(second)
        if watch.fresh:
            watch.born = watch.going_at = watch.not_before
            if watch.created is None or abs(service_now - watch.created) > _DAY:
                watch.created = service_now - (now - watch.born) - _BEFORE
                watch.unsure = 2 * _BEFORE
        elif watch.created is not None:
            watch.born = now - max(service_now - watch.created, 0.0)
        if self.knows(watch):
            self._dated += 1
            watch.sample = self._dated % _SAMPLED == 0

    def is_new(self, watch: Watch) -> bool:
        """Whether the service need not know a run yet: it was started a moment ago."""
        if watch.born is None:
            return False
        return self._clock.monotonic() - watch.born <= self._policy.not_found_grace

    def eta(self, watch: Watch) -> float | None:
        """Give the seconds a run will probably still take, None if nothing tells."""
        if watch.ending is not None or watch.progress.over:
            return 0.0
        if watch.born is None:
            return None
        age = self._clock.monotonic() - watch.born
        known = self._cadence.of(watch.workflow)
        if known is not UNKNOWN:
            return known.remaining(age)
        snapshot, seen_at = watch.progress.snapshot, watch.progress.seen_at
        done = None if snapshot is None else snapshot.completion_percentage
        if done is None or seen_at is None or not done > 0:
            return None
        return max((seen_at - watch.born) * 100 / done - age, 0.0)

    # -- what reads cost ---------------------------------------------------------------------

    def count_read(self, account: Account) -> None:
        """Note a read that was made to look: a list, or a single one that was in vain."""
        now = self._clock.monotonic()
        self._pace.count(now)
        account.pace.count(now)

    def _pressure(self, account: Account, now: float) -> float:
        """Give how much dearer reads are now: an account which makes few pays for no others."""
        own = account.pace.rate(now) * len(self._accounts)
        return pressure(min(self._pace.rate(now), own))

    # -- the next look -----------------------------------------------------------------------

    def plan(self, page: Page) -> None:
        """Set the next look at a page."""
        now = self._clock.monotonic()
        page.planned_for = len(page.runs)
        page.fewest = 2 if all(self._is_old(watch, now) for watch in page.runs.values()) else FEWEST
        if not page.runs:
            page.due = math.inf
        elif page.account.reads_list(page, now):
            page.due = self._next_list(page, now)
        else:
            page.due = self.next_single(page)[0]
            if not page.single and page.account.lists.good_from > now:
                page.due = min(page.due, page.account.lists.good_from)

    def _next_list(self, page: Page, now: float) -> float:
        """Give when a list that shows the runs of a page is worth its price."""
        groups: dict[tuple[str | None, int, int], Group] = {}
        newest, anew, told, missed_at = None, False, False, math.inf
        for watch in page.runs.values():
            known = self._cadence.of(watch.workflow)
            if watch.looking:
                continue  # it is being read by itself
            told = told or watch.hinted
            if watch.going_at is None:  # it may have been over for long
                anew = anew or watch.missed_at == math.inf
                missed_at = min(missed_at, watch.missed_at)
            elif known is not UNKNOWN:
                group = _group(watch, known, now)
                key = watch.workflow, int(10 * group.since), int(group.age)
                same = groups.get(key)
                groups[key] = group if same is None else same._replace(runs=same.runs + 1)
            elif newest is None or _born(watch) > _born(newest):
                newest = watch
        parts, last_look = [*groups.values()], page.looked_at
        if newest is not None:  # what is not known of one is not known of all: they are as one
            parts.append(_group(newest, UNKNOWN, now))
            last_look = max(last_look, _born(newest))
        if told:
            return now
        if anew:
            return max(now, page.looked_at)
        dearer = self._pressure(page.account, now)
        shortest = min(self._policy.first, self._longest(dearer))
        due = max(now, missed_at + shortest)  # `inf` if all are being read by themselves
        if parts:
            wait = self._pause(parts, page.account.name, dearer)
            due = min(due, max(now + wait, last_look + shortest))
        return due

    def _is_old(self, watch: Watch, now: float) -> bool:
        return now - _born(watch) > _OLD and watch.going_at is not None and not self.knows(watch)

    def next_single(self, page: Page) -> tuple[float, Watch | None]:
        """Give the run of a page that is to be read next by itself, and when."""
        now = self._clock.monotonic()
        idle = (
            (self._lately_due(each, now), each) for each in page.runs.values() if not each.looking
        )
        return min(idle, key=itemgetter(0), default=(math.inf, None))

    def _lately_due(self, watch: Watch, now: float) -> float:
        """Give when a run is due, as computed a moment ago."""
        if now >= watch.planned_until:
            watch.planned = self.due(watch)
            watch.planned_until = now + _PLANNED_FOR * (watch.planned - now)
        return watch.planned

    def due(self, watch: Watch) -> float:
        """Give when a run is to be read by itself."""
        now, progress = self._clock.monotonic(), watch.progress
        if progress.over or watch.document or watch.going_at is None:
            return max(now, watch.not_before)
        due = self._worth_it_from(watch, now)
        if watch.hint is not None and watch.hinted:
            due = watch.hint.due
        if watch.wants_document:
            read_at, first = progress.read_at, now
            if watch.fresh:
                first = watch.going_at + self._policy.first
            due = min(due, first if read_at is None else read_at + min(watch.readers or ()))
        return max(due, watch.not_before)

    def _worth_it_from(self, watch: Watch, now: float) -> float:
        """Give when a read of a run that goes on is worth its price."""
        assert watch.going_at is not None  # noqa: S101 - others are read at once
        dearer = 1.0 if watch.page is None else self._pressure(watch.page.account, now)
        shortest = min(self._policy.first, self._longest(dearer))
        known = self._cadence.of(watch.workflow)
        seen = watch.progress.last_look_at is not None
        if not seen and known is UNKNOWN:
            lost = self.pushes.lost(watch.account, now - watch.going_at)
            return watch.going_at + min(shortest / lost, max(shortest, self._policy.push_sweep))
        wait = self._pause([_group(watch, known, now)], watch.account, dearer, single=True)
        if known is UNKNOWN:
            wait *= random.uniform(1 - _JITTER, 1 + _JITTER)
        return max(now + wait, watch.going_at + shortest) if seen else now + wait

    def is_too_soon(self, watch: Watch) -> bool:
        """Whether a look that was planned is far from worth its price: reads have become dearer."""
        watch.planned = self.due(watch)
        now = self._clock.monotonic()
        return watch.planned - now > _TOO_SOON * (now - (watch.going_at or now))

    def is_list_too_soon(self, page: Page) -> bool:
        """Whether pushes have told so many ends that a list which was planned is not worth it."""
        if self.pushes.lost(page.account.name) == 1.0:
            return False
        now = self._clock.monotonic()
        return self._next_list(page, now) > now + self._policy.first

    def back_off(self, watch: Watch, tries: int, asked: float = 0.0) -> None:
        """Put off the next look at a run, after so many that did not tell what they should."""
        wait = min(self._policy.first * 2 ** min(tries - 1, 16), _BACKOFF)
        watch.not_before = self._clock.monotonic() + max(wait, asked)

    def _longest(self, dearer: float) -> float:
        return self._policy.max_interval * math.sqrt(dearer)

    def _pause(
        self, groups: list[Group], account: str | None, dearer: float, *, single: bool = False
    ) -> float:
        """Give the pause that is worth it; with pushes one that leaves no run unseen for long."""
        longest, sweep = self._longest(dearer), self._policy.push_sweep
        seen = max(group.since for group in groups)
        lost = self.pushes.lost(account, seen)
        if lost < 1.0:
            most = max(longest, sweep)
            wait = pause(groups, most, pressure=dearer, lost=lost, single=single)
            if seen + wait <= sweep:
                return wait
        as_ever = pause(groups, longest, pressure=dearer, single=single)
        return as_ever if lost == 1.0 else max(as_ever, sweep - seen)

    def joined(self, watch: Watch) -> None:
        """Begin to wait for a run: its end may have been told already, or be expected."""
        self.pushes.joined(watch)
        known = self._cadence.of(watch.workflow)
        if watch.born is not None and known is not UNKNOWN:
            at = watch.born + known.mostly
            if at > self._clock.monotonic():
                self.pushes.expect(watch, at)

    # -- what is learned ---------------------------------------------------------------------

    def learn(self, watch: Watch, run: Execution | None, *, listed: bool = False) -> None:
        """Learn from an end how long runs of the workflow take, and how late it was noticed.

        Args:
            watch: the run.
            run: what was read of it, if that may tell its times.
            listed: whether a list showed the end. Lists look at runs whatever their age, while a
                single look comes when an end is likely, so without times it teaches only samples.
        """
        if watch.learned:
            return
        watch.learned = True
        self.pushes.ended(watch, ExecutionStatus.COMPLETED if run is None else run.status)
        now, known = self._clock.monotonic(), self._cadence.of(watch.workflow)
        if run is not None and run.completed_at is not None and run.created_at is not None:
            took = (run.completed_at - run.created_at).total_seconds()
            late = self.service_now() - run.completed_at.timestamp()
            if 0 <= late < _DAY and watch.fresh:  # others may have been over for long
                self._counters.noticed += 1
                self._counters.unnoticed_for += late
        elif watch.fresh and watch.hint is not None:
            took = watch.hint.at - _born(watch)
        elif not watch.fresh or not (listed or watch.sample or now - _born(watch) > known.longest):
            return
        else:
            going_at = _born(watch) if watch.going_at is None else watch.going_at
            nothing_between = going_at <= _born(watch)
            took = (
                (now - going_at) * (_HARDLY if nothing_between else 0.5) + going_at - _born(watch)
            )
        self._cadence.observe(watch.workflow, took)


def _born(watch: Watch) -> float:
    return -math.inf if watch.born is None else watch.born


def _group(watch: Watch, known: Durations, now: float) -> Group:
    going_at = now if watch.going_at is None else watch.going_at
    born = going_at if watch.born is None else watch.born
    return Group(known, max(going_at - born, 0.0), now - going_at, 1)

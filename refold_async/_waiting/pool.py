"""Which pending runs one list request answers for, and what its answer tells about each.

A list is asked for the runs from the oldest pending one on, in order of creation: closed at that
end, its pages can't shift. What one page shows is a cohort. Where lists prove unable to see our
runs (others crowd them out, filters are ignored, entries come late) the runs are read singly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from refold_async._models import Execution
from refold_async._waiting.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from refold_async._models import Page

SLACK = 1.0
"""Seconds by which an id may tell another time than the list: ObjectIds count whole seconds."""
FEWEST = 3
"""Runs from which on a list is asked: two are read singly, which brings their output along."""
_PATIENCE = 2
"""Lists that may lack a run before it is read singly: a new run may come late."""
_BLIND_FOR, _BLIND_AT_MOST = 60.0, 3600.0


@attrs.define
class Seen:
    """What a page told of a cohort."""

    running: list[tuple[Watch, Execution]] = attrs.field(factory=list)
    left: list[Watch] = attrs.field(factory=list)  # to be read singly from now on
    rest: Cohort | None = None  # the runs beyond the page


@attrs.define(eq=False, repr=False)
class Cohort:
    """Pending runs of one account, created one after the other, that one page of a list shows.

    The newest one of an account is open: runs that start join it. When a page is full, the runs
    beyond it make up the next cohort.
    """

    field: Field
    due: float  # monotonic seconds of the next look
    after: float = -math.inf  # all were created later, by the service's clock
    oldest: float = math.inf  # the creation of the oldest, or just before
    members: dict[str, Watch] = attrs.field(factory=dict)
    queued_for: float | None = None
    looking: bool = False
    looked: bool = False  # at least once
    failures: int = 0  # list requests that failed in a row
    not_before: float = 0.0  # the service asked not to look earlier

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for one of the runs."""
        return bool(self.members)

    def add(self, watch: Watch) -> None:
        """Take a run in."""
        self.field.pending += 1
        self.members[watch.execution_id] = watch
        self.oldest = min(self.oldest, _created(watch))
        watch.cohort = self

    def remove(self, watch: Watch) -> None:
        """Let go of a run."""
        self.field.pending -= 1
        del self.members[watch.execution_id]
        watch.cohort = None

    def window(self) -> tuple[float, float]:
        """Give the times between which a list shows all of the runs."""
        self.oldest = min(map(_created, self.members.values()))
        return max(self.after, self.oldest), max(map(_latest, self.members.values()))


@attrs.define(eq=False, repr=False)
class Field:
    """The pending runs of one account."""

    account: str | None
    grace: float  # seconds for which a new run may be missing from lists
    open: Cohort | None = None  # that runs that start now join
    loose: dict[str, Watch] = attrs.field(factory=dict)  # too few yet for a list
    pending: int = 0  # runs in cohorts, closed ones included
    blind_until: float = -math.inf  # monotonic seconds; lists are no use before
    blindness: float = _BLIND_FOR
    useless: int = 0  # pages in a row that were not worth their price

    def place(self, watch: Watch, now: float) -> Cohort | None:
        """Find the cohort a run belongs to, a new one if need be; None: it is read singly."""
        if watch.alone or watch.created is None or now < self.blind_until:
            return None
        if self._may_join(watch.created):
            assert self.open is not None  # noqa: S101 - as was asked
            self.open.add(watch)
            return self.open
        self.loose[watch.execution_id] = watch
        if len(self.loose) < FEWEST:
            return None
        due = min(w.due for w in self.loose.values())
        self.open = Cohort(self, due)
        for loose in self.loose.values():
            self.open.add(loose)
        self.loose.clear()
        return self.open

    def _may_join(self, created: float) -> bool:
        cohort = self.open
        if cohort is None or not cohort.members:
            return False
        return created >= max(cohort.oldest, cohort.after) - SLACK

    def release(self, watch: Watch) -> None:
        """Let go of a run nobody waits for, or that has ended."""
        self.loose.pop(watch.execution_id, None)
        if watch.cohort is not None:
            watch.cohort.remove(watch)
        if self.open is not None and not self.open.members:
            self.open = None

    def is_empty(self, now: float) -> bool:
        """Whether nothing is left to keep: no run, and no blindness that may come back."""
        return not self.loose and not self.pending and now >= self.blind_until + self.blindness

    def absorb(
        self,
        cohort: Cohort,
        asked: Container[str],
        page: Page[Execution],
        begin: float,
        now: float,
    ) -> Seen:
        """Compare a page with a cohort; members that ended or should be read singly leave it.

        Args:
            cohort: the runs that were looked for.
            asked: ids of its members when the list was asked for; since then some may have left,
                and others joined.
            page: the first page of the list from `begin` on, oldest first.
            begin: in the service's epoch seconds.
            now: monotonic seconds.
        """
        seen, was_looked_at = Seen(), cohort.looked
        cohort.looked = True
        rows = {entry.execution_id: entry for entry in page}
        end = _end_of(page, begin)
        if end is None:  # not what was asked for
            self._go_blind(now)
            seen.left = self._dissolve(cohort)
            return seen
        found, missed, beyond = 0, 0, []
        for watch in list(cohort.members.values()):
            entry = rows.get(watch.execution_id)
            if entry is not None:
                found += 1
                watch.missed = 0
                if entry.created_at is not None:
                    watch.created, watch.unsure = entry.created_at.timestamp(), SLACK
                if entry.status.is_terminal:
                    cohort.remove(watch)
                else:
                    seen.running.append((watch, entry))
            elif _latest(watch) >= end:
                beyond.append(watch)
            elif watch.execution_id in asked and self._should_show(watch, now):
                missed += 1
                self._miss(watch, seen)
        if beyond:
            seen.rest = self._split(cohort, beyond, after=end)
        useful = found >= missed and (found >= FEWEST or not beyond)
        self._judge(cohort, seen, now, useful=useful)
        lonely = cohort is not self.open or was_looked_at  # nobody has joined meanwhile
        if lonely and len(cohort.members) == 1:
            seen.left += self._dissolve(cohort)
        return seen

    def _should_show(self, watch: Watch, now: float) -> bool:
        return watch.born is None or now - watch.born > self.grace

    def _miss(self, watch: Watch, seen: Seen) -> None:
        watch.missed += 1
        if watch.missed >= _PATIENCE:
            watch.alone = True
            seen.left.append(watch)
            self.release(watch)

    def _split(self, cohort: Cohort, beyond: Iterable[Watch], *, after: float) -> Cohort:
        rest = Cohort(self, cohort.due, after=after)
        for watch in beyond:
            cohort.remove(watch)
            rest.add(watch)
        if self.open is cohort:
            self.open = rest
        return rest

    def _judge(self, cohort: Cohort, seen: Seen, now: float, *, useful: bool) -> None:
        """Notice when pages show hardly any run of ours: others crowd them out, or they lag."""
        if useful:
            self.useless, self.blindness = 0, _BLIND_FOR
            return
        self.useless += 1
        seen.left += self._dissolve(cohort)
        if self.useless > _PATIENCE:
            self._go_blind(now)
            if seen.rest is not None:
                seen.left += self._dissolve(seen.rest)
                seen.rest = None

    def _dissolve(self, cohort: Cohort) -> list[Watch]:
        """Take a cohort apart; the last runs of a closed one stay apart."""
        watches = list(cohort.members.values())
        for watch in watches:
            cohort.remove(watch)
            watch.alone = True
        if self.open is cohort:
            self.open = None
        return watches

    def _go_blind(self, now: float) -> None:
        if now < self.blind_until:  # another cohort has met the same trouble
            return
        self.blind_until = now + self.blindness
        self.blindness = min(2 * self.blindness, _BLIND_AT_MOST)

    def give_up(self, cohort: Cohort, now: float) -> list[Watch]:
        """Take a cohort apart whose list can't be read."""
        self._go_blind(now)
        return self._dissolve(cohort)


def _created(watch: Watch) -> float:
    assert watch.created is not None  # noqa: S101 - others are not placed in cohorts
    return watch.created


def _latest(watch: Watch) -> float:
    return _created(watch) + watch.unsure


def _end_of(page: Page[Execution], begin: float) -> float | None:
    """Give the time up to which a page shows all runs; None if it is not the list asked for."""
    last = begin - SLACK
    for entry in page:
        if entry.created_at is None or entry.created_at.timestamp() < last:
            return None  # out of order, or older than asked for
        last = entry.created_at.timestamp()
    return last if page.has_next else math.inf

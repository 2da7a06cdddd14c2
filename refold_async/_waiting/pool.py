"""The pending runs of an account, in the order of their creation, and what one list shows of them.

A list is asked for the runs from the oldest one of a page on, in order of creation: closed at that
end, what it shows can't shift. It is known up to its last entry; there the next page begins.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

import attrs

from refold_async._models import created_second
from refold_async._waiting.cadence import Pace
from refold_async._waiting.watch import Watch

if TYPE_CHECKING:
    from refold_async._models import Execution
    from refold_async._models import Page as Reply

SLACK = 1.0
"""Seconds by which an id may tell another time than the list: ObjectIds count whole seconds."""
FEWEST = 3
"""Runs from which on a list is asked: two are read singly, which brings their output along, unless
they are old and nobody knows how long they take: then neither is likely to be over."""
_LONG_REST, _LONGEST_REST = 60.0, 3600.0
"""Seconds for which lists are left alone at most that were of no use: a minute where they can't be
read, for that passes, and an hour where they show something else: so the service is."""
_SMALLEST = 10
"""Entries asked for at least; the service's own default."""
_SIZE_FOR = 3600.0
"""Seconds for which a smaller size is asked for after one was refused."""
_DAY = 86_400.0
"""Seconds ahead of the service's clock beyond which a time is a broken one."""


@attrs.define(eq=False, repr=False)
class Page:
    """Runs of an account that are looked at together: by one list, or one by one.

    One that is `single` holds a run that is read by itself, and stands in no order.
    """

    account: Account
    due: float = math.inf  # monotonic seconds of the next look
    single: bool = False
    begin: float = -math.inf  # all were created then or later, by the service's clock
    number: int = 1  # of the list's pages from `begin` on: times in whole seconds may fill some
    newest: float = -math.inf  # no run in it was created later
    runs: dict[str, Watch] = attrs.field(factory=dict)
    planned_for: int = 0  # so many runs, when `due` was set
    fewest: int = FEWEST  # runs from which on a list is asked
    looked_at: float = -math.inf  # the last list of it was read
    queued_for: float | None = None  # `due` of its entry in the queue
    looking: bool = False

    def add(self, watch: Watch) -> None:
        """Take a run in."""
        self.runs[watch.execution_id] = watch
        watch.page = self
        if watch.created is not None:
            self.newest = max(self.newest, watch.created)

    def window(self) -> tuple[float, float]:
        """Give the times between which a list shows all of the runs."""
        end = max(_created(watch) + watch.unsure for watch in self.runs.values())
        if self.number > 1:
            return self.begin, max(end, self.begin)
        begin = max(self.begin, min(_created(watch) for watch in self.runs.values()))
        return begin, max(end, begin)


@attrs.define(eq=False, repr=False)
class Lists:
    """Whether the lists of an account are any good: they are, or of no use before `good_from`."""

    size: int  # entries to ask for
    first_rest: float = 1.0  # seconds for which lists are left alone at first; doubled each time
    good_from: float = -math.inf  # monotonic seconds
    _full_size: int = attrs.field(init=False)
    _size_until: float = -math.inf
    _rest: float = attrs.field(init=False)
    _failed_at: float = -math.inf

    def __attrs_post_init__(self) -> None:
        self._full_size, self._rest = self.size, self.first_rest

    def worked(self) -> None:
        """Note a list that was worth its price."""
        self._rest = self.first_rest

    def failed(self, asked_at: float, now: float, *, passing: bool, pause: float = 0.0) -> None:
        """Leave lists alone for a while; trouble met by several at once counts once.

        Args:
            asked_at: when the list was asked for that was of no use.
            now: monotonic seconds.
            passing: whether it could not be read, which passes, rather than showed something else.
            pause: seconds for which the service asks to be left alone.
        """
        if asked_at > self._failed_at:
            self._failed_at = now
            self.good_from = now + max(self._rest, now - asked_at)  # one that hung costs as long
            self._rest = min(2 * self._rest, _LONG_REST if passing else _LONGEST_REST)
        if pause:
            self.good_from = max(self.good_from, now + pause)

    def refused_size(self, now: float) -> bool:
        """Ask for fewer entries from now on; False if they are few already."""
        if self.size <= _SMALLEST:
            return False
        self.size, self._size_until = max(self.size // 2, _SMALLEST), now + _SIZE_FOR
        return True

    def forget_refusals(self, now: float) -> None:
        """Ask for full pages again, an hour after they were refused."""
        if now > self._size_until:
            self.size = self._full_size


@attrs.define(eq=False, repr=False)
class Account:
    """The pending runs of one account, and how looks at them fare."""

    name: str | None
    lists: Lists
    pages: list[Page] = attrs.field(factory=list)  # in order of creation
    singles: int = 0  # pages that stand in no order
    pace: Pace = attrs.field(factory=Pace)
    failing: bool = False  # the last look failed
    in_flight: int = 0  # looks
    backlog: deque[Page] = attrs.field(factory=deque)  # due, waiting for a turn

    @property
    def idle(self) -> bool:
        """Whether nobody waits for any of its runs."""
        return not (self.pages or self.singles or self.in_flight)

    def lists_are_good(self, now: float) -> bool:
        """Whether lists may be asked for."""
        return now >= self.lists.good_from

    def reads_list(self, page: Page, now: float) -> bool:
        """Whether the next look at a page is a list."""
        return not page.single and len(page.runs) >= page.fewest and self.lists_are_good(now)

    def read_singly(self, now: float) -> int:
        """Give how many of its runs are read by themselves just now."""
        pages = (page for page in self.pages if not self.reads_list(page, now))
        return self.singles + sum(len(page.runs) for page in pages)

    def place(self, watch: Watch, *, single: bool) -> Page:
        """Put a run among the others in the order of creation, or by itself.

        A new page begins only where it is certain that its runs are later than those before.
        """
        if single:
            self.singles += 1
            page = Page(self, single=True)
            page.add(watch)
            return page
        created = _created(watch)
        at = bisect_right(self.pages, (created, math.inf), key=_order) - 1
        if at < 0 and self.pages and len(self.pages[0].runs) < self.lists.size:
            at, self.pages[0].begin = 0, created
        is_later = at >= 0 and created >= self.pages[at].newest + watch.unsure
        if at < 0 or (is_later and len(self.pages[at].runs) >= self.lists.size):
            at += 1
            self.pages.insert(at, Page(self, begin=created))
        page = self.pages[at]
        page.add(watch)
        if len(page.runs) >= 2 * self.lists.size and page.newest - page.begin > 2 * watch.unsure:
            self._cut(page)
        placed: Page = watch.page
        return placed

    def _cut(self, page: Page) -> None:
        """Make two pages of one that others have joined in the middle."""
        runs = sorted(page.runs.values(), key=_created)
        middle = _created(runs[len(runs) // 2])
        if page.number == 1 and middle > max(page.begin, _created(runs[0])):
            later = [watch for watch in runs if _created(watch) >= middle]
            self._move(later, page, middle, 1)

    def _move(self, runs: list[Watch], page: Page, begin: float, number: int) -> Page:
        """Move runs to the page that begins there: the next one, if it has room, or a new one."""
        at = self.pages.index(page) + 1
        later = self.pages[at] if at < len(self.pages) else None
        if later and later.number == number and len(later.runs) + len(runs) < 2 * self.lists.size:
            later.begin = min(begin, later.begin)
        else:
            later = Page(self, begin=begin, number=number)
            self.pages.insert(at, later)
        for watch in runs:
            del page.runs[watch.execution_id]
            later.add(watch)
        page.newest = max(map(_created, page.runs.values()), default=page.begin)
        return later

    def release(self, watch: Watch) -> None:
        """Let go of a run nobody waits for, or that is read by itself from now on."""
        page, watch.page = watch.page, None
        if page is None:
            return
        del page.runs[watch.execution_id]
        if page.single:
            self.singles -= 1
        elif not page.runs:
            self.pages.remove(page)

    def absorb(
        self,
        page: Page,
        asked: set[str],
        reply: Reply[Execution],
        begin: float,
        service_now: float,
    ) -> tuple[bool, list[Watch], Page | None]:
        """Compare a page with the list it was asked for.

        Args:
            page: the runs that were looked for, some of which may have left since.
            asked: ids of its runs when the list was asked for.
            reply: the entries from `begin` on, the oldest first.
            begin: in the service's epoch seconds.
            service_now: the service's time.

        Returns:
            Whether the list was worth its price, the runs it should have shown and did not, and the
            page of the runs beyond its end.
        """
        shown = {entry.execution_id for entry in reply if tells(entry)}
        end = _end_of(reply, begin, service_now)
        found = len(asked & shown)
        if end is None:
            return False, [], None
        missed, beyond = [], []
        for watch in page.runs.values():
            if watch.execution_id in shown:
                continue
            if _created(watch) + watch.unsure >= end:
                beyond.append(watch)
            elif watch.execution_id in asked:
                missed.append(watch)
        rest = None
        number = page.number + 1 if end <= begin else 1
        if len(beyond) == len(page.runs):  # others fill it: ours are later
            page.begin, page.number = end, number
        elif beyond:
            rest = self._move(beyond, page, end, number)
        return found >= page.fewest or not beyond, missed, rest


def _created(watch: Watch) -> float:
    assert watch.created is not None  # noqa: S101 - others are not placed
    return watch.created


def _order(page: Page) -> tuple[float, int]:
    return page.begin, page.number


def tells(entry: Execution) -> bool:
    """Tell whether an entry of a list says how its run stands; else it shows nothing of it."""
    return entry.status != "UNKNOWN"


def created_of(entry: Execution, service_now: float) -> float | None:
    """Give when a run was created, in epoch seconds: by its entry, or else its id."""
    if entry.created_at is not None:
        told = entry.created_at.timestamp()
        if 0 < told < service_now + _DAY:
            return told
    second = created_second(entry.execution_id)
    return second if second is not None and 0 < second < service_now + _DAY else None


def _end_of(reply: Reply[Execution], begin: float, service_now: float) -> float | None:
    """Give the time up to which a list shows all runs; None if it is not the one asked for."""
    last, timed = begin - SLACK, False
    for entry in reply:
        created = created_of(entry, service_now)
        if created is None:
            continue
        if created < last - SLACK * timed:
            return None  # out of order, or older than asked for
        last, timed = max(last, created), True
    if not reply.has_next:
        return math.inf
    return max(last, begin) if timed else None

"""What the lists of runs tell: which runs are ours, whether tags show, and what time it is there.

See: "List Executions".
"""

from __future__ import annotations

import re
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from refold_async._models import created_second
from refold_async._pacing import Priority
from refold_async._starting.service_time import Moment, ServiceTime

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from refold_async._clock import Clock
    from refold_async._models import Execution, Page
    from refold_async._transport import Api

MARGIN = 5.0
"""Seconds before the first attempt from which on runs are looked at: clocks are never exact."""
_MARGIN_UNKNOWN = 600.0
"""The same where nobody knew the service's time: such a look may find a run, and proves nothing."""
_KEPT_FOR = 86_400.0
"""Seconds for which runs are listed in any case; the documentation says thirty days."""
_REMEMBERED = 10_000
_MAX_PAGES = 1_000
OUR_TAG = re.compile(r"rfa-[0-9a-f]{32}")
_WORKFLOW_ID = re.compile(r"[0-9a-f]{24}")


class Owned(NamedTuple):
    """A run of ours: its tag, and when we knew of it, if it had just been started then."""

    tag: str | None
    known_at: Moment | None = None


_FOREIGN = Owned(None)


class Listed:
    """Reads the lists of runs, and knows what they have told.

    Args:
        api: that gives them.
        clock: what tells the time.
        page_size: runs of a page.
    """

    def __init__(self, api: Api, clock: Clock, page_size: int) -> None:
        self.api = api
        self.clock = clock
        self._page_size = page_size
        self.service_time = ServiceTime(clock, lambda: api.transport.server_clock.date)
        self._owned: OrderedDict[str, Owned] = OrderedDict()  # the oldest are forgotten
        self.tags_visible: bool | None = None  # None: no list has told yet

    @property
    def is_blind(self) -> bool:
        """Whether looking is pointless: the list is known not to show tags."""
        return self.tags_visible is False

    def own(self, execution_id: str, tag: str | None) -> None:
        """Remember that a call of this client started (or adopted) a run."""
        now = self.service_time.now()
        self.service_time.seen(execution_id, now)
        self.api.transport.server_clock.started(execution_id, now.wall)
        self._remember(execution_id, Owned(tag, now))

    def remember(self, execution_id: str, tag: str | None) -> None:
        """Remember that an earlier process started (or this one found) a run of ours.

        It was created long ago, so when we knew of it tells nothing of the service's clock.
        """
        self._remember(execution_id, Owned(tag))

    def _remember(self, execution_id: str, owned: Owned) -> None:
        self._owned[execution_id] = owned
        if len(self._owned) > _REMEMBERED:
            self._owned.popitem(last=False)

    def owner(self, execution_id: str) -> Owned | None:
        """Give the call that a run belongs to, if it is one of ours."""
        return self._owned.get(execution_id)

    def learn(self, listed: Iterable[Execution]) -> None:
        """Learn from list entries whether tags show: only our own runs can tell.

        One of ours without its tag settles it: then absence proves nothing any more.
        """
        for entry in listed:
            tag, known_at = self._owned.get(entry.execution_id, _FOREIGN)
            if known_at is not None and entry.created_at is not None:
                created = entry.created_at.timestamp()
                self.service_time.seen(created, known_at)
                self.api.transport.server_clock.created(created, known_at.wall)
            if tag is not None and entry.instance_tag != tag:
                self.tags_visible = False
            elif self.tags_visible is None and _shows_a_tag(entry, tag):
                self.tags_visible = True

    async def meet(self, account: str | None) -> None:
        """See to it that the service's time is known before a start, if need be by the newest run.

        Raises:
            RefoldError: the list can't be read.
        """
        now = self.service_time.now()
        if self.service_time.earliest(now) is not None:
            return
        times = [run.created_at for run in await self._read(account, {"limit": 1})]
        # What is started from now on is younger; where nothing is, everything will be.
        newest = max((time.timestamp() for time in times if time is not None), default=0.0)
        if None not in times:
            self.service_time.newest(newest, now)

    def service_now(self) -> float | None:
        """Give the service's time, or an earlier one; None if nothing has told it."""
        return self.service_time.earliest(self.service_time.now())

    async def begin(
        self, account: str | None, wall: float, service_time: float | None
    ) -> datetime | None:
        """Give the time from which on the list is read; None for all of it."""
        if service_time is not None:
            return date(service_time - MARGIN)
        clock = self.api.transport.server_clock
        if clock.offset is None:  # no reply has told it yet
            await self._read(account, {"limit": 1})
        return date(clock.at(wall) - _MARGIN_UNKNOWN)

    async def any_run(self, account: str | None, workflow_id: str) -> bool:
        """Tell whether the workflow has any run at all; learn from the newest."""
        newest = await self._read(account, {"limit": self._page_size, "workflow_id": workflow_id})
        self.learn(newest)
        return bool(newest.items)

    async def keeps(self, account: str | None, second: float, ago: float) -> bool:
        """Tell whether a run that was created then would be listed still, by an older one that is.

        Args:
            account: whose run it would be.
            second: when, by the service's clock.
            ago: how many seconds ago, by a clock of ours.

        Raises:
            RefoldError: the list can't be read.
        """
        now = max(self.service_now() or 0.0, self.api.transport.server_clock.at(self.clock.time()))
        if min(ago, now - second) < _KEPT_FOR:
            return True
        query = {"limit": 1, "end_date": date(second)}
        times = [run.created_at for run in await self._read(account, query)]
        return any(time is not None and time.timestamp() <= second for time in times)

    def age(self, entry: Execution) -> float:
        """Give the seconds since a run was created, or fewer if the clocks differ.

        Of the service's `Date` and our own clock the earlier one counts: a run that counts for too
        long is better than a second one. Runs of ours have shown that it is so late at least.
        """
        created = entry.created_at.timestamp() if entry.created_at is not None else None
        if created is None:
            created = created_second(entry.execution_id)
        now, clock = self.service_time.now(), self.api.transport.server_clock
        proven = self.service_time.earliest(now)
        told = None if clock.offset is None else min(now.wall, clock.at(now.wall))
        latest = max((time for time in (proven, told) if time is not None), default=None)
        return 0.0 if created is None or latest is None else max(latest - created, 0.0)

    async def pages(
        self,
        account: str | None,
        workflow_id: str | None,
        begin: datetime | None,
        at_most: int = _MAX_PAGES,
    ) -> AsyncGenerator[list[Execution] | None, None]:
        """Iterate over the runs since `begin`, newest first, by page; None if pages were left over.

        Newest first, so that runs that start meanwhile shift entries to later pages and none is
        missed; and a service that ignores `start_date` is left when its pages get too old.
        """
        query: dict[str, Any] = {"limit": self._page_size}
        if begin is not None:
            query["start_date"] = begin
        # An alias would match nothing here: then the runs of all workflows are looked through.
        if workflow_id is not None and _WORKFLOW_ID.fullmatch(workflow_id):
            query["workflow_id"] = workflow_id
        seen: set[str] = set()
        for number in range(1, at_most + 1):
            page = await self._read(account, {**query, "page": number})
            self.learn(page)
            yield [e for e in page if begin is None or not _is_before(e, begin)]
            too_old = begin is not None and any(_is_before(e, begin) for e in page)
            fresh = {e.execution_id for e in page} - seen
            if not page.has_next or too_old or not page.items:
                return
            if not fresh:
                break
            seen |= fresh
        yield None

    async def _read(self, account: str | None, query: dict[str, Any]) -> Page[Execution]:
        """Read a page; a start hangs on it, so it goes as soon as one."""
        return await self.api.list_executions(account=account, query=query, priority=Priority.START)

    async def find(self, account: str | None, tag: str, workflow_id: str) -> list[str]:
        """Give the ids of all runs that carry a tag, newest first."""
        found: dict[str, None] = {}
        async for page in self.pages(account, workflow_id, None):
            found.update({e.execution_id: None for e in page or () if e.instance_tag == tag})
        return list(found)

    async def check(self, account: str | None, workflow_id: str) -> bool | None:
        """Ask the list whether tags show; None if none of our runs is among the newest."""
        query = {"limit": self._page_size}
        if _WORKFLOW_ID.fullmatch(workflow_id):
            query["workflow_id"] = workflow_id  # type: ignore[assignment]
        self.learn(await self._read(account, query))
        return self.tags_visible


def _shows_a_tag(entry: Execution, tag: str | None) -> bool:
    shown = entry.instance_tag or ""
    return shown == tag if tag is not None else OUR_TAG.fullmatch(shown) is not None


def date(seconds: float) -> datetime | None:
    """Give a time from which on a list is read; None for all of it."""
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None


def _is_before(entry: Execution, begin: datetime) -> bool:
    return entry.created_at is not None and entry.created_at < begin

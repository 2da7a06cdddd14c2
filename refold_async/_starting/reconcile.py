"""After a lost answer: is the run in the list? Nothing is guessed.

A run is adopted only if it alone carries the exact tag of the call and no other call of this client
owns it. "Not in the list" proves absence only where tags are known to show in lists, the service's
own clock is known from runs, every page was read, and `settle` seconds have passed.

See: "List Executions".
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs

from refold_async._errors import RefoldError
from refold_async._logs import Log, about
from refold_async._models import created_second
from refold_async._pacing import Priority
from refold_async._starting.service_time import Moment, ServiceTime
from refold_async._starting.together import Together
from refold_async._transport import Finding
from refold_async._value import Value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from refold_async._clock import Clock
    from refold_async._config import RetryPolicy
    from refold_async._models import Execution, Page
    from refold_async._protocol import Request
    from refold_async._transport import Api

logger = Log("starting")

_MARGIN = 5.0
"""Seconds before the first attempt from which on runs are looked at: clocks are never exact."""
_MARGIN_UNKNOWN = 600.0
"""The same where nobody knew the service's time: such a look may find a run, and proves nothing."""
_LOOKS_IN_SAFE_MODE = 3
"""`safe` never sends again, so it looks more often before it gives up."""
_REMEMBERED = 10_000
_MAX_PAGES = 1_000
_OUR_TAG = re.compile(r"rfa-[0-9a-f]{32}")
_WORKFLOW_ID = re.compile(r"[0-9a-f]{24}")


@attrs.frozen(eq=False, repr=False)
class Found(Value):
    """What a look at the list came to.

    Attributes:
        finding: what it proves.
        execution_id: of the run that was found.
        age: seconds since that run was created, or fewer; known where a key's run is looked for.
    """

    finding: Finding
    execution_id: str | None = None
    age: float = 0.0


@attrs.frozen(eq=False, repr=False)
class Sightings(Value):
    """What one reading of the list came to for many tags.

    Attributes:
        found: the finding for each tag.
        caught_up: whether a run that was started after the crash showed in it.
    """

    found: Mapping[str, Found]
    caught_up: bool


@attrs.define(eq=False, repr=False)
class _Scan:
    """The runs of a list that carry certain tags, by tag; read back to `begin`, or all of it."""

    matches: dict[str, set[str]]
    begin: datetime | None
    complete: bool = True
    seen: set[str] = attrs.field(factory=set)


class _Question(NamedTuple):
    """What a call whose answer was lost asks the list."""

    tag: str
    workflow_id: str | None
    since: Moment


class _Owned(NamedTuple):
    """A run of ours: its tag, and when we knew of it, if it had just been started then."""

    tag: str | None
    known_at: Moment | None = None


_FOREIGN = _Owned(None)


class Reconciler:
    """Looks lost starts up in the list; knows whether the service shows tags there."""

    def __init__(self, api: Api, clock: Clock, page_size: int) -> None:
        self._api = api
        self._clock = clock
        self._page_size = page_size
        self.service_time = ServiceTime(clock, lambda: api.transport.server_clock.date)
        self._together = Together(self._read_for, clock)
        self._owned: OrderedDict[str, _Owned] = OrderedDict()  # the oldest are forgotten
        self.tags_visible: bool | None = None  # None: no list has told yet

    @property
    def _is_blind(self) -> bool:
        """Whether looking is pointless: the list is known not to show tags."""
        return self.tags_visible is False

    def own(self, execution_id: str, tag: str | None) -> None:
        """Remember that a call of this client started (or adopted) a run."""
        now = self.service_time.now()
        self.service_time.seen(execution_id, now)
        self._api.transport.server_clock.started(execution_id, now.wall)
        self._remember(execution_id, _Owned(tag, now))

    def remember(self, execution_id: str, tag: str | None) -> None:
        """Remember that an earlier process started (or this one found) a run of ours.

        It was created long ago, so when we knew of it tells nothing of the service's clock.
        """
        self._remember(execution_id, _Owned(tag))

    def _remember(self, execution_id: str, owned: _Owned) -> None:
        self._owned[execution_id] = owned
        if len(self._owned) > _REMEMBERED:
            self._owned.popitem(last=False)

    def learn(self, listed: Iterable[Execution]) -> None:
        """Learn from list entries whether tags show: only our own runs can tell.

        One of ours without its tag settles it: then absence proves nothing any more.
        """
        for entry in listed:
            tag, known_at = self._owned.get(entry.execution_id, _FOREIGN)
            if known_at is not None and entry.created_at is not None:
                created = entry.created_at.timestamp()
                self.service_time.seen(created, known_at)
                self._api.transport.server_clock.created(created, known_at.wall)
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
        times = [run.created_at for run in await self._list(account, {"limit": 1})]
        # What is started from now on is younger; where nothing is, everything will be.
        newest = max((time.timestamp() for time in times if time is not None), default=0.0)
        if None not in times:
            self.service_time.newest(newest, now)

    def service_now(self) -> float | None:
        """Give the service's time, or an earlier one; None if nothing has told it."""
        return self.service_time.earliest(self.service_time.now())

    async def look(
        self, request: Request, policy: RetryPolicy, *, since: Moment, deadline: float | None
    ) -> Found:
        """Look for the run of a call whose answer was lost.

        Args:
            request: the call; only one with a tag that is unique to it can be found.
            policy: for `settle` and the mode.
            since: when the call began.
            deadline: monotonic seconds by which the call ends, or None.
        """
        found = Found(Finding.UNPROVEN)
        if not request.unique_tag or self._is_blind or self._api.transport.closed:
            return found
        for number in range(_LOOKS_IN_SAFE_MODE if policy.mode == "safe" else 1):
            pause = policy.settle * 2**number
            if deadline is not None and self._clock.monotonic() + pause >= deadline:
                break
            if await self._api.transport.is_closed_within(pause):
                break
            try:
                found = await self._match(request, since, deadline)
            except RefoldError as error:
                logger.info(
                    "a start that may have been lost could not be looked up: %s",
                    error.describe(),
                    extra=about(**request.ids, request_id=error.request_id),
                )
            if found.finding in {Finding.FOUND, Finding.AMBIGUOUS} or self._is_blind:
                break
        return found

    async def _match(self, request: Request, since: Moment, deadline: float | None) -> Found:
        tag = request.instance_tag or ""
        question = _Question(tag, request.workflow_id, since)
        scan = await self._together.ask(request.account, question, deadline)
        if scan is None:
            return Found(Finding.UNPROVEN)
        # What the reading itself has shown of the clock counts too: did it begin early enough?
        began = self.service_time.earliest(since)
        early = scan.begin is None or (began is not None and scan.begin.timestamp() <= began)
        found = self._judge(scan, tag, proven=began is not None and early)
        if found.execution_id is not None:
            self.own(found.execution_id, tag)
        return found

    async def _read_for(self, account: str | None, questions: list[_Question]) -> _Scan:
        """Read an account's list once for all that wait for it."""
        workflow_ids = {question.workflow_id for question in questions}
        times = [self.service_time.earliest(question.since) for question in questions]
        known = [time for time in times if time is not None]
        begin = await self._begin(
            account, min(q.since.wall for q in questions), min(known, default=None)
        )
        only = workflow_ids.pop() if len(workflow_ids) == 1 else None
        return await self._scan([q.tag for q in questions], account, only, begin)

    async def _begin(
        self, account: str | None, wall: float, service_time: float | None
    ) -> datetime | None:
        """Give the time from which on the list is read; None for all of it."""
        if service_time is not None:
            return _date(service_time - _MARGIN)
        clock = self._api.transport.server_clock
        if clock.offset is None:  # no reply has told it yet
            await self._list(account, {"limit": 1})
        return _date(clock.at(wall) - _MARGIN_UNKNOWN)

    async def pause(self, seconds: float) -> bool:
        """Sleep; tell whether the client was closed meanwhile."""
        return await self._api.transport.is_closed_within(seconds)

    async def look_for(
        self,
        tags: Collection[str],
        *,
        account: str | None,
        workflow_ids: Collection[str],
        intended_at: float,
        service_time: float | None,
        witnesses: Collection[str],
    ) -> Sightings:
        """Look for the runs of many starts of which an earlier process left nothing but tags.

        Args:
            tags: one per start, each unique to it.
            account: for whom they were.
            workflow_ids: of which workflows they are.
            intended_at: the local time (epoch seconds) before the first of them.
            service_time: the same by the service's clock, or earlier; None if nobody knew it: then
                absence is not proven.
            witnesses: runs that were started after the crash.

        Raises:
            RefoldError: the list can't be read.
        """
        if self._is_blind:
            return Sightings({tag: Found(Finding.UNPROVEN) for tag in tags}, caught_up=False)
        begin = await self._begin(account, intended_at, service_time)
        only = next(iter(workflow_ids)) if len(workflow_ids) == 1 else None
        scan = await self._scan(tags, account, only, begin)
        proven = service_time is not None
        found = {tag: self._judge(scan, tag, proven=proven, again=True) for tag in tags}
        for tag, one in found.items():
            if one.execution_id is not None:
                self.remember(one.execution_id, tag)
        return Sightings(found, caught_up=not scan.seen.isdisjoint(witnesses))

    async def look_back(
        self,
        tag: str,
        *,
        account: str | None,
        workflow_id: str,
        since: float,
        proof: float,
        pages: int,
        counts: float = math.inf,
        none_was_sent: bool = False,
    ) -> Found:
        """Look for a run by a tag that is made of a key, so that whoever started it is the same.

        Args:
            tag: that tag.
            account: for whom it was started.
            workflow_id: what was started.
            since: seconds ago from which on runs are read; the service's clock may be known so
                badly that much older ones are read as well.
            proof: seconds ago from which on absence is to be proven.
            pages: of the list that are read at most.
            counts: seconds for which a run counts, by the clocks as well as they are known.
            none_was_sent: whether nobody is known to have sent it: then a workflow that has no run
                at all proves that there is none, though its list has shown no tag either.

        Raises:
            RefoldError: the list can't be read.
        """
        if self._is_blind:
            return Found(Finding.UNPROVEN)
        await self.meet(account)
        if self.tags_visible is None and not await self._any_run(account, workflow_id):
            return Found(Finding.ABSENT if none_was_sent else Finding.UNPROVEN)
        begin, needed = self._ago(since), self._ago(proof)
        matches: dict[str, Execution] = {}
        oldest, number, complete = math.inf, 0, True
        first = None if begin is None else _date(begin - _MARGIN)
        async with aclosing(self._pages(account, workflow_id, first)) as listed:
            async for page in listed:
                number += 1
                for entry in page or ():
                    if entry.instance_tag == tag and not _is_older(entry, begin):
                        matches[entry.execution_id] = entry
                    if entry.created_at is not None:
                        oldest = min(oldest, entry.created_at.timestamp())
                if page is None or number == pages:
                    complete = False
                    break
        matches = {i: entry for i, entry in matches.items() if self._age(entry) <= counts}
        if matches:
            return self._of_one_key(matches.values(), tag)
        reached = needed is not None and (complete or oldest < needed - _MARGIN)
        proven = self.tags_visible is True and reached
        return Found(Finding.ABSENT if proven else Finding.UNPROVEN)

    def _ago(self, seconds: float) -> float | None:
        """Give the service's time so many seconds ago, or an earlier one."""
        now = self.service_time.now()
        then = Moment(now.monotonic - seconds, now.wall - seconds)
        return self.service_time.earliest(then)

    async def _any_run(self, account: str | None, workflow_id: str) -> bool:
        """Tell whether the workflow has any run at all; learn from the newest."""
        newest = await self._list(account, {"limit": self._page_size, "workflow_id": workflow_id})
        self.learn(newest)
        return bool(newest.items)

    def _of_one_key(self, matches: Collection[Execution], tag: str) -> Found:
        """Take the one run with the tag of a key, whoever learned of it before."""
        self.tags_visible = self.tags_visible is not False
        original = original_of(matches)
        if original is None:
            return Found(Finding.AMBIGUOUS)
        self.remember(original.execution_id, tag)
        return Found(Finding.FOUND, original.execution_id, self._age(original))

    def _age(self, entry: Execution) -> float:
        """Give the seconds since a run was created, or fewer if the clocks differ.

        Of the service's `Date` and our own clock the earlier one counts: a run that counts for too
        long is better than a second one. Runs of ours have shown that it is so late at least.
        """
        created = entry.created_at.timestamp() if entry.created_at is not None else None
        if created is None:
            created = created_second(entry.execution_id)
        now, clock = self.service_time.now(), self._api.transport.server_clock
        proven = self.service_time.earliest(now)
        told = None if clock.offset is None else min(now.wall, clock.at(now.wall))
        latest = max((time for time in (proven, told) if time is not None), default=None)
        return 0.0 if created is None or latest is None else max(latest - created, 0.0)

    async def _scan(
        self,
        tags: Collection[str],
        account: str | None,
        workflow_id: str | None,
        begin: datetime | None,
    ) -> _Scan:
        """Read the list once, and sort out the runs that carry one of the tags."""
        scan = _Scan({tag: set() for tag in tags}, begin)
        async for page in self._pages(account, workflow_id, begin):
            if page is None:
                scan.complete = False
                break
            for entry in page:
                scan.seen.add(entry.execution_id)
                if entry.instance_tag in scan.matches:
                    scan.matches[entry.instance_tag].add(entry.execution_id)
        if any(scan.matches.values()) and self.tags_visible is None:
            self.tags_visible = True
        return scan

    def _judge(self, scan: _Scan, tag: str, *, proven: bool, again: bool = False) -> Found:
        """Say what a reading proves of one tag, if it reached back far enough (`proven`).

        A run that is owned is another call's, unless it is looked for again: what carries a tag
        that was made for one start is the run of that start, whoever learned of it meanwhile.
        """
        matches = scan.matches[tag]
        if not matches:
            absent = scan.complete and self.tags_visible is True and proven
            return Found(Finding.ABSENT if absent else Finding.UNPROVEN)
        if len(matches) > 1 or "" in matches:
            return Found(Finding.AMBIGUOUS)
        (execution_id,) = matches
        owner = self._owned.get(execution_id)
        if owner is not None and not (again and owner.tag == tag and _OUR_TAG.fullmatch(tag)):
            return Found(Finding.AMBIGUOUS)
        return Found(Finding.FOUND, execution_id)

    async def _pages(
        self,
        account: str | None,
        workflow_id: str | None,
        begin: datetime | None,
    ) -> Any:
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
        for number in range(1, _MAX_PAGES + 1):
            page = await self._list(account, {**query, "page": number})
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

    async def _list(self, account: str | None, query: dict[str, Any]) -> Page[Execution]:
        """Read a page; a start hangs on it, so it goes as soon as one."""
        return await self._api.list_executions(
            account=account, query=query, priority=Priority.START
        )

    async def find(self, account: str | None, tag: str, workflow_id: str) -> list[str]:
        """Give the ids of all runs that carry a tag, newest first."""
        found: dict[str, None] = {}
        async for page in self._pages(account, workflow_id, None):
            found.update({e.execution_id: None for e in page or () if e.instance_tag == tag})
        return list(found)

    async def check(self, account: str | None, workflow_id: str) -> bool | None:
        """Ask the list whether tags show; None if none of our runs is among the newest."""
        query = {"limit": self._page_size}
        if _WORKFLOW_ID.fullmatch(workflow_id):
            query["workflow_id"] = workflow_id  # type: ignore[assignment]
        self.learn(await self._list(account, query))
        return self.tags_visible


def _shows_a_tag(entry: Execution, tag: str | None) -> bool:
    shown = entry.instance_tag or ""
    return shown == tag if tag is not None else _OUR_TAG.fullmatch(shown) is not None


def _is_older(entry: Execution, begin: float | None) -> bool:
    """Tell whether a run is older than counts."""
    if begin is None or entry.created_at is None:
        return False
    return entry.created_at.timestamp() < begin


def original_of(matches: Collection[Execution]) -> Execution | None:
    """Give the run that was started with a tag; reruns may bear that of their original."""
    reruns = {m.execution_id for m in matches if str(m.raw.get("name")).startswith("Retry for ")}
    originals = [m for m in matches if m.execution_id not in reruns] or [*matches]
    return originals[0] if len(originals) == 1 and originals[0].execution_id else None


def _date(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds > 0 else None


def _is_before(entry: Execution, begin: datetime) -> bool:
    return entry.created_at is not None and entry.created_at < begin

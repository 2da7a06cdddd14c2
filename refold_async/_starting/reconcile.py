"""After a lost answer: is the run in the list? Nothing is guessed.

A run is adopted only if it alone carries the exact tag of the call and no other call of this client
owns it. "Not in the list" proves absence only where tags are known to show in lists, the service's
own clock is known from runs, every page was read, and `settle` seconds have passed.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import attrs

from refold_async._errors import RefoldError
from refold_async._logs import Log, about
from refold_async._starting.found import Found
from refold_async._starting.listed import OUR_TAG
from refold_async._starting.together import Together
from refold_async._transport import Finding
from refold_async._value import Value

if TYPE_CHECKING:
    from collections.abc import Collection

    from refold_async._config import RetryPolicy
    from refold_async._protocol import Request
    from refold_async._starting.listed import Listed
    from refold_async._starting.service_time import Moment

logger = Log("starting")

_LOOKS_IN_SAFE_MODE = 3
"""`safe` never sends again, so it looks more often before it gives up."""


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


class Reconciler:
    """Looks lost starts up in the list.

    Args:
        lists: the lists of runs.
    """

    def __init__(self, lists: Listed) -> None:
        self.lists = lists
        self._clock = lists.clock
        self._transport = lists.api.transport
        self._together = Together(self._read_for, lists.clock)

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
        if not request.unique_tag or self.lists.is_blind or self._transport.closed:
            return found
        for number in range(_LOOKS_IN_SAFE_MODE if policy.mode == "safe" else 1):
            pause = policy.settle * 2**number
            if deadline is not None and self._clock.monotonic() + pause >= deadline:
                break
            if await self._transport.is_closed_within(pause):
                break
            try:
                found = await self._match(request, since, deadline)
            except RefoldError as error:
                logger.info(
                    "a start that may have been lost could not be looked up: %s",
                    error.describe(),
                    extra=about(**request.ids, request_id=error.request_id),
                )
            if found.finding in {Finding.FOUND, Finding.AMBIGUOUS} or self.lists.is_blind:
                break
        return found

    async def _match(self, request: Request, since: Moment, deadline: float | None) -> Found:
        tag = request.instance_tag or ""
        question = _Question(tag, request.workflow_id, since)
        scan = await self._together.ask(request.account, question, deadline)
        if scan is None:
            return Found(Finding.UNPROVEN)
        # What the reading itself has shown of the clock counts too: did it begin early enough?
        began = self.lists.service_time.earliest(since)
        early = scan.begin is None or (began is not None and scan.begin.timestamp() <= began)
        found = self._judge(scan, tag, proven=began is not None and early)
        if found.execution_id is not None:
            self.lists.own(found.execution_id, tag)
        return found

    async def _read_for(self, account: str | None, questions: list[_Question]) -> _Scan:
        """Read an account's list once for all that wait for it."""
        workflow_ids = {question.workflow_id for question in questions}
        times = [self.lists.service_time.earliest(question.since) for question in questions]
        known = [time for time in times if time is not None]
        begin = await self.lists.begin(
            account, min(q.since.wall for q in questions), min(known, default=None)
        )
        only = workflow_ids.pop() if len(workflow_ids) == 1 else None
        return await self._scan([q.tag for q in questions], account, only, begin)

    async def pause(self, seconds: float) -> bool:
        """Sleep; tell whether the client was closed meanwhile."""
        return await self._transport.is_closed_within(seconds)

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
        if self.lists.is_blind:
            return Sightings({tag: Found(Finding.UNPROVEN) for tag in tags}, caught_up=False)
        begin = await self.lists.begin(account, intended_at, service_time)
        only = next(iter(workflow_ids)) if len(workflow_ids) == 1 else None
        scan = await self._scan(tags, account, only, begin)
        proven = service_time is not None
        found = {tag: self._judge(scan, tag, proven=proven, again=True) for tag in tags}
        absent = {tag for tag, one in found.items() if one.finding is Finding.ABSENT}
        ago = self._clock.time() - intended_at
        if absent and not await self.lists.keeps(account, service_time or 0.0, ago):
            found |= dict.fromkeys(absent, Found(Finding.UNPROVEN))
        for tag, one in found.items():
            if one.execution_id is not None:
                self.lists.remember(one.execution_id, tag)
        return Sightings(found, caught_up=not scan.seen.isdisjoint(witnesses))

    async def _scan(
        self,
        tags: Collection[str],
        account: str | None,
        workflow_id: str | None,
        begin: datetime | None,
    ) -> _Scan:
        """Read the list once, and sort out the runs that carry one of the tags."""
        scan = _Scan({tag: set() for tag in tags}, begin)
        async for page in self.lists.pages(account, workflow_id, begin):
            if page is None:
                scan.complete = False
                break
            for entry in page:
                scan.seen.add(entry.execution_id)
                if entry.instance_tag in scan.matches:
                    scan.matches[entry.instance_tag].add(entry.execution_id)
        if any(scan.matches.values()) and self.lists.tags_visible is None:
            self.lists.tags_visible = True
        return scan

    def _judge(self, scan: _Scan, tag: str, *, proven: bool, again: bool = False) -> Found:
        """Say what a reading proves of one tag, if it reached back far enough (`proven`).

        A run that is owned is another call's, unless it is looked for again: what carries a tag
        that was made for one start is the run of that start, whoever learned of it meanwhile.
        """
        matches = scan.matches[tag]
        if not matches:
            absent = scan.complete and self.lists.tags_visible is True and proven
            return Found(Finding.ABSENT if absent else Finding.UNPROVEN)
        if len(matches) > 1 or "" in matches:
            return Found(Finding.AMBIGUOUS)
        (execution_id,) = matches
        owner = self.lists.owner(execution_id)
        if owner is not None and not (again and owner.tag == tag and OUR_TAG.fullmatch(tag)):
            return Found(Finding.AMBIGUOUS)
        return Found(Finding.FOUND, execution_id)

"""The run of a key: its tag is made of the key, so whoever started it, it is the same.

Keys of a workflow that are looked for at one time share one reading of the list.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import attrs

from refold_async._errors import RefoldError
from refold_async._models import Execution
from refold_async._starting.found import Found
from refold_async._starting.listed import MARGIN, date
from refold_async._starting.together import Together
from refold_async._transport import Finding

if TYPE_CHECKING:
    from collections.abc import Collection

    from refold_async._starting.listed import Listed
    from refold_async._starting.service_time import Moment

PAGES = 20
"""Of the list, that are read at most."""


class _Where(NamedTuple):
    """Whose runs of which workflow are read."""

    account: str | None
    workflow_id: str


class _Question(NamedTuple):
    """What is asked of the list for one key: its tag, since when runs of it count, and so on."""

    tag: str
    since: Moment
    proof: Moment
    counts: float
    none_was_sent: bool


@attrs.define(eq=False, repr=False)
class _Reading:
    """What one reading showed; `complete` if every run since `begin` was read, None for all."""

    listed: dict[str, list[Execution]]
    begin: datetime | None = None
    empty: bool = False
    complete: bool = True
    oldest: float = math.inf

    def reaches(self, second: float) -> bool:
        """Tell whether every run that was created since then has been read."""
        if self.complete and (self.begin is None or self.begin.timestamp() <= second):
            return True
        return self.oldest < second - MARGIN

    def take(self, page: list[Execution]) -> None:
        """Keep what carries a tag that is looked for."""
        for entry in page:
            if entry.instance_tag in self.listed:
                self.listed[entry.instance_tag].append(entry)
            if entry.created_at is not None:
                self.oldest = min(self.oldest, entry.created_at.timestamp())


class KeyLooks:
    """Looks for the runs of keys.

    Args:
        lists: the lists of runs.
    """

    def __init__(self, lists: Listed) -> None:
        self.lists = lists
        self._together = Together(self._read, lists.clock)

    async def look(
        self,
        tag: str,
        *,
        account: str | None,
        workflow_id: str,
        since: float,
        proof: float,
        counts: float = math.inf,
        none_was_sent: bool = False,
    ) -> Found:
        """Look for the run of a key.

        Args:
            tag: that is made of the key.
            account: for whom it was started.
            workflow_id: what was started.
            since: seconds ago from which on runs are read; the service's clock may be known so
                badly that much older ones are read as well.
            proof: seconds ago from which on absence is to be proven.
            counts: seconds for which a run counts, by the clocks as well as they are known.
            none_was_sent: whether nobody is known to have sent it: then a workflow that has no run
                at all proves that there is none, though its list has shown no tag either.

        Raises:
            RefoldError: the list can't be read.
        """
        if self.lists.is_blind:
            return Found(Finding.UNPROVEN)
        now = self.lists.service_time.now()
        question = _Question(tag, now.before(since), now.before(proof), counts, none_was_sent)
        try:
            reading = await self._together.ask(_Where(account, workflow_id), question, None)
        except RefoldError as error:
            raise error.fresh() from error.__cause__
        assert reading is not None  # noqa: S101 - there is no deadline
        found = self._judged(reading, question)
        if found.finding is Finding.ABSENT:
            needed = self.lists.service_time.earliest(question.proof)
            if not await self.lists.keeps(account, needed or 0.0, proof):
                return Found(Finding.UNPROVEN)
        return found

    async def _read(self, where: _Where, questions: list[_Question]) -> _Reading:
        """Read the list once for all that wait for it."""
        lists = self.lists
        reading = _Reading({question.tag: [] for question in questions})
        await lists.meet(where.account)
        if lists.tags_visible is None and not await lists.any_run(*where):
            reading.empty = True
            return reading
        begins = [lists.service_time.earliest(question.since) for question in questions]
        known = [begin for begin in begins if begin is not None]
        if len(known) == len(begins):
            reading.begin = date(min(known) - MARGIN)
        async for page in lists.pages(*where, reading.begin, at_most=PAGES):
            if page is None:
                reading.complete = False
            else:
                reading.take(page)
        return reading

    def _judged(self, reading: _Reading, question: _Question) -> Found:
        """Say what a reading proves of one key."""
        lists = self.lists
        if reading.empty:
            return Found(Finding.ABSENT if question.none_was_sent else Finding.UNPROVEN)
        begin = lists.service_time.earliest(question.since)
        matches = {
            entry.execution_id: entry
            for entry in reading.listed[question.tag]
            if not _is_older(entry, begin) and lists.age(entry) <= question.counts
        }
        if matches:
            return self._of_one_key(matches.values(), question.tag)
        needed = lists.service_time.earliest(question.proof)
        reached = needed is not None and reading.reaches(max(needed, begin or 0.0))
        proven = lists.tags_visible is True and reached
        return Found(Finding.ABSENT if proven else Finding.UNPROVEN)

    def _of_one_key(self, matches: Collection[Execution], tag: str) -> Found:
        """Take the one run with the tag of a key, whoever learned of it before."""
        self.lists.tags_visible = self.lists.tags_visible is not False
        original = original_of(matches)
        if original is None:
            return Found(Finding.AMBIGUOUS)
        self.lists.remember(original.execution_id, tag)
        return Found(Finding.FOUND, original.execution_id, self.lists.age(original))


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

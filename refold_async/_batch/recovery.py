"""After a crash: which runs have begun whose ids the journal never learned?

Their tags are looked for in the list of runs, all at once. One that is not there may be sent
(again) only where its absence is proven; `docs/explanation/batches.md` says by what.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from refold_async._batch.journal_rows import Row
from refold_async._clock import Clock, done_within, waiting
from refold_async._errors import RefoldError
from refold_async._logs import Log, about
from refold_async._starting import Found, Reconciler
from refold_async._transport import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable

    from refold_async._batch.journal import Journal

logger = Log("batch")

_WITNESSES = 1_000
"""Runs started now that are remembered, to see whether the list has caught up."""
_LOOKS = 3
"""Looks, each after a longer pause, until a run that was started now shows in the list."""


PATIENCE = 5.0
"""Seconds that the other starts wait for what the first needs to know."""


@attrs.define(eq=False, kw_only=True)
class Recovery:
    """Finds runs by their tags: once when a journal is opened, once when all others have begun.

    Attributes:
        reconciler: looks runs up in the lists.
        clock: the local clock.
    """

    reconciler: Reconciler
    clock: Clock
    _found: dict[str, Found] = attrs.field(factory=dict)
    _waiting: dict[str, Row] = attrs.field(factory=dict)
    _witnesses: dict[str, Row] = attrs.field(factory=dict)
    _settle: float = 0.0
    _is_safe: bool = False
    _opened_at: float = 0.0
    _last_look: asyncio.Task[None] | None = None
    _meeting: asyncio.Task[None] | None = None

    async def begin(self, journal: Journal) -> None:
        """Look for all rows of which nobody knows whether they have run."""
        self._opened_at = self.clock.monotonic()
        lost = {row.tag: row for row in journal.uncertain if row.findable and row.tag}
        if lost:
            await self.look(lost)
            # What is not there yet is looked for again.
            self._found = {tag: self._found[tag] for tag in lost if self._is_settled(tag)}

    def started(self, row: Row) -> None:
        """Note a run that was started now: it shows when the list has caught up."""
        if row.execution_id is not None and len(self._witnesses) < _WITNESSES:
            self._witnesses[row.execution_id] = row

    def known(self, row: Row) -> Found | None:
        """Give what the first look found of a row; each finding is given once."""
        return self._found.pop(row.tag or "", None)

    def expect(self, row: Row, *, settle: float, is_safe: bool) -> None:
        """Have a row looked for once all others have begun."""
        self._waiting[row.tag or ""] = row
        self._settle = max(self._settle, settle)
        self._is_safe = self._is_safe or is_safe

    async def look_again(self, row: Row) -> Found | None:
        """Give what the last look found of a row: it is made once for all that wait for it."""
        if self._last_look is None:
            self._last_look = asyncio.get_running_loop().create_task(self._look_again())
        with waiting(self.clock, "a look for what an earlier process sent"):
            await asyncio.shield(self._last_look)
        return self.known(row)

    async def meet(self, account: str | None) -> None:
        """Learn the service's time, once, before anything is intended; don't wait long for it."""
        if self._meeting is None:
            self._meeting = asyncio.get_running_loop().create_task(self._meet(account))
        await done_within(self.clock, self._meeting, PATIENCE)

    async def _meet(self, account: str | None) -> None:
        try:
            await self.reconciler.lists.meet(account)
        except RefoldError as error:
            logger.info(
                "the list of runs does not tell the service's time: %s",
                error.describe(),
                extra=about(linked_account_id=account, request_id=error.request_id),
            )

    async def aclose(self) -> None:
        """End what is under way."""
        tasks = [task for task in (self._meeting, self._last_look) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_again(self) -> None:
        elapsed = self.clock.monotonic() - self._opened_at
        for number in range(_LOOKS if self._is_safe or self._witnesses else 1):
            wait = self._settle * 2**number - (elapsed if number == 0 else 0.0)
            if wait > 0 and await self.reconciler.pause(wait):
                return
            left = {tag: row for tag, row in self._waiting.items() if not self._is_settled(tag)}
            if not left or await self.look(left):
                return

    def _is_settled(self, tag: str) -> bool:
        found = self._found.get(tag)
        return found is not None and found.finding in {Finding.FOUND, Finding.AMBIGUOUS}

    async def look(self, lost: dict[str, Row]) -> bool:
        """Look for rows, account by account; tell whether every list has caught up with us."""
        caught_up = True
        for (account, is_dated), rows in _readings(lost.values()).items():
            workflow_ids = {row.workflow_id for row in rows}
            witnesses = self._witnesses_of(account, workflow_ids)
            try:
                sightings = await self.reconciler.look_for(
                    [row.tag or "" for row in rows],
                    account=account,
                    workflow_ids=workflow_ids,
                    intended_at=min(row.intended_at for row in rows),
                    service_time=min(row.since or 0.0 for row in rows) if is_dated else None,
                    witnesses=witnesses,
                )
            except RefoldError as error:
                logger.info(
                    "the list of runs could not be read: %s",
                    error.describe(),
                    extra=about(linked_account_id=account, request_id=error.request_id),
                )
                for row in rows:
                    self._found.pop(row.tag or "", None)
                caught_up = False
                continue
            for tag, found in sightings.found.items():
                # A list that does not show what was started since can't prove absence either.
                lags = witnesses and not sightings.caught_up and found.finding is Finding.ABSENT
                self._found[tag] = Found(Finding.UNPROVEN) if lags else found
            caught_up = caught_up and sightings.caught_up
        return caught_up

    def _witnesses_of(self, account: str | None, workflow_ids: set[str]) -> set[str]:
        """Give the runs started now that a reading for these workflows shows, if it lags not."""
        return {
            execution_id
            for execution_id, row in self._witnesses.items()
            if row.account == account and (len(workflow_ids) > 1 or row.workflow_id in workflow_ids)
        }


def _readings(rows: Iterable[Row]) -> dict[tuple[str | None, bool], list[Row]]:
    """Group rows that one reading can tell of: one account's, with the service's time, or without.

    An intent without it proves nothing, and must not take the others' proof away.
    """
    groups: dict[tuple[str | None, bool], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.account, row.since is not None), []).append(row)
    return groups

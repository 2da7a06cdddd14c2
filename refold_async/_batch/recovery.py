"""After a crash: which runs have begun whose ids the journal never learned?

Their tags are looked for in the list of runs, all at once. One that is not there may be sent
(again) only where its absence is proven; `docs/explanation/batches.md` says by what.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

import attrs

from refold_async._batch.journal import Row
from refold_async._clock import Clock
from refold_async._errors import RefoldError
from refold_async._models import created_at
from refold_async._starting import Found
from refold_async._transport import Finding

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from refold_async._batch.journal import Journal
    from refold_async._starting import Sightings

logger = logging.getLogger("refold_async")

_ABSURD = 86_400.0
"""Seconds from which on an id that looks like an ObjectId is taken for none."""
_WITNESSES = 1_000
"""Runs started now that are remembered, to see whether the list has caught up."""
_LOOKS = 3
"""Looks, each after a longer pause, until a run that was started now shows in the list."""


class Look(Protocol):
    """Looks for many tags in one reading of an account's list (`Reconciler.look_for`)."""

    async def __call__(
        self,
        tags: Collection[str],
        *,
        account: str | None,
        workflow_ids: Collection[str],
        intended_at: float,
        service_time: float | None,
        witnesses: Collection[str],
    ) -> Sightings:
        """Look."""


@attrs.define(eq=False, kw_only=True)
class Recovery:
    """Finds runs by their tags: once when a journal is opened, once when all others have begun.

    Attributes:
        look: reads the list.
        pause: sleeps, and tells whether the client was closed meanwhile.
        clock: the local clock.
    """

    look: Look
    pause: Pause
    clock: Clock
    _found: dict[str, Found] = attrs.field(factory=dict)
    _waiting: dict[str, Row] = attrs.field(factory=dict)
    _witnesses: dict[str, Row] = attrs.field(factory=dict)
    _bounds: dict[int, float] = attrs.field(factory=dict)
    _settle: float = 0.0
    _is_safe: bool = False
    _opened_at: float = 0.0
    _last_look: asyncio.Task[None] | None = None

    async def begin(self, journal: Journal) -> None:
        """Look for all rows of which nobody knows whether they have run."""
        self._opened_at = self.clock.monotonic()
        rows = journal.rows.values()
        for row in rows:
            self._note_clock(row)
        lost = {row.tag: row for row in rows if is_uncertain(row) and row.findable and row.tag}
        if lost:
            await self._look(lost)
            # What is not there yet is looked for again.
            self._found = {tag: self._found[tag] for tag in lost if self._is_settled(tag)}

    def _note_clock(self, row: Row) -> None:
        """Bound the service's clock by a run that a process learned of by its own clock."""
        if row.execution_id is None or row.started_at is None or row.started_in is None:
            return
        created = created_at(row.execution_id)
        if created is None or abs(created.timestamp() - row.started_at) > _ABSURD:
            return
        bound = created.timestamp() - row.started_at
        self._bounds[row.started_in] = max(bound, self._bounds.get(row.started_in, bound))

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
        await asyncio.shield(self._last_look)
        return self.known(row)

    async def aclose(self) -> None:
        """End a look that is under way."""
        if self._last_look is not None:
            self._last_look.cancel()
            await asyncio.gather(self._last_look, return_exceptions=True)

    async def _look_again(self) -> None:
        elapsed = self.clock.monotonic() - self._opened_at
        for number in range(_LOOKS if self._is_safe or self._witnesses else 1):
            wait = self._settle * 2**number - (elapsed if number == 0 else 0.0)
            if wait > 0 and await self.pause(wait):
                return
            left = {tag: row for tag, row in self._waiting.items() if not self._is_settled(tag)}
            if not left or await self._look(left):
                return

    def _is_settled(self, tag: str) -> bool:
        found = self._found.get(tag)
        return found is not None and found.finding in {Finding.FOUND, Finding.AMBIGUOUS}

    async def _look(self, lost: dict[str, Row]) -> bool:
        """Look for rows, account by account; tell whether every list has caught up with us."""
        caught_up = True
        for account, rows in _by_account(lost.values()).items():
            workflow_ids = {row.workflow_id for row in rows}
            witnesses = self._witnesses_of(account, workflow_ids)
            try:
                sightings = await self.look(
                    [row.tag or "" for row in rows],
                    account=account,
                    workflow_ids=workflow_ids,
                    intended_at=min(row.intended_at for row in rows),
                    service_time=self._since(rows),
                    witnesses=witnesses,
                )
            except RefoldError as error:
                logger.info("the list of runs could not be read: %s", error.describe())
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

    def _since(self, rows: list[Row]) -> float | None:
        """Give the service's time before the first of these intents; None if nothing tells it.

        By the clock of the process that wrote the intent: this one's may have been set since.
        """
        if any(row.session not in self._bounds for row in rows):
            return None
        return min(row.intended_at + self._bounds[row.session] for row in rows)


class Pause(Protocol):
    """Sleeps; tells whether the client was closed meanwhile."""

    async def __call__(self, seconds: float, /) -> bool:
        """Sleep."""


def is_uncertain(row: Row) -> bool:
    """Whether a run of this row may exist whose id is not known."""
    return row.execution_id is None and (row.state != "settled" or row.outcome == "unknown")


def _by_account(rows: Iterable[Row]) -> dict[str | None, list[Row]]:
    groups: dict[str | None, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.account, []).append(row)
    return groups

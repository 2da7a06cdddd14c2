"""A field with one cohort of runs, and the pages it is shown."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from refold_async import Execution, ExecutionStatus, Page
from refold_async._waiting.pool import Cohort, Field
from refold_async._waiting.watch import Watch

if TYPE_CHECKING:
    from refold_async._waiting.pool import Seen

EPOCH = 1_781_615_700.0
GRACE = 5.0
LATE = 100.0
"""Monotonic seconds at which no run is new any more; they were all born by 50."""


def run(number: int, created: float | None = None) -> Watch:
    """Give a run created so many seconds after the epoch of these tests."""
    at = float(number) if created is None else created
    watch = Watch(f"run{number}", "acct_1", due=10.0 + number, interval=0.5, born=at)
    watch.created = EPOCH + at
    return watch


def entry(number: int, status: str = "RUNNING", created: float | None = None) -> Execution:
    """Give the row of a run, or of a stranger's."""
    at = EPOCH + (number if created is None else created)
    return Execution(
        execution_id=f"run{number}",
        status=ExecutionStatus(status),
        created_at=datetime.fromtimestamp(at, UTC),
    )


@attrs.define
class Meadow:
    """A field with one cohort of runs 0, 1, 2, ..."""

    field: Field
    runs: list[Watch]
    cohort: Cohort

    @classmethod
    def of(cls, count: int) -> Meadow:
        """Give so many runs that were created a second apart."""
        field = Field("acct_1", GRACE)
        runs = [run(number) for number in range(count)]
        for watch in runs:
            field.place(watch, 0.0)
        assert field.open is not None
        return cls(field, runs, field.open)

    def show(
        self, *rows: Execution, cohort: Cohort | None = None, more: bool = False, now: float = LATE
    ) -> Seen:
        """Have a cohort see a page."""
        looked_at = cohort or self.cohort
        begin, _ = looked_at.window()
        page = Page(items=rows, has_next=more)
        return self.field.absorb(looked_at, set(looked_at.members), page, begin, now)

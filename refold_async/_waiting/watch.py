"""A run that is waited for, and what is known of it."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs

from refold_async._errors import RefoldError
from refold_async._models import ExecutionResult
from refold_async._waiting.progress import Progress


@attrs.define(eq=False, repr=False)
class Watch:
    """A run that is, was or will be waited for: what is known of it, and when to look next."""

    execution_id: str
    account: str | None
    due: float  # monotonic seconds of the next look
    interval: float  # seconds to the look after that, while its workflow is not known
    workflow: str | None = None
    born: float | None = None  # monotonic seconds of its creation, as well as we know
    created: float | None = None  # the service's own time of it, in epoch seconds, or just before
    unsure: float = 1.0  # seconds by which it may be later: an ObjectId counts whole ones
    progress: Progress = attrs.field(factory=Progress)
    settled: asyncio.Future[ExecutionResult[Any] | RefoldError] | None = None
    changed: asyncio.Future[None] | None = None  # done with the next change of the snapshot
    version: int = 0  # counts the changes
    waiters: int = 0  # who wait for the end, and so for the output
    watchers: list[float] | None = None  # longest intervals of snapshot readers
    queued_for: float | None = None  # `due` of its entry in the queue
    looking: bool = False
    document: bool = False  # the next look reads the whole document
    alone: bool = False  # lists have not shown it, or it was one of the last of its cohort
    missed: int = 0  # lists that should have shown it and did not
    fresh: bool = False  # started just now, by us
    learned: bool = False  # its duration was
    cohort: Any = None  # the `Cohort` it is in

    @property
    def result(self) -> ExecutionResult[Any] | None:
        """How the run ended, if that is known."""
        if self.settled is None or not self.settled.done():
            return None
        outcome = self.settled.result()
        return None if isinstance(outcome, RefoldError) else outcome

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for what is not known yet: the end, or the document of it."""
        if self.watchers and (self.progress.listed or not self.progress.ended):
            return True
        return self.waiters > 0 and (self.settled is None or not self.settled.done())

    def wake_readers(self) -> None:
        """Let the readers of snapshots see what is new."""
        if self.changed is not None:
            self.changed.set_result(None)
            self.changed = None

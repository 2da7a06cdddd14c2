"""A run that is waited for, and what is known of it."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import attrs

from refold_async._errors import RefoldError
from refold_async._models import ExecutionResult
from refold_async._waiting.progress import Progress

Settlement = asyncio.Future[ExecutionResult[Any] | RefoldError]


@attrs.define(eq=False, repr=False)
class Hint:
    """What a push told of a run somebody waits for. Times are monotonic seconds."""

    at: float  # when it came
    due: float  # the next read because of it; infinite once it has had its reads
    tries: int = 0  # reads that showed the run going on
    again_from: float = math.inf  # when a repeated push is reason for a read


@attrs.define(eq=False, repr=False)
class Watch:
    """A run that is, was or will be waited for. Times are monotonic seconds unless said otherwise.

    Its end is learned twice over: `ended` without the output, for whoever needs no more, and
    `settled` with it, which is the former too.
    """

    execution_id: str
    account: str | None
    not_before: float  # the next single look is not made earlier
    workflow: str | None = None
    fresh: bool = False  # started by this client
    born: float | None = None  # its creation, as well as we know
    created: float | None = None  # the service's own time of it, in epoch seconds, or just before
    unsure: float = 1.0  # seconds by which it may be later: an ObjectId counts whole ones
    planned: float = 0.0  # when its next single look is due, as computed lately
    planned_until: float = 0.0  # until then that holds, unless something becomes known of it
    going_at: float | None = None  # when it was last seen to go on
    unlisted_until: float = 0.0  # lists have not shown it; read singly until then
    sample: bool = True  # its first look reads the whole document, which teaches durations
    learned: bool = False  # its duration was
    contradicted: int = 0  # documents that denied the end a list had told
    document: bool = False  # the next look reads the whole document
    hint: Hint | None = None  # a push told of its end
    claim: bytes | None = None  # the `imprint` of the output it brought, to be compared
    progress: Progress = attrs.field(factory=Progress)
    settled: Settlement | None = None
    ended: Settlement | None = None
    changed: asyncio.Future[RefoldError | None] | None = None  # done with the next change
    version: int = 0  # counts the changes of the document
    waiters: int = 0  # who wait for the end and the output
    enders: int = 0  # who wait for the end alone
    readers: list[float] | None = None  # longest intervals of snapshot readers
    page: Any = None  # the `Page` it is looked at with
    looking: bool = False  # it is being read by itself
    missed_at: float = math.inf  # the last list that should have shown it and did not

    @property
    def result(self) -> ExecutionResult[Any] | None:
        """How the run ended and what it gave, if that is known."""
        return _value(self.settled)

    @property
    def ending(self) -> ExecutionResult[Any] | None:
        """How the run ended, if that is known."""
        return _value(self.settled) or _value(self.ended)

    @property
    def hinted(self) -> bool:
        """Whether it is to be read because a push told of its end."""
        return self.hint is not None and self.hint.due < math.inf

    @property
    def wants_output(self) -> bool:
        """Whether anybody waits for the output."""
        return self.waiters > 0 and not _is_done(self.settled)

    @property
    def wants_document(self) -> bool:
        """Whether anybody reads snapshots, and there are more to come."""
        return bool(self.readers) and not self.progress.ended

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for what is not known yet."""
        wants_end = self.enders > 0 and not _is_done(self.ended)
        return self.wants_output or self.wants_document or wants_end

    def settle(self, result: ExecutionResult[Any]) -> None:
        """Let whoever waits know how the run ended, and with the output what it gave."""
        for future in (self.settled if result.output_is_read else None, self.ended):
            if future is not None and not future.done():
                future.set_result(result)
        if result.output_is_read and self.result is None:
            self.settled = self.ended  # so that nobody asks for it again

    def fail(self, error: RefoldError) -> None:
        """Let whoever waits know that the run can't be read."""
        for future in (self.settled, self.ended):
            if future is not None and not future.done():
                future.set_result(error)
        self.wake_readers(error)

    def wake_readers(self, error: RefoldError | None = None) -> None:
        """Let the readers of snapshots see what is new, or why there is nothing."""
        if self.changed is not None:
            self.changed.set_result(error)
            self.changed = None


def _is_done(future: Settlement | None) -> bool:
    return future is not None and future.done()


def _value(future: Settlement | None) -> ExecutionResult[Any] | None:
    if future is None or not future.done():
        return None
    outcome = future.result()
    return None if isinstance(outcome, RefoldError) else outcome

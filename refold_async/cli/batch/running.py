"""A batch under way: its progress where people look, and what an interrupt does."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
from rich.live import Live

from refold_async import (
    BatchProgress,
    BatchReport,
    ExecutionHandle,
    ExecutionRequest,
    RefoldClient,
)
from refold_async.cli._following import drawn
from refold_async.cli._terminal import emit, make_console, moves, say
from refold_async.cli.batch.view import Standing, standing_view

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterable

    from refold_async.cli._performing import Job


@attrs.define(eq=False, kw_only=True)
class Batch:
    """Runs one batch.

    Attributes:
        name: what its input is called.
        requests: its items; None: the journal of the batch that is retried has them.
        total: how many they are.
        options: the other arguments of `RefoldClient.run_batch`, or of `retry_batch`.
        retries: whether it retries another batch.
        resume: the command line that goes on with it later; None without a journal.
        every: seconds between two lines of progress where nothing can be redrawn.
    """

    name: str
    requests: list[ExecutionRequest] | None
    total: int
    options: dict[str, Any]
    resume: str | None
    every: float
    retries: bool = False
    _progress: BatchProgress = attrs.field(factory=BatchProgress)
    _began: float = attrs.field(factory=time.monotonic)
    _stop: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def run(self, job: Job) -> BatchReport:
        """Run it to its end.

        Raises:
            asyncio.CancelledError: it was interrupted twice.
            RefoldError: as `RefoldClient.run_batch`.
        """
        job.farewell = self.farewell
        batch = asyncio.ensure_future(self._begun(job.refold))
        job.interrupts.steps = [self._stop_sending, batch.cancel]
        async with self._shown(job):
            return await batch

    def _begun(self, refold: RefoldClient) -> Coroutine[Any, Any, BatchReport]:
        told: dict[str, Any] = {"progress": self._note, "stop": self._stop}
        if self.retries:
            return refold.retry_batch(requests=self.requests, **told, **self.options)
        return refold.run_batch(self.requests or [], **told, **self.options)

    def farewell(self, handles: Iterable[ExecutionHandle[Any]]) -> str:
        """Say what goes on, now that nobody waits any more."""
        if self.resume is not None:
            return f"left; {self._running()} in Refold. Resume with: {self.resume}"
        ids = [f"  {handle.execution_id}" for handle in handles]
        return "\n".join([f"left; {self._running()} in Refold" + (":" if ids else ""), *ids])

    def _note(self, progress: BatchProgress) -> None:
        self._progress = progress

    def _running(self) -> str:
        count = self._progress.running
        return "1 run goes on" if count == 1 else f"{count:,} runs go on"

    # -- showing -----------------------------------------------------------------------------

    def _standing(self, job: Job) -> Standing:
        return Standing(
            name=self.name,
            total=self.total,
            progress=self._progress,
            budget=job.refold.stats.budget,
            seconds=time.monotonic() - self._began,
            stopping=self._stop.is_set(),
            wait=self.options.get("wait", True),
        )

    @asynccontextmanager
    async def _shown(self, job: Job) -> AsyncIterator[None]:
        """Show how far it is: redrawn on a terminal, else a line now and then."""
        console = make_console(stderr=True)
        reporting = None
        if job.settings.as_json or not moves(console):
            reporting = asyncio.create_task(self._report(job))
        try:
            if moves(console):
                # What follows on the same terminal says it all again.
                transient = sys.stdout.isatty() and not job.settings.as_json
                live = Live(console=console, auto_refresh=False, transient=transient)
                async with drawn(live, lambda: standing_view(self._standing(job), console)):
                    yield
            else:
                yield
        finally:
            if reporting is not None:
                reporting.cancel()
                with suppress(asyncio.CancelledError):
                    await reporting

    async def _report(self, job: Job) -> None:
        while True:
            await asyncio.sleep(self.every)
            now = self._standing(job)
            try:
                if job.settings.as_json:
                    emit(now.document())
                else:
                    say(now.line())
            except BrokenPipeError:  # the batch goes on, whoever reads
                return

    # -- interrupts --------------------------------------------------------------------------

    def _stop_sending(self) -> None:
        """Do what the first Ctrl-C does; the second one leaves."""
        self._stop.set()
        later = "" if self.resume is None else f"\nWhat is left can be sent later: {self.resume}"
        say(
            f"refold: stopping. Nothing more is sent; {self._running()} and"
            f" {'is' if self._progress.running == 1 else 'are'} waited for."
            f" Ctrl-C again leaves at once.{later}"
        )

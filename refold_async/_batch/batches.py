"""`map` and `run_batch` put together, from what a client hands down."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._batch.carrier import Carrier
from refold_async._batch.fan import Fan, Submission
from refold_async._batch.journal import Journal
from refold_async._batch.journaled import JournaledCarrier
from refold_async._batch.models import ExecutionRequest
from refold_async._batch.preflight import Preflight
from refold_async._batch.recovery import Recovery, is_uncertain
from refold_async._batch.running import Tally, check_all, run
from refold_async._batch.source import Input
from refold_async._checks import check_count
from refold_async._clock import Clock, to_the_end
from refold_async._errors import ConfigError
from refold_async._handle import ExecutionHandle
from refold_async._logs import Log
from refold_async._models import ExecutionRef, RequestStructure
from refold_async._starting import Reconciler

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator

    from refold_async._batch.models import BatchItem, BatchProgress
    from refold_async._batch.report import BatchReport
    from refold_async._batch.source import Requests

logger = Log("batch")


@attrs.frozen(kw_only=True)
class Batches:
    """What batches need of a client.

    Attributes:
        prepare: makes a start that can be sent; raises `ConfigError`.
        reattach: gives the handle of a run that was started before.
        structure: reads what a workflow expects, for an account or the client's own.
        reconciler: looks runs up by their tags.
        orphaned: takes the handle of a run that nobody holds.
        check_usable: refuses a client that is closed or lives elsewhere.
        requests_made: the client's requests so far, by operation.
        at_once: starts that may be under way at one time.
        clock: the client's clock.
        meta: what tells the batches of one journal from those of another.
    """

    prepare: Callable[[ExecutionRequest], Submission]
    reattach: Callable[[ExecutionRef], ExecutionHandle[Any]]
    structure: Callable[[str, str | None], Awaitable[RequestStructure]]
    reconciler: Reconciler
    orphaned: Callable[[ExecutionHandle[Any]], object]
    check_usable: Callable[[], None]
    requests_made: Callable[[], Mapping[str, int]]
    at_once: int
    clock: Clock
    meta: Mapping[str, str | None]

    def map(
        self,
        requests: Requests,
        *,
        concurrency: int | None,
        wait: bool,
        output: bool,
        ordered: bool,
        validate: bool,
    ) -> AsyncGenerator[BatchItem]:
        """Run many workflows; see `RefoldClient.map`."""
        preflight = Preflight(self.structure) if validate else None
        carrier = Carrier(prepare=self.prepare, wait=wait, output=output, preflight=preflight)
        fan = self._fan(Input(requests), carrier, concurrency, ordered=ordered)
        return self._items(fan, preflight)

    async def _items(self, fan: Fan, preflight: Preflight | None) -> AsyncGenerator[BatchItem]:
        self.check_usable()
        try:
            async with aclosing(fan.items()) as items:
                async for item in items:
                    yield item
        finally:
            if preflight is not None:
                await preflight.aclose()

    async def run(
        self,
        requests: Requests,
        *,
        journal: str | os.PathLike[str] | None,
        concurrency: int | None,
        wait: bool,
        output: bool,
        stop_after_failures: int | None,
        progress: Callable[[BatchProgress], object] | None,
        validate: bool,
        stop: asyncio.Event | None,
    ) -> BatchReport:
        """Run many workflows and report; see `RefoldClient.run_batch`."""
        self.check_usable()
        source = Input(requests)
        if concurrency is not None:
            check_count(concurrency, "concurrency")
        if stop_after_failures is not None:
            check_count(stop_after_failures, "stop_after_failures")
        if stop is not None and not isinstance(stop, asyncio.Event):
            raise ConfigError(
                f"must be an asyncio.Event, not {type(stop).__name__}; set it to stop the batch",
                field="stop",
            )
        if progress is not None:
            _check_progress(progress)
        preflight = Preflight(self.structure) if validate else None
        tally = Tally(self.clock, progress)
        before = Counter(self.requests_made())
        opened, recovery = None if journal is None else Journal(journal), None
        carrier = Carrier(prepare=self.prepare, wait=wait, output=output)
        try:
            if opened is not None:
                recovery = self._recovery()
                carrier = await self._journaled(opened, recovery, wait=wait, output=output)
            fan = self._fan(source, carrier, concurrency, on_start=tally.started)
            if preflight is not None:
                await self._check_first(source, fan, carrier, preflight, stop)
            if stop is not None and stop.is_set():
                fan.stop("it was asked to stop")
            report = await run(
                fan,
                tally,
                requests_made=lambda: Counter(self.requests_made()) - before,
                stop=stop,
                stop_after_failures=stop_after_failures,
            )
        finally:
            await to_the_end(_close(source, opened, carrier, recovery, preflight))
        if opened is not None:
            _mention_what_is_left(opened)
            report = attrs.evolve(report, journal_error=opened.broken)
        return report

    def _fan(
        self,
        source: Input,
        carrier: Carrier,
        concurrency: int | None,
        *,
        ordered: bool = False,
        on_start: Callable[[], object] = lambda: None,
    ) -> Fan:
        return Fan(
            source,
            carrier,
            clock=self.clock,
            concurrency=concurrency,
            at_once=self.at_once,
            ordered=ordered,
            orphaned=self.orphaned,
            on_start=on_start,
        )

    async def _check_first(
        self,
        source: Input,
        fan: Fan,
        carrier: Carrier,
        preflight: Preflight,
        stop: asyncio.Event | None,
    ) -> None:
        """Read the whole input and check it; send nothing if anything is wrong."""
        carrier.refused = await check_all(await source.read_all(stop), carrier, preflight)
        if carrier.refused:
            count = len(carrier.refused)
            fan.stop(f"{count:,} of the items did not pass the check that goes before sending")

    def _recovery(self) -> Recovery:
        return Recovery(lists=self.reconciler, clock=self.clock)

    async def _journaled(
        self, journal: Journal, recovery: Recovery, *, wait: bool, output: bool
    ) -> JournaledCarrier:
        await journal.open(dict(self.meta))
        known = [row for row in journal.rows.values() if row.execution_id is not None]
        for row in known:
            self.reconciler.remember(row.execution_id or "", row.tag)
        await recovery.begin(journal)
        return JournaledCarrier(
            prepare=self.prepare,
            wait=wait,
            output=output,
            journal=journal,
            recovery=recovery,
            reattach=self.reattach,
            has_runs=bool(known),
        )


def _check_progress(progress: object) -> None:
    if not callable(progress):
        raise ConfigError(
            f"must be a function that takes a BatchProgress, and is a {type(progress).__name__}",
            field="progress",
        )
    call = getattr(progress, "__call__", None)  # noqa: B004 - of an object of a class
    if inspect.iscoroutinefunction(progress) or inspect.iscoroutinefunction(call):
        raise ConfigError(
            "must be a plain function: nobody awaits it; in one, asyncio.create_task(...) or"
            " queue.put_nowait(...) hands the figures on",
            field="progress",
        )


async def _close(
    source: Input,
    journal: Journal | None,
    carrier: Carrier,
    recovery: Recovery | None,
    preflight: Preflight | None,
) -> None:
    await source.aclose()
    if preflight is not None:
        await preflight.aclose()
    if recovery is not None:
        await recovery.aclose()
    if isinstance(carrier, JournaledCarrier):
        await carrier.collect()
    if journal is not None:
        await journal.aclose()


def _mention_what_is_left(journal: Journal) -> None:
    """Say that the journal has items the input did not have."""
    left = journal.rows.values()
    if left:
        open_ones = sum(row.state == "started" or is_uncertain(row) for row in left)
        logger.warning(
            "the journal %s has %d items that this input did not have, %d of them without an end",
            journal.path,
            len(left),
            open_ones,
        )

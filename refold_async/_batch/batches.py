"""`map` and `run_batch` put together, from what a client hands down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from refold_async._batch.carrier import Carrier
from refold_async._batch.fan import Fan, Submission
from refold_async._batch.journal import Journal
from refold_async._batch.journal_files import check_there
from refold_async._batch.journal_values import document_of
from refold_async._batch.journaled import JournaledCarrier
from refold_async._batch.kept import KeptInput
from refold_async._batch.models import ExecutionRequest
from refold_async._batch.preflight import Preflight
from refold_async._batch.recovery import Recovery
from refold_async._batch.results import Results
from refold_async._batch.running import Tally, check_all, run
from refold_async._batch.source import Input
from refold_async._batch.stopping import StopFile, Stopping, StopReport, stop_file
from refold_async._checks import check_flag
from refold_async._clock import Clock, outside, to_the_end
from refold_async._errors import ClientClosedError
from refold_async._handle import ExecutionHandle
from refold_async._logs import Log
from refold_async._models import ExecutionRef, RequestStructure
from refold_async._starting import Reconciler

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import AsyncGenerator

    from refold_async._batch.models import BatchItem
    from refold_async._batch.report import BatchReport
    from refold_async._batch.source import Requests
    from refold_async._batch.wishes import Wishes

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
        until_closed: has something told when the client is closed, as long as the context lasts.
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
    until_closed: Callable[[Callable[[], object]], AbstractContextManager[None]]
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
        flags = {"wait": wait, "output": output, "ordered": ordered, "validate": validate}
        for name, flag in flags.items():
            check_flag(flag, name)
        preflight = Preflight(self.structure) if validate else None
        carrier = Carrier(prepare=self.prepare, wait=wait, output=output, preflight=preflight)
        fan = self._fan(Input(requests), carrier, concurrency, ordered=ordered)
        return self._items(fan, preflight)

    async def _items(self, fan: Fan, preflight: Preflight | None) -> AsyncGenerator[BatchItem]:
        self.check_usable()
        try:
            with self.until_closed(fan.client_closed):
                async with aclosing(fan.items()) as items:
                    async for item in items:
                        yield item
            if fan.stopped is not None and not fan.input_ended:  # else it would seem to be all
                raise ClientClosedError(f"{fan.stopped} before the input was read to its end")
        finally:
            if preflight is not None:
                await preflight.aclose()

    async def run(self, requests: Requests | None, wishes: Wishes) -> BatchReport:
        """Run many workflows and report; see `RefoldClient.run_batch`."""
        self.check_usable()
        journal = None if wishes.journal is None else Journal(wishes.journal, self.clock)
        if wishes.retry and journal is not None:
            check_there(journal.path)  # a retry makes none
        kept = KeptInput(journal) if requests is None and journal is not None else None
        source = kept or Input(requests)
        results = _results(wishes, journal)
        preflight = Preflight(self.structure) if wishes.validate else None
        tally = Tally(self.clock, wishes.progress)
        before = Counter(self.requests_made())
        recovery, stopping, closing = self._recovery(), None, ExitStack()
        carrier = Carrier(prepare=self.prepare, wait=wishes.wait, output=wishes.output)
        try:
            if journal is not None:
                carrier = await self._journaled(journal, recovery, wishes, results)
            elif results is not None:
                results.open()
            if kept is not None:
                await kept.check()
            fan = self._fan(
                source, carrier, wishes.concurrency, on_start=tally.started, drain=wishes.drain
            )
            closing.enter_context(self.until_closed(fan.client_closed))
            if preflight is not None:
                await self._check_first(source, fan, carrier, preflight, wishes.stop)
            if wishes.stop is not None and wishes.stop.is_set():
                fan.stop("it was asked to stop")
            if journal is not None:
                told = partial(fan.stop, "a file beside its journal asked it to")
                stopping = StopFile(journal.path, self.clock, told)
            report = await run(
                fan,
                tally,
                requests_made=lambda: Counter(self.requests_made()) - before,
                wishes=wishes,
                results=results,
            )
            if results is not None:
                results.close()
                report = attrs.evolve(report, out_error=results.broken)
        finally:
            closing.close()
            if stopping is not None:
                stopping.close()
            await to_the_end(_close(source, journal, carrier, recovery, preflight, results))
        if journal is not None:
            if kept is None:
                _mention_what_is_left(journal)
            report = attrs.evolve(report, journal_error=journal.broken)
        return report

    async def stop(self, journal: str | os.PathLike[str]) -> StopReport:
        """Stop what runs of a batch; see `RefoldClient.stop_batch`."""
        self.check_usable()
        return await Stopping(
            journal=journal,
            meta=self.meta,
            recovery=self._recovery(),
            reattach=self.reattach,
            clock=self.clock,
        ).stop()

    def _fan(
        self,
        source: Input,
        carrier: Carrier,
        concurrency: int | None,
        *,
        ordered: bool = False,
        on_start: Callable[[], object] = lambda: None,
        drain: float | None = None,
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
            drain=drain,
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
        carrier.refused = await check_all(
            await source.read_all(stop, fan.no_more), carrier, preflight
        )
        if carrier.refused:
            count = len(carrier.refused)
            fan.stop(f"{count:,} of the items did not pass the check that goes before sending")

    def _recovery(self) -> Recovery:
        return Recovery(reconciler=self.reconciler, clock=self.clock)

    async def _journaled(
        self, journal: Journal, recovery: Recovery, wishes: Wishes, results: Results | None
    ) -> JournaledCarrier:
        with outside(self.clock):
            await journal.open(dict(self.meta))
            if results is not None:
                results.open()
                async for rows in journal.settled():
                    results.write_lines(map(document_of, rows))
        for execution_id, tag in journal.known:
            self.reconciler.lists.remember(execution_id, tag)
        await recovery.begin(journal)
        return JournaledCarrier(
            prepare=self.prepare,
            wait=wishes.wait,
            output=wishes.output,
            journal=journal,
            recovery=recovery,
            reattach=self.reattach,
            has_runs=bool(journal.known),
            retry=wishes.retry,
            keeps=wishes.keep_payloads,
            skip=_nowhere if results is None else results.skip,
        )


def _results(wishes: Wishes, journal: Journal | None) -> Results | None:
    if wishes.out is None:
        return None
    results = Results(wishes.out)
    if journal is not None:
        results.check_apart(journal.path, stop_file(journal.path))
    return results


async def _close(
    source: Input,
    journal: Journal | None,
    carrier: Carrier,
    recovery: Recovery,
    preflight: Preflight | None,
    results: Results | None,
) -> None:
    await source.aclose()
    if preflight is not None:
        await preflight.aclose()
    await recovery.aclose()
    if isinstance(carrier, JournaledCarrier):
        await carrier.collect()
    if journal is not None:
        await journal.aclose()
    if results is not None:
        results.close()


def _nowhere(_: int) -> None:
    """There is no file in which an item could stand."""


def _mention_what_is_left(journal: Journal) -> None:
    """Say that the journal has items the input did not have."""
    count, unended = journal.left
    if count:
        logger.warning(
            "the journal %s has %d items that this input did not have, %d of them without an end",
            journal.path,
            count,
            unended,
        )

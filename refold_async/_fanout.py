"""`map` and `run_batch` as users see them: part of `RefoldClient`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    import os
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable

    from refold_async._batch import (
        Batches,
        BatchItem,
        BatchProgress,
        BatchReport,
        ExecutionRequest,
        StopReport,
    )
    from refold_async._checks import Seconds
    from refold_async._typed import Out


class FanOut(ABC):
    """Runs of many workflows at once, by one client."""

    @abstractmethod
    def _batches(self) -> Batches:
        """Give what batches are run with."""

    def map(
        self,
        requests: Iterable[ExecutionRequest[Out]] | AsyncIterable[ExecutionRequest[Out]],
        *,
        concurrency: int | None = None,
        wait: bool = True,
        output: bool = True,
        ordered: bool = False,
        validate: bool = False,
    ) -> AsyncGenerator[BatchItem[Out]]:
        """Run many workflows and give each item as it settles, whatever became of it.

        ::

            async with aclosing(refold.map(requests)) as items:
                async for item in items:
                    print(item.key, item.outcome)

        The input is pulled as the request budget lets items through, so it may be endless, and
        memory does not grow with it. An item takes one of `concurrency` places from when it is
        pulled to when it is yielded: a slow reader slows the pulling. Not repeatable: it starts
        runs.

        Leaving early (`break` inside `aclosing`, or being cancelled) cancels no run and sends
        nothing more. Handles of runs that were started and not yielded are then in `orphans`.

        Args:
            requests: an iterable or async iterable of `ExecutionRequest`. If it raises, what was
                pulled is still yielded, and then its error is raised.
            concurrency: items under way at most; 10,000 by default, since each costs a few KiB and
                runs that take long must not hold up starts. How fast starts leave is the rate
                limit's and the service's business, and no more than `max_connections` of them are
                being started at one time.
            wait: wait for the runs to end; False: an item has succeeded once its run has started,
                unless its end is known by then, as of a sync run by the reply.
            output: read what the runs return; without, the status that lists show is enough, which
                saves a request per item, and asking a result for its `output` raises an error.
            ordered: yield in the order of the input, within the same number of places.
            validate: check each payload against its workflow's JSON Schema before it is sent
                (needs the extra `validate`); items that don't fit are `rejected`.

        Yields:
            Each item once, with exactly one outcome; failures are in `item.error`, not raised.

        Raises:
            ConfigError: an argument is wrong, or an extra is missing.
            ClientClosedError: the client is closed, or belongs to another loop; or it was closed
                before the input was read to its end, after what was pulled has been yielded.

        See: "Execute Workflow".
        """
        return self._batches().map(
            requests,
            concurrency=concurrency,
            wait=wait,
            output=output,
            ordered=ordered,
            validate=validate,
        )

    async def run_batch(
        self,
        requests: Iterable[ExecutionRequest[Out]] | AsyncIterable[ExecutionRequest[Out]],
        *,
        journal: str | os.PathLike[str] | None = None,
        concurrency: int | None = None,
        wait: bool = True,
        output: bool = True,
        stop_after_failures: int | None = None,
        progress: Callable[[BatchProgress], object] | None = None,
        validate: bool = False,
        stop: asyncio.Event | None = None,
        timeout: Seconds | None = None,
        drain: Seconds | None = None,
        keep_payloads: bool = False,
        out: str | os.PathLike[str] | None = None,
    ) -> BatchReport[Out]:
        """Run many workflows and report what became of each; failures don't raise.

        Keeps every item for the report, unless they go to a file (`out`): for inputs without end
        there is `map`. With a journal it may be repeated after a crash, with the same input: what
        is done is not run again. Without one, repeating it starts everything again. Cancelling it
        cancels no run and sends nothing more.

        Items without a `key` of their own are known to a journal by their places: a row added in
        front, or taken away, makes each of those after it another item, which is `rejected`.

        Args:
            requests: as of `map`; what it raises ends up in `report.input_error`.
            journal: a file that remembers the batch (needs the extra `batch`): made if it is not
                there, resumed from if it is. See "Batches" in the documentation.
            concurrency: as of `map`.
            wait: as of `map`.
            output: as of `map`.
            stop_after_failures: after so many items that are failed, rejected or unknown nothing
                more is sent; what runs is waited for, and what else was pulled is `unsent`. So is
                the rest of a list or a tuple; of any other input the rest is not read, and
                `report.input_ended` is False.
            progress: called on every change with how far the batch is; must not block.
            validate: read the whole input first and check every payload against its workflow's
                JSON Schema (needs the extra `validate`); if one does not fit, nothing is sent.
            stop: set it to stop the batch as `stop_after_failures` does. Closing the client stops
                it too.
            timeout: seconds (or a timedelta) after which the batch is stopped so; None for no
                limit. What runs then is waited for, for `drain` seconds.
            drain: seconds (or a timedelta) for which a batch that was stopped, by whatever, waits
                for what runs; None for as long as it takes, 0 for not at all. Runs that go on then
                are `unknown`, with their handles and a `WaitTimeoutError`; with a journal the next
                run with it waits for them.
            keep_payloads: have the journal keep what each item asks for, so that `retry_batch`
                needs no input. Payloads may be personal data: the file is its owner's alone.
            out: a file that is written as items end, one JSON line each as of `to_jsonl`, instead
                of keeping them: so memory does not grow with the input, and the report has counts,
                reasons and the slowest items alone. It is replaced; with a journal by the lines of
                all that the journal has as settled, before those of this batch. An item that is
                tried again has a further line: the last one of a key counts. A request that the
                journal does not take under a key it knows has none.

        Raises:
            ConfigError: an argument is wrong, or an extra is missing.
            JournalError: the journal can't be used; nothing was sent.
            ClientClosedError: the client is closed, or belongs to another loop.

        See: "Execute Workflow".
        """
        from refold_async._batch import Wishes  # noqa: PLC0415 - with the first batch

        return await self._batches().run(
            requests,
            Wishes(
                journal=journal,
                concurrency=concurrency,
                wait=wait,
                output=output,
                stop_after_failures=stop_after_failures,
                progress=progress,
                validate=validate,
                stop=stop,
                timeout=timeout,
                drain=drain,
                out=out,
                keep_payloads=keep_payloads,
            ),
        )

    async def retry_batch(
        self,
        journal: str | os.PathLike[str],
        requests: Iterable[ExecutionRequest[Out]]
        | AsyncIterable[ExecutionRequest[Out]]
        | None = None,
        *,
        concurrency: int | None = None,
        wait: bool = True,
        output: bool = True,
        stop_after_failures: int | None = None,
        progress: Callable[[BatchProgress], object] | None = None,
        stop: asyncio.Event | None = None,
        timeout: Seconds | None = None,
        drain: Seconds | None = None,
        out: str | os.PathLike[str] | None = None,
    ) -> BatchReport[Out]:
        """Start again what failed in a batch with a journal, and nothing that may have gone well.

        Items that failed, were rejected or could not be sent are started anew. Those of which
        nobody knows whether they ran are looked for first, and started only where it is proven that
        they did not. What succeeded stays as it is (an output that was not read is read), what runs
        is waited for, and what the batch had not begun is left to `run_batch`. A run that failed
        may have had effects: whoever retries takes that upon them. Repeating it retries what has
        failed by then.

        An item whose new start was not made, because the batch was stopped or no connection could
        be made, say, is what it was: `failed`, with the run that failed, in the report, the journal
        and `out` alike, and a note on its error says why. One whose new start the service refused
        is `rejected`.

        Args:
            journal: the journal of the batch; with `requests`, those of its input.
            requests: the input of the batch, as it was; without it, the journal has to keep what
                its items ask for (`run_batch(keep_payloads=True)`), but for `retry` and `types`.
            concurrency: as of `run_batch`; likewise all others.
            wait: see there.
            output: see there.
            stop_after_failures: see there.
            progress: see there.
            stop: see there.
            timeout: see there.
            drain: see there.
            out: see there.

        Raises:
            ConfigError: an argument is wrong, or an extra is missing.
            JournalError: the journal can't be used; nothing was sent.
            ClientClosedError: the client is closed, or belongs to another loop.

        See: "Execute Workflow".
        """
        from refold_async._batch import Wishes  # noqa: PLC0415 - with the first batch

        return await self._batches().run(
            requests,
            Wishes(
                journal=journal,
                retry=True,
                concurrency=concurrency,
                wait=wait,
                output=output,
                stop_after_failures=stop_after_failures,
                progress=progress,
                stop=stop,
                timeout=timeout,
                drain=drain,
                out=out,
            ),
        )

    async def stop_batch(self, journal: str | os.PathLike[str]) -> StopReport:
        """Stop all that runs of a batch with a journal, in whichever process it runs.

        A batch that is at the journal, in another process, is told by a file beside the journal,
        which it looks for once a second; once it has heard, it sends nothing more. If it has not
        within five seconds (its process is frozen, or its event loop blocked), `heard` is False and
        the file is taken away: it goes on as soon as it wakes, and starts more. Then end its
        process, or wake it, and call this again. In either case each run that the journal knows
        is asked to stop, by one request each, and those whose ids it does not know are looked for
        by their tags. The input is not needed, and the journal is not written to: it learns how the
        runs ended when its batch is resumed. May be repeated.

        A batch in this very process is stopped by `run_batch(stop=...)`.

        Raises:
            JournalError: the journal can't be read, or is another service's or account's.
            ClientClosedError: the client is closed, or belongs to another loop.

        See: "Stop Execution".
        """
        return await self._batches().stop(journal)

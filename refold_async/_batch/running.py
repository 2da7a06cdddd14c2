"""A batch from its input to its report: progress, stopping, checking first, the journal."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from contextlib import aclosing
from typing import TYPE_CHECKING

from refold_async._batch.carrier import UnsentError
from refold_async._batch.fan import Entry
from refold_async._batch.models import BatchItem, BatchOutcome, BatchProgress
from refold_async._batch.report import BatchReport, Summary
from refold_async._errors import RefoldError, clip
from refold_async._logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from refold_async._batch.carrier import Carrier
    from refold_async._batch.fan import Fan
    from refold_async._batch.preflight import Preflight
    from refold_async._batch.results import Results
    from refold_async._batch.wishes import Wishes
    from refold_async._clock import Clock, Timer

logger = Log("batch")

_LATELY = 10.0
"""Seconds over which the rate is taken."""
_ENDS_KEPT = 1_000
_TURN = 100
"""Payloads checked before others get a turn of the event loop."""
_FAILURES = (BatchOutcome.FAILED, BatchOutcome.REJECTED, BatchOutcome.UNKNOWN)


class Tally:
    """Counts what happens, and tells a caller that wants to know."""

    def __init__(self, clock: Clock, tell: Callable[[BatchProgress], object] | None) -> None:
        self._clock = clock
        self._tell = tell
        self._began = clock.monotonic()
        self._ends: deque[float] = deque(maxlen=_ENDS_KEPT)
        self._starts: deque[float] = deque(maxlen=_ENDS_KEPT)
        self._unended: deque[float] = deque()  # when runs began, but for as many as have ended
        self._counts: Counter[BatchOutcome] = Counter()
        self._started = 0
        self._last_start = self._began
        self._running = 0

    @property
    def seconds(self) -> float:
        """How long the batch has taken so far."""
        return self._clock.monotonic() - self._began

    @property
    def failures(self) -> int:
        """How many items have failed, were rejected, or are unknown."""
        return sum(self._counts[outcome] for outcome in _FAILURES)

    @property
    def done(self) -> int:
        """How many items have ended."""
        return self._counts.total()

    def started(self) -> None:
        """Count an item whose run is known to have begun."""
        self._started += 1
        self._running += 1
        now = self._clock.monotonic()
        self._starts.append(now)
        self._last_start = now
        self._unended.append(now)
        self._report()

    def settled(self, item: BatchItem) -> None:
        """Count an item that has ended."""
        self._counts[item.outcome] += 1
        if item.handle is not None:
            self._running -= 1
            self._unended.popleft()
        self._ends.append(self._clock.monotonic())
        self._report()

    def _report(self) -> None:
        if self._tell is None:
            return
        counts = {outcome.value: self._counts[outcome] for outcome in BatchOutcome}
        now = self._clock.monotonic()
        progress = BatchProgress(
            done=self._counts.total(),
            started=self._started,
            running=self._running,
            seconds=self.seconds,
            rate=self._rate(self._ends),
            start_rate=self._rate(self._starts),
            lag=now - self._unended[0] if self._unended else 0.0,
            since_start=now - self._last_start,
            **counts,
        )
        try:
            self._tell(progress)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # a CancelledError too: it was not the batch that was cancelled
            self._tell = None
            logger.exception("progress=... raised, and is not called any more")

    def _rate(self, times: deque[float]) -> float:
        now = self._clock.monotonic()
        while times and times[0] < now - _LATELY:
            times.popleft()
        since = times[0] if len(times) == _ENDS_KEPT else max(self._began, now - _LATELY)
        return len(times) / (now - since) if now > since else 0.0


async def run(
    fan: Fan,
    tally: Tally,
    *,
    requests_made: Callable[[], Mapping[str, int]],
    wishes: Wishes,
    results: Results | None,
) -> BatchReport:
    """Run a batch to its end, and report; nothing that fails in an item is raised."""
    items: list[BatchItem] = []
    summary = Summary()
    watching = asyncio.get_running_loop().create_task(_watch(wishes.stop, fan))
    ending = None if wishes.timeout is None else _end_after(wishes.timeout, tally, fan)
    most = wishes.stop_after_failures
    try:
        async with aclosing(fan.items()) as settled:
            async for item in settled:
                if results is None:
                    items.append(item)
                else:
                    summary.take(item)
                    results.write(item)
                    if results.broken is not None:
                        fan.stop(f"the results can't be written: {results.broken}")
                tally.settled(item)
                if most is not None and tally.failures >= most:
                    fan.stop(f"{tally.failures} items have failed")
    except Exception as error:
        if error is not fan.input_error:
            raise
        logger.error(  # noqa: TRY400 - it is raised to nobody, and is in the report
            "the input of the batch raised after %d items: %s", tally.done, clip(repr(error), 200)
        )
    finally:
        if ending is not None:
            ending.cancel()
        watching.cancel()
        await asyncio.wait([watching])
    return BatchReport(
        all_items=sorted(items, key=lambda item: item.index),
        duration=tally.seconds,
        requests=dict(requests_made()),
        input_error=fan.input_error,
        input_ended=fan.input_ended,
        stopped=fan.stopped,
        out=None if results is None else results.path,
        gathered=None if results is None else summary,
    )


async def _watch(stop: asyncio.Event | None, fan: Fan) -> None:
    if stop is not None:
        await stop.wait()
        fan.stop("it was asked to stop")


def _end_after(timeout: float, tally: Tally, fan: Fan) -> Timer:
    """Have nothing more sent once the batch has taken so long, what came before included."""
    words = f"its time of {timeout:g} s is over"
    if (left := timeout - tally.seconds) <= 0:
        fan.stop(words)
    return fan.stop_in(max(left, 0.0), words)


async def check_all(
    requests: list[object], carrier: Carrier, preflight: Preflight
) -> dict[int, Exception]:
    """Check every request before any is sent; give what is wrong, by index."""
    wrong: dict[int, Exception] = {}
    for index, request in enumerate(requests):
        if index % _TURN == _TURN - 1:
            await asyncio.sleep(0)
        entry = Entry.of(index, request)
        try:
            submission = carrier.prepared(entry)
            if not await carrier.is_over(entry):
                await carrier.check(entry, submission, preflight)
        except (UnsentError, RefoldError) as error:
            wrong[index] = error
    return wrong

"""Fan-out: an input pulled as places come free, its items run side by side, each ending once.

A `Fan` knows nothing of the client: a carrier brings one entry from its request to its end, with
the help of the fan, which says whether anything may still be sent.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from refold_async._batch.models import BatchItem, BatchOutcome, ExecutionRequest
from refold_async._batch.patience import ImpatientError, Patience
from refold_async._batch.source import END, Input
from refold_async._checks import check_count, plain
from refold_async._clock import waiting
from refold_async._errors import (
    ClientClosedError,
    ExecutionOutcomeUnknownError,
    NotSentError,
    RefoldError,
    clip,
)
from refold_async._handle import ExecutionHandle, read_by
from refold_async._logs import Log, about
from refold_async._models import OutputError
from refold_async._typed import TypedWorkflow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from refold_async._clock import Clock, Timer
    from refold_async._config import RetryPolicy
    from refold_async._protocol import Request

logger = Log("batch")

CONCURRENCY = 10_000
"""Items under way at most, unless the caller says otherwise.

One that waits for its run costs some 5 KiB, so these cost some 50 MB; and at the documented 20
starts per second a run may take 8 minutes before the starts have to wait for places.
"""


@attrs.define(eq=False)
class Entry:
    """An item under way."""

    index: int
    key: str
    request: ExecutionRequest
    began: float | None = None
    handle: ExecutionHandle[Any] | None = None
    resumed: bool = False
    task: asyncio.Task[None] | None = None
    has_permit: bool = True
    sending: bool = False
    interrupted: bool = False  # cancelled by `Fan.stop`, and by nobody else

    @classmethod
    def of(cls, index: int, request: Any, place: str | None = None) -> Entry:
        """Make the entry of a request, or of what stands in the place of one."""
        key = request.key if isinstance(request, ExecutionRequest) else None
        named = plain(key) if isinstance(key, str) and key else place or str(index)
        return cls(index, named, request)

    @property
    def types(self) -> TypedWorkflow[Any, Any] | None:
        """What reads its output, if its request says so."""
        types = getattr(self.request, "types", None)
        return types if isinstance(types, TypedWorkflow) else None

    @property
    def journal_key(self) -> str:
        """Its key in a journal: a caller's "2" is not the item at index 2 that has none."""
        given = getattr(self.request, "key", None)
        return f"#{self.key}" if given is None or self.key.startswith("#") else self.key


class Submission(Protocol):
    """A start that is prepared."""

    async def handle(
        self, before: Callable[[], Awaitable[None]] | None = None
    ) -> ExecutionHandle[Any]:
        """Send it, once, and give the handle of the run; `before` comes before each attempt."""

    async def rest(self) -> ExecutionHandle[Any] | None:
        """Tell what became of it after `handle` was cancelled; None if nothing had left."""

    def later(self, told: Callable[[ExecutionHandle[Any] | None], object]) -> None:
        """Have something told what became of it after `handle` was cancelled."""

    @property
    def has_left(self) -> bool:
        """Whether, after `handle` was cancelled, a run may have begun."""

    @property
    def request(self) -> Request:
        """What is sent."""

    @property
    def policy(self) -> RetryPolicy:
        """How it is tried again."""

    @property
    def fingerprint(self) -> str:
        """A hash of all that is sent, but for the credential and a tag that was made for it."""

    def retag(self, tag: str) -> None:
        """Send the tag that was made for an earlier try of the same start."""


class Carrier(Protocol):
    """Brings an entry from its request to its end."""

    async def carry(self, entry: Entry, fan: Fan) -> tuple[BatchOutcome, Any, Exception | None]:
        """Run it, and give outcome, result and error."""


class Fan:
    """One batch under way.

    An entry has a place from being pulled to being yielded, and a permit until its start is
    acknowledged: so the input is pulled no faster than starts get through.
    """

    def __init__(
        self,
        source: Input,
        carrier: Carrier,
        *,
        clock: Clock,
        concurrency: int | None,
        at_once: int,
        ordered: bool = False,
        orphaned: Callable[[ExecutionHandle[Any]], object],
        on_start: Callable[[], object] = lambda: None,
        drain: float | None = None,
    ) -> None:
        places = CONCURRENCY if concurrency is None else check_count(concurrency, "concurrency")
        self._input = source
        self._carrier = carrier
        self.clock = clock
        self._ordered = ordered
        self._orphaned = orphaned
        self._on_start = on_start
        self.patience = Patience(clock)
        self._drain = drain
        self._draining: Timer | None = None
        self._places = asyncio.Semaphore(places)
        self._permits = asyncio.Semaphore(min(at_once, places))
        self._entries: dict[int, Entry] = {}  # under way
        self._starting = 0  # of them, those with a permit
        self._settled: deque[BatchItem] = deque()
        self._early: dict[int, BatchItem] = {}  # settled, if ordered, before one that comes first
        self._next = 0
        self._pulling: asyncio.Task[None] | None = None
        self._pulled_all = False
        self._news = asyncio.Event()
        self._leaving = False
        self._is_closed = False
        self.all_begun = asyncio.Event()
        """The input is read, and no entry holds a permit: all others have started or ended."""
        self.no_more = asyncio.Event()
        """Nothing more is sent."""
        self.stopped: str | None = None
        """Why nothing more is sent, if so."""
        self.input_error: Exception | None = None

    # -- what the caller sees ----------------------------------------------------------------

    async def items(self) -> AsyncGenerator[BatchItem]:
        """Run the batch, and give each item once; then raise what the input raised, if it did."""
        self._pulling = asyncio.get_running_loop().create_task(self._pull())
        self._pulling.add_done_callback(self._has_pulled)
        try:
            while True:
                while (item := self._take()) is not None:
                    self._places.release()
                    yield item
                if self._pulled_all and not self._entries:
                    break
                self._news.clear()
                await self._news.wait()
            if not self._pulling.cancelled():  # it was before it began, if it was
                self._pulling.result()
        finally:
            await self._leave(self._pulling)
        if self.input_error is not None:
            raise self.input_error

    def stop(self, reason: str) -> None:
        """Send nothing more; what runs is waited for (`drain`), and what was pulled is unsent.

        The rest of the input is unsent too if it is at hand. Else it is not read: it may be slow to
        come, or have no end.
        """
        if self.stopped is not None:
            return
        self._send_no_more(reason)
        if self._drain is not None:
            self.patience.has_end = True
            self._draining = self.clock.call_later(self._drain, self.patience.end)
        for entry in self._entries.values():
            if entry.sending and entry.task is not None:
                entry.interrupted = True
                entry.task.cancel()

    def stop_in(self, seconds: float, reason: str) -> Timer:
        """Stop after so many seconds, unless the timer is cancelled."""
        self.patience.has_end = self._drain is not None
        return self.clock.call_later(seconds, functools.partial(self.stop, reason))

    def client_closed(self) -> None:
        """Send nothing more; what is under way ends by itself, as the client ends it."""
        if self.stopped is None:
            self._is_closed = True
            self._send_no_more("the client was closed")

    def _send_no_more(self, reason: str) -> None:
        self.stopped = reason
        self.no_more.set()
        logger.warning("the batch sends nothing more: %s", reason)
        if self._input.at_hand:
            self._permits.release()  # for the puller, which may wait for one
        elif self._pulling is not None:
            self._pulling.cancel()

    # -- what carriers use -------------------------------------------------------------------

    async def send(
        self,
        entry: Entry,
        submission: Submission,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> ExecutionHandle[Any]:
        """Send an entry's start, unless the batch has been stopped.

        Raises:
            NotSentError: the batch was stopped, and nothing has left.
            ClientClosedError: so was the client.
            RefoldError: whatever `execute` raises.
        """
        if self.stopped is not None:
            raise self.not_sent()
        entry.sending = True
        try:
            return await submission.handle(before)
        except asyncio.CancelledError:
            entry.sending = False
            if self._leaving or entry.task is None or not entry.interrupted:
                raise
            entry.task.uncancel()
            return await self._rest(submission)
        finally:
            entry.sending = False

    async def _rest(self, submission: Submission) -> ExecutionHandle[Any]:
        """Give the run of a start that may have left before the batch was stopped."""
        if not submission.has_left:
            raise self.not_sent()
        try:
            with waiting(self.clock, "the answer to a start"):
                handle = await self.patience.bear(submission.rest)
        except ImpatientError:
            request = submission.request
            raise ExecutionOutcomeUnknownError(
                "the batch ended before its start was answered; before sending it again,"
                f" await refold.find({request.instance_tag!r},"
                f" workflow_id={request.workflow_id!r}) looks for it",
                instance_tag=request.instance_tag,
                workflow_id=request.workflow_id,
                attempts=1,
            ) from None
        if handle is None:
            raise self.not_sent()
        return handle

    @property
    def input_ended(self) -> bool:
        """Whether the input has been read to its end."""
        return self._input.ended

    def not_sent(self) -> RefoldError:
        """Say why an entry is not sent."""
        words = f"not sent: {self.stopped}"
        return ClientClosedError(words) if self._is_closed else NotSentError(words)

    def acknowledged(self, entry: Entry, handle: ExecutionHandle[Any]) -> None:
        """Note the handle of an entry's run: another may be started."""
        entry.handle = handle
        self._give_permit_back(entry)

    def started(self) -> None:
        """Note that one more run is known to have begun."""
        self._on_start()

    async def step_aside(self, entry: Entry) -> None:
        """Give place and permit to others, until all of them have begun; then take both again."""
        self._give_permit_back(entry)
        self._places.release()
        await self.all_begun.wait()
        await self._places.acquire()
        await self._permits.acquire()
        entry.has_permit = True
        entry.began = self.clock.monotonic()  # what it waited for others is not its own time
        self._starting += 1

    # -- inside ------------------------------------------------------------------------------

    async def _pull(self) -> None:
        try:
            while self.stopped is None or self._input.at_hand:
                await self._places.acquire()
                if self.stopped is None:
                    await self._permits.acquire()
                try:
                    request = await self._input.next()
                except Exception as error:  # noqa: BLE001 - the caller's own: `items` raises it
                    self.input_error = error
                    return
                if request is END:
                    return
                self._begin(request)
        except asyncio.CancelledError:
            if self._leaving or self.stopped is None:
                raise

    def _has_pulled(self, _: object) -> None:
        """Give back place and permit, with which nobody is pulled any more.

        Not by the puller itself, which may be cancelled before it begins.
        """
        self._places.release()
        self._permits.release()
        self._pulled_all = True
        self._check_all_begun()
        self._news.set()

    def _begin(self, request: ExecutionRequest) -> None:
        entry = Entry.of(self._input.pulled - 1, request, self._input.place)
        self._entries[entry.index] = entry
        if self.stopped is None:
            self._starting += 1
        else:  # it is not sent: its carrier may know it from an earlier process
            entry.has_permit = False
        entry.task = asyncio.get_running_loop().create_task(self._run(entry))

    async def _run(self, entry: Entry) -> None:
        """Carry an entry; no fault in here loses it."""
        entry.began = self.clock.monotonic()
        try:
            outcome, result, error = await self._carrier.carry(entry, self)
        except asyncio.CancelledError:
            if not self._leaving:  # somebody cancels tasks that are not theirs
                cut = RefoldError("the task of this item was cancelled from outside")
                self._settle(entry, BatchOutcome.UNKNOWN, None, cut)
            raise
        except Exception as broken:
            logger.exception(
                "item %s of the batch broke", clip(entry.key, 80), extra=about(key=entry.key)
            )
            outcome, result, error = BatchOutcome.UNKNOWN, None, broken
        self._settle(entry, outcome, result, error)

    def item(
        self, entry: Entry, outcome: BatchOutcome, result: Any, error: Exception | None
    ) -> BatchItem:
        """Give an entry that ends so as an item."""
        handle = entry.handle
        if (types := entry.types) is not None:
            # Here, where all else is done: journals keep JSON, and that a run went well.
            if handle is not None:
                handle = read_by(handle, types.read)
            try:
                result = None if result is None else types.read(result)
            except OutputError as misfit:
                error = misfit
        return BatchItem(
            index=entry.index,
            key=entry.key,
            request=entry.request,
            outcome=outcome,
            handle=handle,
            result=result,
            error=error,
            seconds=None if entry.began is None else self.clock.monotonic() - entry.began,
            resumed=entry.resumed,
        )

    def _settle(
        self, entry: Entry, outcome: BatchOutcome, result: Any, error: Exception | None
    ) -> None:
        item = self.item(entry, outcome, result, error)
        del self._entries[entry.index]
        self._give_permit_back(entry)
        if self._ordered:
            self._early[item.index] = item
        else:
            self._settled.append(item)
        self._news.set()

    def _take(self) -> BatchItem | None:
        if not self._ordered:
            return self._settled.popleft() if self._settled else None
        item = self._early.pop(self._next, None)
        self._next += item is not None
        return item

    def _give_permit_back(self, entry: Entry) -> None:
        if entry.has_permit:
            entry.has_permit = False
            self._starting -= 1
            self._permits.release()
            self._check_all_begun()

    def _check_all_begun(self) -> None:
        if self._pulled_all and not self._starting:
            self.all_begun.set()

    async def _leave(self, pulling: asyncio.Task[None]) -> None:
        """End what is left when the reader goes: nothing is sent, and no run is lost."""
        self._leaving = True
        if self._draining is not None:
            self._draining.cancel()
        tasks = [entry.task for entry in self._entries.values() if entry.task is not None]
        for task in (pulling, *tasks):
            task.cancel()
        try:
            await asyncio.wait([pulling, *tasks])
            await self._input.aclose()
        finally:
            unread = [*self._settled, *self._early.values()]
            known = [entry.handle for entry in self._entries.values()]
            for handle in (*known, *(item.handle for item in unread)):
                if handle is not None:
                    self._orphaned(handle)

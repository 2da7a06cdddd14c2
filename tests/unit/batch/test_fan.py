"""The fan-out by itself: one ending per item, laziness, order, leaving and stopping."""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    BatchOutcome,
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    ExecutionFailedError,
    ExecutionOutcomeUnknownError,
    ExecutionRequest,
    ExecutionResult,
    ExecutionStatus,
    NotFoundError,
    RefoldError,
    ServerError,
    TransportError,
    UnexpectedReplyError,
    WaitTimeoutError,
)
from refold_async._batch.carrier import Carrier
from refold_async._batch.fan import Entry
from refold_async._models import UNREAD
from tests.support.clock import settle
from tests.support.starts import Starts, StubHandle, asked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from refold_async import BatchItem
    from refold_async._batch.fan import Fan
    from tests.support.clock import FakeClock


async def all_of(fan: Fan) -> list[BatchItem]:
    """Run a fan to its end."""
    async with aclosing(fan.items()) as items:
        return [item async for item in items]


async def test_every_item_is_yielded_once() -> None:
    """A thousand items from a generator: each comes once, with its index as key."""
    starts = Starts(at_once=True)
    items = await all_of(starts.fan(starts.these(1000), concurrency=50))
    assert list(range(1000)) == sorted(item.index for item in items)
    assert {BatchOutcome.SUCCEEDED} == {item.outcome for item in items}
    assert all(item.key == str(item.index) and item.result is not None for item in items)


async def test_an_async_iterable_is_as_good() -> None:
    """Requests may come from a database cursor."""
    starts = Starts(at_once=True)

    async def rows() -> AsyncIterator[ExecutionRequest]:
        for request in asked(*range(20)):
            await asyncio.sleep(0)
            yield request

    assert len(await all_of(starts.fan(rows()))) == 20


async def test_an_empty_input_ends_at_once() -> None:
    """No item, no error."""
    assert await all_of(Starts().fan([])) == []


@pytest.mark.parametrize("requests", [None, 3])
def test_what_is_no_iterable_is_refused(requests: Any) -> None:
    """The argument is named."""
    with pytest.raises(ConfigError, match="requests: must be an iterable"):
        Starts().fan(requests)


async def test_no_more_is_pulled_than_may_be_started() -> None:
    """An endless input is pulled as starts get through, not `concurrency` ahead."""
    starts = Starts()
    async with aclosing(starts.fan(starts.endless(), at_once=5).items()) as items:
        reading = asyncio.ensure_future(anext(items))
        await settle()
        assert (starts.sent, len(starts.pulled)) == ([0, 1, 2, 3, 4], 5)
        starts.acknowledge(0, 1)
        await settle()
        assert (starts.sent, len(starts.pulled)) == ([0, 1, 2, 3, 4, 5, 6], 7)
        reading.cancel()
        await asyncio.wait([reading])


async def test_no_more_run_than_there_are_places() -> None:
    """Items whose runs go on keep their places."""
    starts = Starts()
    starts.acknowledge(*range(20))
    async with aclosing(starts.fan(starts.endless(), concurrency=8, at_once=3).items()) as items:
        reading = asyncio.ensure_future(anext(items))
        await settle()
        assert starts.sent == list(range(8))
        starts.finish(3)
        await settle()
        assert (await reading).index == 3
        assert starts.sent == list(range(9))


async def test_a_slow_reader_stops_the_pulling() -> None:
    """What has settled and was not read keeps its place."""
    starts = Starts(at_once=True)
    async with aclosing(starts.fan(starts.endless(), concurrency=10).items()) as items:
        await anext(items)
        await settle(50)
        assert len(starts.pulled) == 11
        await anext(items)
        await settle(50)
        assert len(starts.pulled) == 12


async def test_items_come_as_they_settle() -> None:
    """The first to end is the first to be yielded."""
    starts = Starts()
    starts.acknowledge(0, 1, 2)
    async with aclosing(starts.fan(asked(0, 1, 2)).items()) as items:
        order = []
        for number in (2, 0, 1):
            starts.finish(number)
            order.append((await anext(items)).index)
    assert order == [2, 0, 1]


async def test_ordered_items_come_in_input_order_within_the_places() -> None:
    """An item that settles early waits for those before it, and keeps its place meanwhile."""
    starts = Starts()
    starts.acknowledge(*range(20))
    starts.finish(*range(1, 20))
    fan = starts.fan(starts.these(20), concurrency=4, ordered=True)
    async with aclosing(fan.items()) as items:
        first = asyncio.ensure_future(anext(items))
        await settle()
        assert (first.done(), starts.sent) == (False, [0, 1, 2, 3])
        starts.finish(0)
        assert [(await first).index, *[item.index async for item in items]] == list(range(20))


async def test_without_waiting_a_start_is_a_success() -> None:
    """`wait=False`: nobody asks how the run ends."""
    starts = Starts()
    starts.acknowledge(0)
    (item,) = await all_of(starts.fan(asked(0), wait=False))
    assert (item.outcome, item.execution_id, item.result) == ("succeeded", "run_0", None)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        pytest.param(NotFoundError("no", status=404), "rejected", id="refused"),
        pytest.param(ServerError("no", status=503), "rejected", id="shed"),
        pytest.param(ConfigError("no", field="slug"), "rejected", id="wrong"),
        pytest.param(UnexpectedReplyError("a redirect"), "rejected", id="redirect"),
        pytest.param(ConnectionFailedError("no"), "unsent", id="no connection"),
        pytest.param(ClientClosedError("no"), "unsent", id="closed"),
        pytest.param(TransportError("no", sent=False), "unsent", id="not sent"),
        pytest.param(TransportError("no"), "unknown", id="sent"),
        pytest.param(ExecutionOutcomeUnknownError("?"), "unknown", id="unknown"),
        pytest.param(RefoldError("?"), "unknown", id="anything else"),
    ],
)
async def test_a_start_that_fails_has_one_outcome(error: RefoldError, outcome: str) -> None:
    """By what is known of the run; the error stays with the item."""
    starts = Starts()
    starts.acknowledge(0, error=error)
    (item,) = await all_of(starts.fan(asked(0)))
    assert (item.outcome, item.error, item.handle) == (outcome, error, None)


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        pytest.param(ExecutionStatus.COMPLETED, "succeeded", id="completed"),
        pytest.param(ExecutionStatus.ERRORED, "failed", id="errored"),
        pytest.param(ExecutionStatus.STOPPED, "failed", id="stopped"),
        pytest.param(NotFoundError("gone", status=404), "unknown", id="can't be read"),
        pytest.param(ClientClosedError("closed"), "unknown", id="closed"),
        pytest.param(ConnectionFailedError("no"), "unknown", id="no connection"),
    ],
)
async def test_a_run_has_one_outcome(ending: Any, outcome: str) -> None:
    """Whatever becomes of the wait, the handle is kept."""
    starts = Starts()
    starts.acknowledge(0)
    starts.finish(0, ending=ending)
    (item,) = await all_of(starts.fan(asked(0)))
    assert (item.outcome, item.execution_id) == (outcome, "run_0")
    assert (item.error is None) is (outcome == "succeeded")
    assert item.seconds is not None


async def test_a_failure_that_is_known_says_in_a_note_why_there_is_no_output() -> None:
    """It stays the item's error, as it was."""
    starts, entry = Starts(), Entry.of(0, asked(0)[0])
    entry.handle = StubHandle(0, starts)  # type: ignore[assignment]
    starts.finish(0, ending=NotFoundError("gone", status=404))
    result = ExecutionResult(execution_id="run_0", status=ExecutionStatus.ERRORED, output=UNREAD)
    known = BatchOutcome.FAILED, result, ExecutionFailedError("no", result=result)
    carrier = Carrier(prepare=starts.prepare, wait=True)
    assert await carrier.end(entry, starts.fan([]), known) == known
    assert "its output could not be read: NotFoundError: HTTP 404, gone" in str(known[2].__notes__)


async def test_what_is_no_request_is_rejected_alone() -> None:
    """The others go on."""
    starts = Starts(at_once=True)
    wrong: list[Any] = [*asked(0), "wf_1", *asked(2), *asked(3, key=""), *asked(4, key="\ud800")]
    items = sorted(await all_of(starts.fan(iter(wrong))), key=lambda item: item.index)
    outcomes = [str(item.outcome) for item in items]
    assert outcomes == ["succeeded", "rejected", "succeeded", "rejected", "rejected"]
    assert "item 1 must be an ExecutionRequest, not str" in str(items[1].error)
    assert "key: must be text" in str(items[3].error)


async def test_a_fault_of_ours_is_logged_and_loses_no_item(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An error nobody thought of says so, with its traceback; the other items go on."""
    starts = Starts(at_once=True)
    items = await all_of(starts.fan([*asked(0), *asked(2), ExecutionRequest("w", slug="s")]))
    assert sorted(item.outcome for item in items) == ["succeeded", "succeeded", "unknown"]
    assert isinstance(next(i.error for i in items if i.error), TypeError)
    (record,) = caplog.records
    assert (record.levelname, record.exc_info is not None) == ("ERROR", True)


async def test_a_task_that_others_cancel_loses_no_item() -> None:
    """Someone who cancels every task of the loop cancels ours too."""
    starts = Starts()
    fan = starts.fan(asked(0))
    reading = asyncio.ensure_future(all_of(fan))
    await settle()
    (entry,) = fan._entries.values()
    assert entry.task is not None
    entry.task.cancel()
    (item,) = await reading
    assert (item.outcome, str(item.error)) == (
        "unknown",
        "the task of this item was cancelled from outside",
    )


async def test_an_input_that_raises_ends_the_batch_after_what_was_pulled() -> None:
    """What was pulled is yielded, and then the input's own error is raised."""
    starts = Starts(at_once=True)

    def rows() -> Iterator[ExecutionRequest]:
        yield from asked(0, 1)
        raise LookupError("row 2 is broken")

    async with aclosing(starts.fan(rows()).items()) as items:
        assert sorted([(await anext(items)).index, (await anext(items)).index]) == [0, 1]
        with pytest.raises(LookupError, match="row 2"):
            await anext(items)


async def test_leaving_early_leaks_nothing_and_sends_nothing_more() -> None:
    """Runs that began and were not yielded are orphans; what had not left does not leave."""
    starts = Starts()
    starts.acknowledge(0, 1, 2, 3)
    starts.finish(0, 1)
    async with aclosing(starts.fan(starts.endless(), at_once=3).items()) as items:
        first = await anext(items)
        await settle()
    pulled = len(starts.pulled)
    await settle(50)
    assert (len(starts.pulled), first.index) == (pulled, 0)
    assert sorted(handle.number for handle in starts.orphans) == [1, 2, 3]


async def test_a_cancelled_reader_leaks_nothing() -> None:
    """As leaving early; the fixture of all tests looks for tasks."""
    starts = Starts()
    starts.acknowledge(0)
    reading = asyncio.ensure_future(all_of(starts.fan(starts.endless(), at_once=2)))
    await settle()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert [handle.number for handle in starts.orphans] == [0]


async def test_stopping_sends_nothing_more_and_waits_for_what_runs() -> None:
    """Runs end as they end; what waited for a slot and the rest of the input are unsent."""
    starts = Starts(held=True)
    starts.leave(0, 1)
    starts.acknowledge(0)
    fan = starts.fan(list(starts.these(50)), at_once=3)
    reading = asyncio.ensure_future(all_of(fan))
    await settle()
    assert (starts.sent, starts.waiting) == ([0, 1], [0, 1, 2, 3])
    fan.stop("enough")
    await settle(50)
    assert not reading.done()
    starts.acknowledge(1)  # its answer was under way
    starts.finish(0, 1)
    outcomes = {item.index: item.outcome for item in await reading}
    assert [outcomes[0], outcomes[1]] == ["succeeded", "succeeded"]
    assert {outcomes[n] for n in range(2, 50)} == {BatchOutcome.UNSENT}
    assert starts.sent == [0, 1]


async def test_stopping_tells_why_items_are_unsent() -> None:
    """The reason is in each item's error; stopping again changes nothing."""
    fan = Starts().fan(asked(0))
    fan.stop("enough")
    fan.stop("more than enough")
    (item,) = await all_of(fan)
    assert (item.outcome, str(item.error)) == ("unsent", "not sent: enough")


async def test_leaving_after_a_stop_leaves_starts_to_the_orphans() -> None:
    """A reader that goes while a stop waits for an answer waits for nothing more."""
    starts = Starts()
    fan = starts.fan(asked(0))
    reading = asyncio.ensure_future(all_of(fan))
    await settle()
    fan.stop("enough")
    await settle()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


@pytest.mark.long
async def test_memory_does_not_grow_with_the_input() -> None:
    """4,000 generated requests take no more than 1,000."""

    async def peak(many: int) -> int:
        starts = Starts(at_once=True)
        tracemalloc.start()
        async with aclosing(starts.fan(_light(many), concurrency=200).items()) as items:
            async for item in items:
                number = item.request.payload["n"]
                starts.sent.clear()
                starts.waiting.clear()
                del starts.answers[number], starts.ends[number]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = await peak(1_000), await peak(4_000)
    assert many < few + 200_000


def _light(many: int) -> Iterator[ExecutionRequest]:
    for number in range(many):
        yield from asked(number)


async def _silence(told: list[str]) -> AsyncIterator[ExecutionRequest]:
    """Give two requests, and then none for ever."""
    try:
        for request in asked(0, 1):
            yield request
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        told.append("closed")


async def test_stopping_does_not_wait_for_an_idle_input() -> None:
    """What runs is waited for; the input is closed, and said not to have ended."""
    starts, told = Starts(), list[str]()
    starts.acknowledge(0, 1)
    fan = starts.fan(_silence(told))
    reading = asyncio.ensure_future(all_of(fan))
    await settle()
    fan.stop("enough")
    await settle()
    assert not reading.done()
    starts.finish(0, 1)
    assert [item.outcome for item in await reading] == ["succeeded"] * 2
    assert (fan.input_ended, told) == (False, ["closed"])


async def test_stopping_pulls_no_more_of_an_endless_input() -> None:
    """Those that were pulled are unsent; there is no rest to report."""
    starts = Starts()
    starts.acknowledge(0)
    starts.finish(0)
    fan = starts.fan(starts.endless(), at_once=2)
    reading = asyncio.ensure_future(all_of(fan))
    await settle()
    pulled = len(starts.pulled)
    fan.stop("enough")
    for number in range(1, pulled):
        starts.acknowledge(number)
        starts.finish(number)
    items = await reading
    assert (len(items), len(starts.pulled), fan.input_ended) == (pulled, pulled, False)


@pytest.mark.parametrize("kind", [list, tuple])
async def test_what_is_at_hand_is_reported_to_its_end(kind: Any) -> None:
    """The items of a list are unsent, each by its own name."""
    fan = Starts().fan(kind(asked(*range(5))))
    fan.stop("enough")
    assert [item.outcome for item in await all_of(fan)] == ["unsent"] * 5
    assert fan.input_ended


@pytest.mark.parametrize("is_async", [True, False])
@pytest.mark.parametrize("leaves", ["after one", "as it waits", "by an error"])
async def test_an_early_exit_closes_the_generator(is_async: bool, leaves: str) -> None:
    """A cursor or a file that it holds open is let go at once, not by the collector."""
    starts, told = Starts(at_once=leaves != "as it waits"), list[str]()

    def rows() -> Iterator[ExecutionRequest]:
        try:
            yield from asked(*range(1000))
        finally:
            told.append("closed")

    async def async_rows() -> AsyncIterator[ExecutionRequest]:
        try:
            for request in asked(*range(1000)):
                yield request
        finally:
            await asyncio.sleep(0)
            told.append("closed")

    source: Any = async_rows() if is_async else rows()
    reading = asyncio.ensure_future(
        _leave_early(starts.fan(source, at_once=3, concurrency=10), leaves)
    )
    await settle()
    reading.cancel()
    await asyncio.wait([reading])
    assert told == ["closed"]


async def _leave_early(fan: Fan, how: str) -> None:
    async with aclosing(fan.items()) as items:
        async for _ in items:
            if how == "by an error":
                raise ValueError
            return


async def test_what_is_no_generator_is_left_open() -> None:
    """An iterator of the caller's, a file for example, may be gone on with."""
    starts = Starts(at_once=True)
    rest = iter(list(asked(*range(10))))
    async with aclosing(starts.fan(rest, concurrency=1).items()) as items:
        await anext(items)
    assert next(rest) is not None


async def test_a_generator_that_raises_as_it_is_closed_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The reader has gone: there is nobody to raise it to."""

    def rows() -> Iterator[ExecutionRequest]:
        try:
            yield from asked(*range(10))
        finally:
            raise ValueError("no")

    starts = Starts(at_once=True)
    async with aclosing(starts.fan(rows(), concurrency=1).items()) as items:
        await anext(items)
    assert "raised as it was closed" in caplog.text


async def test_draining_ends_all_waits_at_once(clock: FakeClock) -> None:
    """What runs is waited for so long after a stop; then it is unknown, and has its handle."""
    starts = Starts()
    starts.acknowledge(0, 1, 2)
    fan = starts.fan(asked(0, 1, 2, 3, 4), at_once=1, drain=30.0, clock=clock)
    running = asyncio.ensure_future(all_of(fan))
    await settle()
    fan.stop("enough")
    await settle()
    starts.finish(1)
    await clock.advance(29.9)
    assert not running.done()
    await clock.advance(0.2)
    items = sorted(await running, key=lambda item: item.index)

    assert [item.outcome for item in items] == [
        "unknown",
        "succeeded",
        "unknown",
        "unknown",
        "unsent",
    ]
    assert [item.handle is not None for item in items] == [True] * 3 + [False] * 2
    assert isinstance(items[0].error, WaitTimeoutError)
    assert isinstance(items[3].error, ExecutionOutcomeUnknownError)


async def test_a_run_whose_end_is_known_is_not_unknown_for_want_of_its_output(
    clock: FakeClock,
) -> None:
    """Its handle says that it is done, since another has waited for it without the output."""
    starts = Starts()
    starts.acknowledge(0, 1)
    for number, status in enumerate((ExecutionStatus.COMPLETED, ExecutionStatus.ERRORED)):
        starts.seen[number] = ExecutionResult(
            execution_id=f"run_{number}", status=status, output=UNREAD
        )
    fan = starts.fan(asked(0, 1), drain=0.0, clock=clock)
    running = asyncio.ensure_future(all_of(fan))
    await settle()
    fan.stop("enough")
    await clock.advance(0.0)
    items = sorted(await running, key=lambda item: item.index)

    assert [item.outcome for item in items] == ["succeeded", "failed"]
    with pytest.raises(RefoldError, match="could not be read: there was no time left"):
        _ = items[0].output
    assert isinstance(items[1].error, ExecutionFailedError)


async def test_without_patience_nothing_is_waited_for(clock: FakeClock) -> None:
    """What had not left is unsent all the same, and not unknown."""
    starts = Starts(held=True)
    starts.leave(0)
    starts.acknowledge(0)
    fan = starts.fan(asked(0, 1), drain=0.0, clock=clock)
    running = asyncio.ensure_future(all_of(fan))
    await settle()
    fan.stop("enough")
    await clock.advance(0.0)
    items = sorted(await running, key=lambda item: item.index)

    assert [item.outcome for item in items] == ["unknown", "unsent"]

"""`map` and `run_batch` over real HTTP."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    BatchItem,
    BatchOutcome,
    ClientClosedError,
    ConfigError,
    ExecutionOutcomeUnknownError,
    ExecutionRequest,
    PayloadError,
    RateLimit,
    RefoldClient,
    RefoldError,
    RetryPolicy,
)
from refold_async.emulator import Emulator, Fault, NodeFailed, Respond
from tests.support.clock import settle
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from refold_async import BatchProgress, BatchReport

    Connect = Callable[..., RefoldClient]


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """Workflows that do well, fail, are refused by their Response node, and never end."""
    async with Emulator() as emulator:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        emulator.workflow("wf_1", slug="s", duration=0.03)(dict)
        emulator.workflow("wf_checked", slug="s", schema=schema)(dict)
        emulator.workflow("wf_422", slug="s")(lambda _: Respond(status=422, data={"no": "way"}))
        emulator.workflow("wf_endless", slug="s", duration=None)(dict)

        @emulator.workflow("wf_fails", slug="s")
        def fail(_: dict[str, Any]) -> Any:
            raise NodeFailed(node="Work", message="the CRM said no")

        yield emulator


def numbered(many: int, workflow: str = "wf_1", **options: Any) -> Iterator[ExecutionRequest]:
    """Give so many requests."""
    for n in range(many):
        yield ExecutionRequest(workflow, slug="s", payload={"n": n}, **options)


def outcomes(report: BatchReport) -> list[str]:
    """The outcomes in input order."""
    return [str(item.outcome) for item in report.items()]


async def test_map_runs_every_request_once(service: Emulator, connect: Connect) -> None:
    """Each item has its own run's output."""
    refold = connect(service)
    async with aclosing(refold.map(numbered(150))) as items:
        outputs = {item.index: item.result.output["n"] async for item in items if item.result}
    assert outputs == {n: n for n in range(150)}
    assert len(service.runs) == 150


async def test_map_in_order(service: Emulator, connect: Connect) -> None:
    """`ordered=True` gives the items as they stood in the input."""
    async with aclosing(connect(service).map(numbered(40), ordered=True)) as items:
        assert [item.index async for item in items] == list(range(40))


async def test_the_budget_sets_the_pace_of_pulling(service: Emulator, connect: Connect) -> None:
    """An endless input is pulled as slots come: the rest of it is not asked for."""
    refold = connect(service, rate_limit=RateLimit(per_second=20, burst=3), max_connections=4)
    pulled = []

    def endless() -> Iterator[ExecutionRequest]:
        for request in numbered(10**9):
            pulled.append(request)
            yield request

    async with aclosing(refold.map(endless())) as items:
        await anext(items)
        assert len(pulled) <= len(service.runs) + 4 + 1


async def test_leaving_map_hands_runs_to_the_orphans(service: Emulator, connect: Connect) -> None:
    """Started, answered or not: every run of a batch that was left has a handle somewhere."""
    service.faults.script("execute", None, None, Fault(delay=0.2), Fault(delay=0.2))
    refold = connect(service, max_connections=4)
    requests = [*numbered(1), *numbered(3, "wf_endless"), *numbered(20)]
    async with aclosing(refold.map(requests, concurrency=4)) as items:
        first = await anext(items)
    while refold._transport._starts._tasks:
        await asyncio.wait(refold._transport._starts._tasks)
    known = {first.execution_id, *(handle.execution_id for handle in refold.orphans)}
    assert known == {run.execution_id for run in service.runs}
    assert len(known) < 24


async def test_a_stop_awaits_the_answer_that_is_under_way(
    service: Emulator, connect: Connect
) -> None:
    """Nothing more leaves; a start whose answer is awaited ends as a run with its handle."""
    service.faults.script("execute", Fault(delay=0.2))
    refold = connect(service, max_connections=1)
    stop = asyncio.Event()
    running = asyncio.ensure_future(refold.run_batch([*numbered(30)], stop=stop))
    await until(lambda: bool(service.runs))
    stop.set()
    report = await running
    assert outcomes(report) == ["succeeded"] + ["unsent"] * 29
    assert (len(service.runs), report.stopped) == (1, "it was asked to stop")
    assert not len(refold.orphans)


@pytest.mark.parametrize("mode", ["safe", "never"])
async def test_a_stop_while_an_answer_is_lost_leaves_it_looked_up_or_unknown(
    service: Emulator, connect: Connect, mode: Any
) -> None:
    """The start had left: it is not called unsent."""
    service.faults.script("execute", Fault(drop="after", delay=0.2))
    retry = RetryPolicy(mode=mode, settle=0.01, wait=0, max_wait=0)
    refold = connect(service, max_connections=1, retry=retry)
    stop = asyncio.Event()
    running = asyncio.ensure_future(refold.run_batch([*numbered(3)], stop=stop))
    await until(lambda: bool(service.runs))
    stop.set()
    report = await running
    ended = {"safe": "succeeded", "never": "unknown"}[mode]
    assert outcomes(report) == [ended, "unsent", "unsent"]
    assert isinstance(report.items()[0].error, ExecutionOutcomeUnknownError | None)


@pytest.mark.parametrize("validate", [False, True])
async def test_a_stop_ends_a_batch_whose_input_is_idle(
    service: Emulator, connect: Connect, validate: bool
) -> None:
    """A queue that nothing comes from any more: the report says what was not read."""
    stop, closed = asyncio.Event(), asyncio.Event()

    async def queue() -> AsyncIterator[ExecutionRequest]:
        try:
            for request in numbered(2, "wf_checked"):
                yield request
            stop.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with asyncio.timeout(60):
        report = await connect(service).run_batch(queue(), stop=stop, validate=validate)
    assert (report.total, report.input_ended, closed.is_set()) == (2, False, True)
    assert "it was asked to stop; the input was not read to its end" in str(report)
    with pytest.raises(ExceptionGroup) as caught:
        report.raise_for_failures()
    assert "not read to its end" in str(caught.value.exceptions[-1])


async def test_a_batch_asked_to_stop_before_it_began_sends_nothing(
    service: Emulator, connect: Connect
) -> None:
    """The whole input is reported."""
    stop = asyncio.Event()
    stop.set()
    report = await connect(service).run_batch([*numbered(5)], stop=stop)
    assert (outcomes(report), len(service.runs)) == (["unsent"] * 5, 0)


async def test_failures_stop_the_batch(service: Emulator, connect: Connect) -> None:
    """After so many nothing more is sent, and what runs is waited for."""
    requests = [*numbered(1), *numbered(2, "wf_fails"), *numbered(500)]
    refold = connect(service, max_connections=2)
    report = await refold.run_batch(requests, stop_after_failures=2)
    assert (report.failed, report.total, report.stopped) == (2, 503, "2 items have failed")
    assert report.unsent == 503 - report.succeeded - 2
    assert len(service.runs) == report.succeeded + 2 < 503


async def test_the_report_says_what_became_of_what(service: Emulator, connect: Connect) -> None:
    """Counts, groups of failures with the failing node, and the errors with their keys."""
    requests = [
        *numbered(3),
        *numbered(2, "wf_fails"),
        ExecutionRequest("wf_422", slug="s", sync=True, key="invoice 7"),
        ExecutionRequest("wf_1", slug="nobody's"),
        ExecutionRequest("wf_1", slug="s", payload={"n": float("nan")}),
    ]
    refold = connect(service)
    report = await refold.run_batch(requests)
    counts = (report.succeeded, report.failed, report.rejected, report.unknown, report.unsent)
    assert counts == (3, 3, 2, 0, 0)
    assert report.requests["execute"] == 7
    first = report.failures[0]
    assert (first.error, first.node, first.count) == ("ExecutionFailedError", "Work", 2)
    assert [item.key for item in report.items("failed")] == ["3", "4", "invoice 7"]
    with pytest.raises(ExceptionGroup, match="5 of 8 items did not succeed") as raised:
        report.raise_for_failures()
    notes = [error.__notes__ for error in raised.value.exceptions]
    assert ["batch item invoice 7"] in notes
    text = str(report)
    assert "2 failed: ExecutionFailedError at node 'Work'" in text
    assert refold._transport.auth.current is not None
    assert service.api_key not in text + repr(report.items())


async def test_a_report_is_written_as_json_lines(
    service: Emulator, connect: Connect, tmp_path: Path
) -> None:
    """To a path or an open file: one object per item, without its payload."""
    requests = [*numbered(1), *numbered(1, "wf_fails"), "nonsense"]
    report = await connect(service).run_batch(iter(requests))  # type: ignore[arg-type]
    report.to_jsonl(tmp_path / "report.jsonl")
    opened = io.StringIO()
    report.to_jsonl(opened)
    text = (tmp_path / "report.jsonl").read_text(encoding="utf-8")
    assert text == opened.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["outcome"] for line in lines] == ["succeeded", "failed", "rejected"]
    assert (lines[0]["output"], lines[1]["error"]["node"]) == ({"n": 0}, "Work")
    assert "payload" not in lines[0]


async def test_what_the_input_raises_is_in_the_report(
    service: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """What was pulled before has run; the error is not lost."""

    def rows() -> Iterator[ExecutionRequest]:
        yield from numbered(2)
        raise LookupError("row 2 is broken")

    report = await connect(service).run_batch(rows())
    assert (outcomes(report), str(report.input_error)) == (["succeeded"] * 2, "row 2 is broken")
    assert "ERROR" in [record.levelname for record in caplog.records]
    with pytest.raises(ExceptionGroup) as raised:
        report.raise_for_failures()
    assert raised.value.exceptions == (report.input_error,)


@pytest.mark.parametrize("validate", [False, True])
async def test_what_the_input_waits_for_may_be_cancelled(
    service: Emulator, connect: Connect, validate: bool
) -> None:
    """As a task that feeds it: nobody has cancelled the batch, which says what has begun."""

    async def rows() -> AsyncIterator[ExecutionRequest]:
        for request in numbered(2):
            yield request
        feeding = asyncio.create_task(asyncio.sleep(60))
        feeding.cancel()
        await feeding

    report = await connect(service).run_batch(rows(), validate=validate)
    assert outcomes(report) == ["succeeded"] * 2
    assert str(report.input_error) == "what the input waited for was cancelled"
    assert not report.input_ended


async def test_progress_is_told_on_every_change(service: Emulator, connect: Connect) -> None:
    """Starts and ends, in order; the last one says all."""
    told: list[BatchProgress] = []
    requests = [*numbered(5), *numbered(2, "wf_fails")]
    await connect(service).run_batch(requests, progress=told.append)
    assert [p.done for p in told] == sorted(p.done for p in told)
    last = told[-1]
    assert (last.done, last.succeeded, last.failed, last.started) == (7, 5, 2, 7)
    assert (last.running, len(told), last.rate > 0) == (0, 14, True)


@pytest.mark.parametrize("error", [ZeroDivisionError(), asyncio.CancelledError()])
async def test_progress_that_raises_does_no_harm(
    service: Emulator, connect: Connect, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """It is logged once, and not called again."""

    def broken(_: BatchProgress) -> None:
        raise error

    report = await connect(service).run_batch(numbered(5), progress=broken)
    assert report.succeeded == 5
    assert len([r for r in caplog.records if "progress" in r.getMessage()]) == 1


async def test_an_item_that_takes_too_long_is_unknown_and_has_a_handle(
    service: Emulator, connect: Connect
) -> None:
    """Its `timeout` bounds start and wait; the run goes on."""
    requests = [*numbered(1, "wf_endless", timeout=0.1), *numbered(1, timeout=-1)]
    report = await connect(service).run_batch(requests)
    assert outcomes(report) == ["unknown", "rejected"]
    assert report.items()[0].execution_id == service.runs[0].execution_id


async def test_without_waiting_the_runs_are_not_looked_at(
    service: Emulator, connect: Connect
) -> None:
    """`wait=False`: one request per item."""
    report = await connect(service).run_batch(numbered(5, "wf_endless"), wait=False)
    assert (outcomes(report), dict(service.counts)) == (["succeeded"] * 5, {"execute": 5})


async def test_items_of_a_closed_client_are_unsent_or_unknown(
    service: Emulator, connect: Connect
) -> None:
    """Closing ends the waits; afterwards a batch can't begin."""
    refold = connect(service, max_connections=1)
    requests = [*numbered(3, "wf_endless")]
    running = asyncio.ensure_future(refold.run_batch(requests, concurrency=2))
    await until(lambda: len(service.runs) == 2)
    await asyncio.sleep(0.05)
    await refold.aclose()
    report = await running
    assert outcomes(report) == ["unknown", "unknown", "unsent"]
    with pytest.raises(ClientClosedError):
        await refold.run_batch(numbered(1))
    with pytest.raises(ClientClosedError):
        await anext(refold.map(numbered(1)))


async def _idle(pulled: list[int]) -> AsyncIterator[ExecutionRequest]:
    pulled.append(0)
    yield ExecutionRequest("wf_1", slug="s", key="a")
    await asyncio.Event().wait()


def _endless(pulled: list[int]) -> Iterator[ExecutionRequest]:
    for n in itertools.count():
        pulled.append(n)
        yield ExecutionRequest("wf_1", slug="s")


@pytest.mark.parametrize(("feed", "validate"), [(_idle, False), (_endless, False), (_idle, True)])
async def test_closing_the_client_ends_a_batch_whose_input_does_not(
    service: Emulator, connect: Connect, feed: Any, validate: bool
) -> None:
    """Nothing more is pulled, and the report says that there was more."""
    refold, pulled = connect(service), list[int]()
    running = asyncio.ensure_future(refold.run_batch(feed(pulled), validate=validate))
    await until(lambda: bool(pulled) and (validate or bool(service.runs)))
    await refold.aclose()
    many = len(pulled)
    async with asyncio.timeout(10):
        report = await running
    assert len(pulled) <= many + 1
    assert (report.stopped, report.input_ended) == ("the client was closed", False)
    assert report.total == many


@pytest.mark.parametrize("feed", [_idle, _endless])
async def test_closing_the_client_ends_map_with_an_error_where_its_input_has_not_ended(
    service: Emulator, connect: Connect, feed: Any
) -> None:
    """It comes after what was pulled: an end without one would look like the input's."""
    refold, pulled, items = connect(service), list[int](), list[BatchItem]()
    closing = None
    with pytest.raises(ClientClosedError):  # noqa: PT012
        async with asyncio.timeout(10):
            async for item in refold.map(feed(pulled)):
                items.append(item)
                closing = closing or asyncio.ensure_future(refold.aclose())
    assert closing is not None
    await closing
    assert len(items) == len(pulled)


async def test_closing_the_client_while_map_has_a_list_yields_each_item_of_it(
    service: Emulator, connect: Connect
) -> None:
    """Those that had not left are unsent, for that reason; nothing else is missing."""
    refold = connect(service, max_connections=1)
    items = []
    async for item in refold.map([*numbered(5)], ordered=True, concurrency=1):
        items.append(item)
        await refold.aclose()
    assert [item.outcome for item in items] == ["succeeded"] + ["unsent"] * 4
    assert all(isinstance(item.error, ClientClosedError) for item in items[1:])


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"stop_after_failures": 0}, "stop_after_failures"),
        ({"progress": 3}, "progress"),
        ({"journal": 3}, "journal"),
        ({"stop": True}, "stop"),
    ],
)
async def test_wrong_arguments_are_named(
    service: Emulator, connect: Connect, options: Any, field: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=f"{field}: "):
        await connect(service).run_batch(numbered(1), **options)
    assert not service.runs


# -- payloads checked first ------------------------------------------------------------------


def checked(*values: Any) -> list[ExecutionRequest]:
    """Give requests for the workflow with a schema."""
    return [ExecutionRequest("wf_checked", slug="s", payload={"n": value}) for value in values]


async def test_one_payload_that_does_not_fit_keeps_the_batch_from_being_sent(
    service: Emulator, connect: Connect
) -> None:
    """The error names the item and the JSON path; the schema is read once."""
    requests = checked(1, "two", 3)
    report = await connect(service).run_batch(requests, validate=True)
    assert outcomes(report) == ["unsent", "rejected", "unsent"]
    error = report.items()[1].error
    assert isinstance(error, PayloadError)
    assert (error.path, 'item 1: a `str` does not fit {"type": "integer"}' in str(error)) == (
        "$.n",
        True,
    )
    assert (len(service.runs), dict(service.counts)) == (0, {"request_structure": 1})


async def test_payloads_that_fit_are_sent(service: Emulator, connect: Connect) -> None:
    """Also where the workflow has no schema."""
    requests = [*checked(1, 2), *numbered(1)]
    report = await connect(service).run_batch(requests, validate=True)
    assert outcomes(report) == ["succeeded"] * 3
    assert service.counts["request_structure"] == 2


async def test_what_is_wrong_without_a_schema_is_found_first_too(
    service: Emulator, connect: Connect
) -> None:
    """What can't be sent at all, and a workflow that is not there."""
    requests = [
        *checked(1, float("nan")),
        ExecutionRequest("wf_nowhere", slug="s"),
        ExecutionRequest("wf_1", slug=""),
    ]
    report = await connect(service).run_batch(requests, validate=True)
    assert outcomes(report) == ["unsent", "rejected", "rejected", "rejected"]
    assert not service.runs


async def test_a_schema_that_can_not_be_read_sends_nothing(
    service: Emulator, connect: Connect
) -> None:
    """Its items are unsent, not rejected: nothing is wrong with them."""
    service.faults.always("request_structure", Fault(status=503))
    report = await connect(service).run_batch(checked(1), validate=True)
    assert (outcomes(report), len(service.runs)) == (["unsent"], 0)


async def test_map_checks_each_item_as_it_is_pulled(service: Emulator, connect: Connect) -> None:
    """The others are sent."""
    async with aclosing(connect(service).map(checked(1, "two", 3), validate=True)) as items:
        ended = {item.index: str(item.outcome) async for item in items}
    assert ended == {0: "succeeded", 1: "rejected", 2: "succeeded"}
    assert service.counts["request_structure"] == 1


async def test_map_asks_again_for_a_schema_it_did_not_get(
    service: Emulator, connect: Connect
) -> None:
    """One failed read does not decide about the rest of an endless input."""
    service.faults.script("request_structure", *[Fault(status=500)] * 4)
    fan = connect(service).map(checked(1, 2), validate=True, concurrency=1)
    async with aclosing(fan) as items:
        assert [str(i.outcome) async for i in items] == ["unsent", "succeeded"]


async def test_a_missing_extra_for_checks_says_what_to_install(
    service: Emulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the call, before anything is sent."""
    monkeypatch.setitem(__import__("sys").modules, "jsonschema", None)
    with pytest.raises(ConfigError, match=r"pip install 'refold-async\[validate\]'"):
        connect(service).map(checked(1), validate=True)


async def test_the_outcomes_are_words() -> None:
    """They compare with text, as in a query or a file."""
    assert [str(o) for o in BatchOutcome] == [
        "succeeded",
        "failed",
        "unknown",
        "rejected",
        "unsent",
    ]


@pytest.mark.parametrize("fan_out", ["map", "run_batch"])
async def test_outputs_that_nobody_needs_are_not_read(
    service: Emulator, connect: Connect, fan_out: str
) -> None:
    """The status of a list is enough: no request reads a single run."""
    refold = connect(service)
    requests = [*numbered(40), *numbered(1, "wf_fails")]
    if fan_out == "map":
        items = [item async for item in refold.map(requests, output=False, ordered=True)]
    else:
        items = (await refold.run_batch(requests, output=False)).items()
    assert [str(item.outcome) for item in items] == ["succeeded"] * 40 + ["failed"]
    assert items[0].result is not None
    assert items[0].document()["output"] is None
    with pytest.raises(RefoldError, match="was not read"):
        _ = items[0].result.output
    assert service.counts["get_response"] + service.counts["get_execution"] <= 4


@pytest.mark.parametrize("how", ["closed", "stopped"])
@pytest.mark.parametrize("turns", range(1, 4))
async def test_a_batch_that_is_ended_as_it_begins_reports(
    connect: Callable[..., RefoldClient], how: str, turns: int
) -> None:
    """Its input, which comes bit by bit, has not been asked for anything yet."""

    async def requests() -> AsyncIterator[ExecutionRequest]:
        for number in range(3):
            yield ExecutionRequest("wf_1", slug="s", payload={"n": number})

    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s")(dict)
        refold, stop = connect(emulator), asyncio.Event()
        batch = asyncio.create_task(refold.run_batch(requests(), stop=stop))
        await settle(turns)
        if how == "closed":
            await refold.aclose()
        else:
            stop.set()
        async with asyncio.timeout(10):
            report = await batch
        assert report.succeeded + report.unsent + report.unknown == report.total <= 3

"""Batches with a journal that is opened again: what is done is not done twice."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    BadRequestError,
    ConfigError,
    ExecutionFailedError,
    ExecutionOutcomeUnknownError,
    ExecutionRequest,
    JournalError,
    RefoldClient,
    RetryPolicy,
    Timeouts,
    WaitTimeoutError,
)
from refold_async._batch.journal import Journal
from refold_async.emulator import Emulator, Fault, NodeFailed, Respond
from tests.http.batch.test_batch import numbered, outcomes
from tests.support.clock import HastyClock
from tests.support.endings import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from refold_async._batch.journal_rows import Row

    Connect = Callable[..., RefoldClient]


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """Workflows that do well, fail, and never end."""
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s", duration=0.02)(dict)
        emulator.workflow("wf_422", slug="s")(lambda _: Respond(status=422, data={"no": "way"}))
        emulator.workflow("wf_endless", slug="s", duration=None)(dict)

        @emulator.workflow("wf_fails", slug="s")
        def fail(_: dict[str, Any]) -> Any:
            raise NodeFailed(node="Work", message="the CRM said no")

        yield emulator


async def test_a_batch_that_is_done_makes_no_request(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Successes and failures come back as they were, errors and outputs included."""
    requests = [
        *numbered(3),
        *numbered(1, "wf_fails"),
        ExecutionRequest("wf_422", slug="s", sync=True),
    ]
    first = await connect(service).run_batch(requests, journal=journal)
    before = service.counts.total()
    again = await connect(service).run_batch(requests, journal=journal)
    assert (service.counts.total(), again.resumed, again.requests) == (before, 5, {})
    assert outcomes(again) == outcomes(first) == ["succeeded"] * 3 + ["failed"] * 2
    for one, other in zip(first.items(), again.items(), strict=True):
        assert one.result is not None
        assert other.result is not None
        assert one.result.output == other.result.output
        assert (one.execution_id, str(one.error)) == (other.execution_id, str(other.error))
        assert type(one.error) is type(other.error)
    failed = again.items()[3].error
    assert isinstance(failed, ExecutionFailedError)
    assert failed.failed_node is not None
    assert (failed.failed_node.name, again.failures[0].node) == ("Work", "Work")


async def test_rejected_and_unsent_items_are_tried_again(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """What never ran runs when the trouble is over, with the tag it had."""
    service.faults.script("execute", None, Fault(status=400), None)
    refold = connect(service, max_connections=1)
    stopped = await refold.run_batch([*numbered(4)], journal=journal, stop_after_failures=1)
    assert outcomes(stopped) == ["succeeded", "rejected", "unsent", "unsent"]
    report = await connect(service).run_batch([*numbered(4)], journal=journal)
    assert (outcomes(report), report.resumed) == (["succeeded"] * 4, 1)
    assert sorted(run.payload["n"] for run in service.runs) == [0, 1, 2, 3]


async def test_a_batch_that_was_cancelled_goes_on_where_it_was(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Runs that go on are waited for, those that ended meanwhile too; none is started twice."""
    refold = connect(service)
    requests = [*numbered(2), *numbered(2, "wf_endless")]
    running = asyncio.ensure_future(refold.run_batch(requests, journal=journal))
    await until(lambda: len(service.runs) == 4)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for run in service.runs:
        service.finish(run.execution_id)
    report = await connect(service).run_batch(requests, journal=journal)
    assert (outcomes(report), len(service.runs)) == (["succeeded"] * 4, 4)


async def test_a_batch_whose_time_is_over_goes_on_another_time(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Nothing more is sent, what runs is left after `drain`; the next run with it does the rest."""
    requests = [*numbered(2), *numbered(2, "wf_endless"), *numbered(6)]
    settings: dict[str, Any] = {"concurrency": 4, "timeout": 0.5, "drain": 0.3}
    report = await connect(service).run_batch(requests, journal=journal, **settings)
    ended = outcomes(report)
    assert report.stopped == "its time of 0.5 s is over"
    assert ended[2:4] == ["unknown", "unknown"]
    assert [type(item.error) for item in report.items()[2:4]] == [WaitTimeoutError] * 2
    started = len(service.runs)
    for run in service.runs:
        service.finish(run.execution_id)
    again = await connect(service).run_batch(requests, journal=journal)
    assert (outcomes(again), len(service.runs)) == (["succeeded"] * 10, 10)
    assert again.resumed == started


async def test_a_start_under_way_when_the_time_is_over_is_not_doubled(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Its answer comes in the second after, or is found by its tag."""
    service.faults.script("execute", None, Fault(delay=0.8))
    refold = connect(service, retry=RetryPolicy(mode="safe", settle=0.02, wait=0, max_wait=0))
    requests = [*numbered(2)]
    report = await refold.run_batch(requests, journal=journal, timeout=0.3, drain=0)
    assert outcomes(report) == ["succeeded", "unknown"]
    assert isinstance(report.items()[1].error, ExecutionOutcomeUnknownError)
    again = await connect(service).run_batch(requests, journal=journal)
    assert (outcomes(again), len(service.runs)) == (["succeeded"] * 2, 2)


@pytest.mark.parametrize(
    ("delay", "known"),
    [pytest.param(0.1, True, id="in time"), pytest.param(2.5, False, id="too late")],
)
async def test_the_same_client_goes_on_with_what_it_left(
    service: Emulator, connect: Connect, journal: str, delay: float, known: bool
) -> None:
    """Answers that were under way: written down if they come soon, else found by their tags."""
    service.faults.script("execute", None, *[Fault(delay=delay)] * 40)
    settings: dict[str, Any] = {"clock": HastyClock(factor=0.2)} if known else {}
    retry = RetryPolicy(mode="safe", settle=0.02, wait=0, max_wait=0)
    refold = connect(service, retry=retry, **settings)
    running = asyncio.ensure_future(refold.run_batch(numbered(30), journal=journal))
    await until(lambda: len(service.runs) > 20)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (_count(journal, "intended") == 0) is known
    await until(lambda: refold.stats.abandoned == 0)  # the client owns the runs by now
    report = await refold.run_batch(numbered(30), journal=journal)
    assert (outcomes(report), len(service.runs)) == (["succeeded"] * 30, 30)


async def test_what_had_not_left_when_a_batch_was_cancelled_is_not_uncertain(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """It waited for a slot: the journal says that it is unsent, and no list is read for it."""
    service.faults.script("execute", None, Fault(delay=1.5))
    refold = connect(service, max_connections=1)
    running = asyncio.ensure_future(refold.run_batch(numbered(4), journal=journal))
    await until(lambda: len(service.runs) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert _count(journal, "intended") == 1


async def test_an_unknown_outcome_is_cleared_up_by_the_next_run(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """`safe` does not send again within a run; after it, the list has had time to show the run."""
    retry = RetryPolicy(mode="safe", settle=0.02, wait=0, max_wait=0)
    service.faults.script("execute", None, Fault(drop="before"), None)
    first = await connect(service, retry=retry).run_batch(numbered(3), journal=journal)
    assert outcomes(first) == ["succeeded", "unknown", "succeeded"]
    again = await connect(service, retry=retry).run_batch(numbered(3), journal=journal)
    assert (outcomes(again), len(service.runs)) == (["succeeded"] * 3, 3)


async def test_runs_that_were_not_waited_for_can_be_waited_for_later(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """First `wait=False`, then the same journal with waiting."""
    started = await connect(service).run_batch(numbered(3), journal=journal, wait=False)
    again = await connect(service).run_batch(numbered(3), journal=journal, wait=False)
    assert (outcomes(started), outcomes(again), again.resumed) == (
        ["succeeded"] * 3,
        ["succeeded"] * 3,
        3,
    )
    waited = await connect(service).run_batch(numbered(3), journal=journal)
    results = [item.result.output["n"] for item in waited.items() if item.result]
    assert (results, len(service.runs)) == ([0, 1, 2], 3)


@pytest.mark.parametrize("journaled", [False, True])
async def test_what_a_sync_reply_tells_of_an_end_counts_without_waiting_too(
    service: Emulator, connect: Connect, journal: str, journaled: bool
) -> None:
    """`wait=False` reads no run; a status that the Response node set is told by the reply alone."""
    requests = [
        ExecutionRequest("wf_422", slug="s", sync=True),
        ExecutionRequest("wf_1", slug="s", payload={"n": 1}, sync=True),
        ExecutionRequest("wf_1", slug="s", payload={"n": 2}),
    ]
    path = journal if journaled else None
    first = await connect(service).run_batch(requests, journal=path, wait=False)
    failed, sync, begun = first.items()
    assert outcomes(first) == ["failed", "succeeded", "succeeded"]
    assert (type(failed.error), sync.output) == (BadRequestError, {"n": 1})
    assert begun.result is None
    assert service.counts["get_response"] + service.counts["get_execution"] == 0
    if journaled:
        again = await connect(service).run_batch(requests, journal=path)
        assert outcomes(again) == ["failed", "succeeded", "succeeded"]
        assert type(again.items()[0].error) is BadRequestError


async def test_outputs_that_were_not_read_can_be_read_later(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """First `output=False`, the same again, and then with outputs."""
    for _ in range(2):
        report = await connect(service).run_batch(numbered(3), journal=journal, output=False)
        assert outcomes(report) == ["succeeded"] * 3
        assert not any(i.result.output_is_read for i in report.items() if i.result)
    whole = await connect(service).run_batch(numbered(3), journal=journal)
    results = [item.result.output["n"] for item in whole.items() if item.result]
    assert (results, len(service.runs)) == ([0, 1, 2], 3)


async def test_a_key_that_appears_twice_is_rejected(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """The journal has one row per key: the first item has it."""
    report = await connect(service).run_batch(numbered(2, key="invoice 7"), journal=journal)
    assert sorted(outcomes(report)) == ["rejected", "succeeded"]
    (rejected,) = report.items("rejected")
    assert isinstance(rejected.error, ConfigError)
    assert "'invoice 7' appears twice" in str(rejected.error)
    assert len(service.runs) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"payload": {"n": 9}},
        {"slug": "other"},
        {"config_id": "c"},
        {"sync": True},
        {"instance_tag": "nightly"},
        {"linked_account_id": "acct_2"},
        {"workflow_id": "wf_fails"},
    ],
    ids=str,
)
async def test_another_request_under_a_known_key_is_rejected(
    service: Emulator, connect: Connect, journal: str, change: dict[str, Any]
) -> None:
    """Whatever of it differs; the row stays as it is."""
    asked: dict[str, Any] = {"workflow_id": "wf_1", "slug": "s", "payload": {"n": 0}, "key": "k"}
    await connect(service).run_batch([ExecutionRequest(**asked)], journal=journal)
    changed = await connect(service).run_batch(
        [ExecutionRequest(**(asked | change))], journal=journal
    )
    assert (outcomes(changed), len(service.runs)) == (["rejected"], 1)
    (item,) = changed.items()
    assert isinstance(item.error, JournalError)
    assert f"it ran as {service.runs[0].execution_id} and succeeded" in str(item.error)
    assert item.execution_id == service.runs[0].execution_id
    again = await connect(service).run_batch([ExecutionRequest(**asked)], journal=journal)
    assert (outcomes(again), again.resumed) == (["succeeded"], 1)


async def test_another_request_under_the_key_of_an_uncertain_item_says_so(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """There is no run to point at, but a tag to look for."""
    retry = RetryPolicy(mode="never")
    service.faults.script("execute", Fault(drop="after"))
    first = [ExecutionRequest("wf_1", slug="s", payload={"n": 0}, key="k")]
    assert outcomes(await connect(service, retry=retry).run_batch(first, journal=journal)) == [
        "unknown"
    ]
    changed = [ExecutionRequest("wf_1", slug="s", payload={"n": 9}, key="k")]
    report = await connect(service).run_batch(changed, journal=journal)
    (item,) = report.items("rejected")
    assert f"may have run: its tag is {service.runs[0].instance_tag!r}" in str(item.error)


async def test_a_key_counts_in_its_own_journal(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Another journal, and a batch without one, know nothing of it: each starts a run."""
    requests = [ExecutionRequest("wf_1", slug="s", payload={"n": 0}, key="invoice-4711")]
    for path in (journal, journal, f"{journal}.other", None):
        await connect(service).run_batch(requests, journal=path)

    service.assert_started("wf_1", times=3)


async def test_a_key_that_is_a_number_is_not_an_index(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """Items with and without keys of their own, and keys that look like ours, stay apart."""
    keys = ["2", None, None, "#1", "##1", "#"]
    requests = [
        ExecutionRequest("wf_1", slug="s", payload={"n": n}, key=key) for n, key in enumerate(keys)
    ]
    report = await connect(service).run_batch(requests, journal=journal)
    assert outcomes(report) == ["succeeded"] * len(keys)
    assert [item.key for item in report.items()] == ["2", "1", "2", "#1", "##1", "#"]
    again = await connect(service).run_batch(requests, journal=journal)
    assert (again.resumed, len(service.runs)) == (len(keys), len(keys))


@pytest.mark.parametrize("operation", ["execute", "list_executions"])
async def test_a_first_start_that_hangs_does_not_hold_the_batch(
    service: Emulator, connect: Connect, journal: str, operation: str
) -> None:
    """The others wait some seconds for what it shows, and then go on."""
    service.faults.script(operation, Fault(delay=60.0))
    clock = HastyClock(factor=20.0)
    refold = connect(service, clock=clock, timeouts=Timeouts(read=300.0))
    running = asyncio.ensure_future(refold.run_batch(numbered(4), journal=journal))
    await until(lambda: len(service.runs) == 4)
    running.cancel()
    await asyncio.wait([running])


async def test_items_the_input_lacks_are_mentioned(
    service: Emulator, connect: Connect, journal: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A shorter input is not taken for the end of the rest."""
    await connect(service).run_batch(numbered(3), journal=journal)
    await connect(service).run_batch(numbered(1), journal=journal)
    assert "has 2 items that this input did not have" in caplog.text


@pytest.mark.parametrize("state", ["intended", "started", "settled"])
async def test_a_journal_that_fails_sends_nothing_more_and_awaits_what_runs(
    service: Emulator,
    connect: Connect,
    journal: str,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    """Whichever write the disk refuses: outcomes are told, and a later run goes on from there."""
    write = Journal.write

    async def refusing(one: Journal, row: Row) -> None:
        if row.key == "#1" and row.state == state:
            one.broken = JournalError(one.path, "the disk is full", "make room")
        await write(one, row)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "write", refusing)
        refold = connect(service, max_connections=1)
        report = await refold.run_batch([*numbered(5)], journal=journal, concurrency=1)
    ran = "unsent" if state == "intended" else "succeeded"
    assert outcomes(report) == ["succeeded", ran, "unsent", "unsent", "unsent"]
    assert isinstance(report.journal_error, JournalError)
    with pytest.raises(ExceptionGroup):
        report.raise_for_failures()
    again = await connect(service).run_batch([*numbered(5)], journal=journal)
    assert (outcomes(again), len(service.runs)) == (["succeeded"] * 5, 5)


async def test_no_secret_and_no_payload_is_in_the_journal(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """It holds tags, ids, outputs and errors."""
    service.workflow("wf_quiet", slug="s")(lambda _: {"id": 1})
    request = ExecutionRequest("wf_quiet", slug="s", payload={"iban": "DE89370400440532013000"})
    await connect(service).run_batch([request], journal=journal)
    content = b"".join(p.read_bytes() for p in Path(journal).parent.glob("batch.sqlite*"))
    assert b"wf_quiet" in content
    assert service.api_key.encode() not in content
    assert b"DE89370400440532013000" not in content


async def test_validation_leaves_alone_what_has_run(
    service: Emulator, connect: Connect, journal: str
) -> None:
    """A schema that has changed since does not make a success a rejection."""
    await connect(service).run_batch(numbered(1), journal=journal)
    service.workflow("wf_1", slug="s", schema={"required": ["email"]})(dict)
    report = await connect(service).run_batch(numbered(2), journal=journal, validate=True)
    assert outcomes(report) == ["succeeded", "rejected"]


def _count(journal: str, state: str) -> int:
    connection = sqlite3.connect(journal)
    try:
        found = connection.execute("SELECT key FROM items WHERE state = ?", (state,)).fetchall()
    finally:
        connection.close()
    return len(found)

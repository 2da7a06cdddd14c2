"""Many runs waited for at once: a list request answers for them, and what it can't tell is read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ExecutionFailedError, PollPolicy
from refold_async.emulator import Behaviour, Emulator, Fault, NodeFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

SOON = PollPolicy(first=0.05, max_interval=0.3, not_found_grace=0.2)


def playing(duration: float = 0.2, **behaviour: Any) -> Emulator:
    """Give an emulator whose workflow takes a moment."""
    emulator = Emulator(behaviour=Behaviour(**behaviour))

    @emulator.workflow("wf_1", slug="s", duration=duration)
    def work(payload: dict[str, Any]) -> Any:
        if payload.get("fails"):
            raise NodeFailed(node="Work", message="no")
        return payload

    return emulator


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param({}, id="as documented"),
        pytest.param({"max_page_size": 10}, id="smaller pages than asked for"),
        pytest.param({"ignores_filters": True}, id="filters ignored"),
        pytest.param({"list_lag": 30.0}, id="runs appear late"),
        pytest.param({"list_lag": 0.1}, id="runs appear a little late"),
        pytest.param({"object_ids": False}, id="other ids"),
        pytest.param({"clock_skew": 3600.0}, id="clock ahead"),
        pytest.param({"clock_skew": -3600.0}, id="clock behind"),
        pytest.param({"response_path": "missing"}, id="no response path"),
        pytest.param({"status_case": "lower"}, id="lower case"),
        pytest.param({"queued_for": 0.1}, id="queued first"),
    ],
)
async def test_every_wait_ends_whatever_the_list_is_like(
    connect: Callable[..., RefoldClient], behaviour: dict[str, Any]
) -> None:
    """No run is lost from sight, and each waiter gets its own output."""
    async with playing(**behaviour) as emulator:
        refold = connect(emulator, polling=SOON)
        handles = await asyncio.gather(
            *(refold.execute("wf_1", slug="s", payload={"n": n}) for n in range(60))
        )
        async with asyncio.timeout(60):
            results = await asyncio.gather(*handles)
    assert [{"n": n} for n in range(60)] == [result.output for result in results]


async def test_a_list_answers_for_many(connect: Callable[..., RefoldClient]) -> None:
    """Three hundred runs are settled with a few lists and one read of each output."""
    async with playing() as emulator:
        refold = connect(emulator, polling=SOON)
        handles = await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(300)))
        await asyncio.gather(*handles)
    assert emulator.counts["list_executions"] < 60
    assert 300 <= emulator.counts["get_response"] + emulator.counts["get_execution"] < 310
    assert refold.stats.reads_per_settled is not None
    assert refold.stats.reads_per_settled < 0.25


async def test_two_runs_are_read_singly(connect: Callable[..., RefoldClient]) -> None:
    """A list would bring no output along."""
    async with playing() as emulator:
        refold = connect(emulator, polling=SOON)
        await asyncio.gather(*(refold.run("wf_1", slug="s") for _ in range(2)))
    assert emulator.counts["list_executions"] == 0


async def test_sweep_false_reads_every_run_singly(connect: Callable[..., RefoldClient]) -> None:
    """As the policy says."""
    async with playing() as emulator:
        refold = connect(emulator, polling=PollPolicy(first=0.05, max_interval=0.3, sweep=False))
        await asyncio.gather(*(refold.run("wf_1", slug="s") for _ in range(10)))
    assert emulator.counts["list_executions"] == 0


async def test_a_failed_run_of_many_names_its_node(connect: Callable[..., RefoldClient]) -> None:
    """The list says that it failed; the document is read for the rest."""
    async with playing() as emulator:
        refold = connect(emulator, polling=SOON)
        runs = (refold.run("wf_1", slug="s", payload={"fails": n == 3}) for n in range(10))
        ended = await asyncio.gather(*runs, return_exceptions=True)
    (error,) = (each for each in ended if isinstance(each, Exception))
    assert isinstance(error, ExecutionFailedError)
    assert error.failed_node is not None
    assert error.failed_node.name == "Work"
    assert emulator.counts["get_execution"] >= 1


@pytest.mark.parametrize(
    "fault",
    [Fault(status=502, html=True), Fault(status=403), Fault(body="<<<"), Fault(drop="after")],
)
async def test_lists_that_can_not_be_read_cost_no_wait(
    connect: Callable[..., RefoldClient], fault: Fault
) -> None:
    """Then the runs are read singly."""
    async with playing() as emulator:
        emulator.faults.always("list_executions", fault)
        refold = connect(emulator, polling=SOON)
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(refold.run("wf_1", slug="s") for _ in range(20)))
    assert all(result.ok for result in results)


async def test_accounts_are_looked_at_apart(connect: Callable[..., RefoldClient]) -> None:
    """A list shows the runs of one account; nobody is given another's."""
    async with playing() as emulator:
        refold = connect(emulator, polling=SOON)
        views = [refold.for_account(f"acct_{n % 4}") for n in range(80)]
        results = await asyncio.gather(
            *(view.run("wf_1", slug="s", payload={"n": n}) for n, view in enumerate(views))
        )
    assert [{"n": n} for n in range(80)] == [result.output for result in results]
    listed = {
        r.headers["linked_account_id"]
        for r in emulator.requests
        if r.operation == "list_executions"
    }
    assert listed == {f"acct_{n}" for n in range(4)}


async def test_others_that_crowd_the_list_are_noticed(
    connect: Callable[..., RefoldClient],
) -> None:
    """Where a page shows hardly any of our runs, they are read singly."""
    async with playing(duration=0.6) as emulator:
        other, refold = connect(emulator), connect(emulator, polling=SOON)
        handles = []
        for _ in range(6):
            handles.append(await refold.execute("wf_1", slug="s"))
            await asyncio.gather(*(other.execute("wf_1", slug="s") for _ in range(150)))
        async with asyncio.timeout(60):
            await asyncio.gather(*handles)
    assert emulator.counts["list_executions"] < 10


async def test_a_reader_of_snapshots_sees_nodes_among_many(
    connect: Callable[..., RefoldClient],
) -> None:
    """Whoever wants to see the nodes has the document read, also of a run that lists show ended."""
    async with playing() as emulator:
        refold = connect(emulator, polling=SOON)
        handles = await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(8)))
        waits = asyncio.gather(*handles)
        seen = [snapshot async for snapshot in handles[0].snapshots()]
        await waits
        late = [snapshot async for snapshot in handles[1].snapshots()]
    assert seen[-1].status == late[-1].status == "COMPLETED"
    assert seen[-1].nodes
    assert late[-1].nodes


async def test_durations_are_learned(connect: Callable[..., RefoldClient]) -> None:
    """After a few runs the client knows how long they take, and says so."""
    async with playing() as emulator:
        refold = connect(emulator, polling=SOON)
        first = await refold.execute("wf_1", slug="s")
        assert first.eta() is None
        await asyncio.gather(first, *(refold.run("wf_1", slug="s") for _ in range(9)))
        handle = await refold.execute("wf_1", slug="s")
        expected = handle.eta()
        assert first.eta() == 0.0
        await handle
    assert expected is not None
    assert 0.05 < expected < 1.0
    delay = refold.stats.detection_delay
    assert delay is not None
    assert 0 <= delay < 1.0


async def test_without_outputs_no_run_is_read(connect: Callable[..., RefoldClient]) -> None:
    """Lists tell how each ended; whoever wants an output later has it read then."""
    async with playing() as emulator:
        refold = connect(emulator, polling=SOON)
        handles = await asyncio.gather(*(refold.execute("wf_1", slug="s") for _ in range(60)))
        results = await asyncio.gather(*(handle.wait(output=False) for handle in handles))
        assert all(result.ok and not result.output_is_read for result in results)
        assert emulator.counts["get_response"] + emulator.counts["get_execution"] <= 6
        assert (await handles[0]).output == {}


async def test_runs_that_a_list_does_not_show_yet_are_not_asked_for_without_a_pause(
    connect: Callable[..., RefoldClient],
) -> None:
    """Handles made by their ids, of runs so fresh that the list is behind."""
    polling = PollPolicy(first=0.2, not_found_grace=1.0)
    async with playing(duration=0.8, list_lag=30.0) as emulator:
        starts = connect(emulator)
        started = [await starts.execute("wf_1", slug="s") for _ in range(4)]
        refold = connect(emulator, polling=polling, rate_limit=None)
        handles = [refold.handle(str(handle.execution_id)) for handle in started]
        async with asyncio.timeout(20):
            await asyncio.gather(*handles)
        assert emulator.counts["list_executions"] <= 12


@pytest.mark.parametrize("output", [True, False])
async def test_entries_without_a_status_show_nothing(
    connect: Callable[..., RefoldClient], *, output: bool
) -> None:
    """Runs that are listed so are read by themselves."""
    async with playing(duration=0.6) as emulator:
        refold = connect(emulator, polling=SOON, rate_limit=None)
        handles = [await refold.execute("wf_1", slug="s") for _ in range(6)]
        entries = [
            {
                "_id": run.execution_id,
                "createdAt": datetime.fromtimestamp(run.created_at, UTC).isoformat(),
            }
            for run in emulator.runs
        ]
        body = {"docs": entries, "hasNextPage": False, "page": 1}
        emulator.faults.always("list_executions", Fault(body=body))
        async with asyncio.timeout(20):
            await asyncio.gather(*(handle.wait(output=output) for handle in handles))

"""Lists that fail, and waits that are left, with many runs: none is lost, and nothing leaks."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ClientClosedError,
    PollPolicy,
    RequestTimeoutError,
    Timeouts,
    UnexpectedReplyError,
    WaitTimeoutError,
)
from refold_async.emulator import Emulator, Fault
from tests.support.endings import in_time_of, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from refold_async import ExecutionHandle, RefoldClient
    from tests.support.clock import FakeClock

pytestmark = pytest.mark.long

SOON = PollPolicy(first=0.05, max_interval=0.3, not_found_grace=0.2)
RUNS = 80

STRANGER = {"_id": "f" * 24, "status": "COMPLETED", "createdAt": "1999-01-01T00:00:00Z"}
GARBAGE: dict[str, Any] = {
    "no documents": {"docs": None},
    "an array": [],
    "nothing in it, and no end": {"docs": [], "hasNextPage": True},
    "documents that are none": {"docs": [None, 5, "run", []], "hasNextPage": True},
    "documents that say nothing": {"docs": [{}] * 50, "hasNextPage": True},
    "times that are none": {"docs": [{**STRANGER, "createdAt": "soon"}] * 5},
    "times before all": {"docs": [STRANGER] * 5},
    "times beyond all": {"docs": [{**STRANGER, "createdAt": "9999-12-31T23:59:59.999Z"}] * 5},
    "only strangers": {
        "docs": [{**STRANGER, "createdAt": "2100-01-01T00:00:00Z"}] * 100,
        "hasNextPage": True,
    },
}


@pytest.fixture
async def service() -> AsyncIterator[Emulator]:
    """An emulator whose runs take a moment, or as long as the payload says."""
    async with Emulator() as running:
        add_work(running)
        yield running


def add_work(emulator: Emulator) -> None:
    """Give an emulator the workflow of these tests."""

    @emulator.workflow("wf_1", slug="s", duration=lambda payload: payload.get("seconds", 0.3))
    def work(payload: dict[str, Any]) -> Any:
        return payload["n"]


async def start(refold: RefoldClient, count: int = RUNS, **payload: Any) -> list[Any]:
    """Start runs that return their number."""
    payloads = ({"n": n, **payload} for n in range(count))
    starts = (refold.execute("wf_1", slug="s", payload=p) for p in payloads)
    return list(await asyncio.gather(*starts))


async def outputs(handles: list[ExecutionHandle[Any]]) -> list[Any]:
    """Wait for all, for as long as a test may take."""
    async with asyncio.timeout(60):
        return [result.output for result in await asyncio.gather(*handles)]


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        pytest.param(Fault(status=500), 9, id="500"),
        pytest.param(Fault(status=429), 9, id="429"),
        pytest.param(Fault(status=429, headers={"Retry-After": "0.2"}), 9, id="429, Retry-After"),
        pytest.param(Fault(status=401), 3, id="401"),
        pytest.param(Fault(status=404), 9, id="404"),
        pytest.param(Fault(truncate=True), 9, id="cut"),
        pytest.param(Fault(drop="before"), 9, id="reset"),
        *(pytest.param(Fault(body=body), 9, id=name) for name, body in GARBAGE.items()),
    ],
)
async def test_no_run_is_lost_if_only_lists_fail(
    connect: Callable[..., RefoldClient], clock: FakeClock, fault: Fault, most: int
) -> None:
    """Every wait ends with its own output, and lists are given up after a few."""
    async with Emulator(now=clock.time) as service:
        add_work(service)
        service.faults.always("list_executions", fault)
        refold = connect(service, polling=SOON, clock=clock)
        ends = asyncio.create_task(outputs(await start(refold)))
        assert await in_time_of(clock, refold, ends) == list(range(RUNS))
        assert 1 <= service.counts["list_executions"] <= most
        assert refold.stats.settled == RUNS


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_run_is_lost_if_lists_fail_in_turns(
    service: Emulator, connect: Callable[..., RefoldClient], seed: int
) -> None:
    """Half of the lists fail, each in another way, over three waves of runs."""
    draw = random.Random(seed)
    faults = [Fault(status=500), Fault(status=429), Fault(drop="after"), Fault(truncate=True)]
    faults += [Fault(body=body) for body in GARBAGE.values()]
    script = [draw.choice([None, draw.choice(faults)]) for _ in range(200)]
    service.faults.script("list_executions", *script)
    refold = connect(service, polling=SOON)
    handles: list[Any] = []
    for _ in range(3):
        handles += await start(refold, 40)
        await asyncio.sleep(0.1)
    assert await outputs(handles) == list(range(40)) * 3


async def test_lists_that_recover_are_used_again(
    service: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """After two failures in a row, in which each run is read by itself once at most."""
    service.faults.script("list_executions", Fault(status=500), Fault(drop="after"))
    refold = connect(service, polling=SOON)
    assert await outputs(await start(refold)) == list(range(RUNS))
    assert service.counts["list_executions"] > 2
    assert refold.stats.reads_per_settled is not None
    assert refold.stats.reads_per_settled < 1.1


async def test_an_account_whose_list_is_refused_disturbs_no_other(
    service: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """The other account's runs are listed as ever."""
    refold = connect(service, polling=SOON)
    one = await start(refold.for_account("acct_1"), 40)
    two = await start(refold.for_account("acct_2"), 40)
    service.faults.script("list_executions", Fault(status=401))
    assert await outputs([*one, *two]) == [*range(40)] * 2
    accounts = refold._services.tracker._accounts
    assert [name for name, account in accounts.items() if account.lists.good_from > 0] == ["acct_1"]
    listed = [r for r in service.requests if r.operation == "list_executions"]
    assert listed[0].headers["linked_account_id"] == "acct_1"
    assert {r.headers["linked_account_id"] for r in listed[1:]} == {"acct_2"}


def tracked(refold: RefoldClient) -> tuple[int, int]:
    """Tell how many pages of runs are to be looked at, and how many looks are under way."""
    tracker = refold._services.tracker
    accounts = tracker._accounts.values()
    pages = sum(len(account.pages) + account.singles for account in accounts)
    return pages, len(tracker._schedule._tasks)


async def under_way(service: Emulator) -> None:
    """Wait until a list has arrived whose answer takes its time."""
    await until(lambda: service.counts["list_executions"] > 0)


@pytest.mark.parametrize("delay", [0.0, 0.2])
async def test_waits_cancelled_in_the_middle_leave_nothing_behind(
    service: Emulator, connect: Callable[..., RefoldClient], delay: float
) -> None:
    """While a list is under way or after it: no more requests; waiting again works as ever."""
    service.faults.always("list_executions", Fault(delay=delay))
    refold = connect(service, polling=SOON)
    handles = await start(refold, seconds=1.0)
    waits = [asyncio.ensure_future(handle.wait()) for handle in handles]
    await under_way(service)
    for wait in waits:
        wait.cancel()
    ended = await asyncio.gather(*waits, return_exceptions=True)
    assert {type(each) for each in ended} == {asyncio.CancelledError}
    await until(lambda: tracked(refold) == (0, 0))
    made = sum(service.counts.values())
    await asyncio.sleep(3 * SOON.max_interval)
    assert sum(service.counts.values()) == made
    assert await outputs(handles) == list(range(RUNS))


async def test_waits_that_time_out_leave_nothing_behind(
    service: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Each error names its own run; half go on waiting and are served."""
    refold = connect(service, polling=SOON)
    handles = await start(refold, seconds=2.0)
    patient = asyncio.gather(*handles[::2])
    hasty = await asyncio.gather(
        *(handle.wait(timeout=0.4) for handle in handles[1::2]), return_exceptions=True
    )
    assert [e.execution_id for e in hasty if isinstance(e, WaitTimeoutError)] == [
        handle.execution_id for handle in handles[1::2]
    ]
    async with asyncio.timeout(60):
        results = await patient
    assert [result.output for result in results] == list(range(0, RUNS, 2))
    await until(lambda: tracked(refold) == (0, 0))
    assert refold.stats.settled == RUNS / 2


async def test_closing_in_the_middle_ends_all_waits(
    service: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """While a list is under way: each error names its run, and no task or request is left."""
    service.faults.always("list_executions", Fault(delay=0.5))
    refold = connect(service, polling=SOON)
    handles = await start(refold, seconds=60.0)
    waits = [asyncio.ensure_future(handle.wait()) for handle in handles]
    await under_way(service)
    await refold.aclose()
    errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [e.execution_id for e in errors if isinstance(e, ClientClosedError)] == [
        handle.execution_id for handle in handles
    ]
    assert tracked(refold) == (0, 0)


async def test_an_id_that_is_never_answered_for_ends_the_wait(
    service: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Some deployments hang on an unknown id: each look is bounded, and counts as a failed one."""
    service.faults.always("get_execution", Fault(delay=30))
    polling = PollPolicy(first=0.05, failure_budget=0.3)
    refold = connect(service, polling=polling, timeouts=Timeouts(read=0.1))
    async with asyncio.timeout(20):
        with pytest.raises(RequestTimeoutError) as info:
            await refold.handle("6a314c54d4616e99e7fa5a02")
    assert info.value.execution_id == "6a314c54d4616e99e7fa5a02"
    assert service.counts["get_execution"] > 1


@pytest.mark.parametrize("operation", ["get_execution", "get_response"])
async def test_another_runs_answer_is_not_believed(
    service: Emulator, connect: Callable[..., RefoldClient], operation: str
) -> None:
    """A cache that mixes runs up is looked at again, and whoever asks once is told."""
    refold = connect(service, polling=PollPolicy(first=0.05, sweep=False))
    other = {"_id": "f" * 24, "execution_id": "f" * 24, "status": "COMPLETED", "response": "theirs"}
    service.faults.script(operation, *[Fault(body=other)] * 2)
    (handle,) = await start(refold, 1)
    assert await outputs([handle]) == [0]
    service.faults.always("get_execution", Fault(body=other))
    with pytest.raises(UnexpectedReplyError, match="another run"):
        await refold.executions.get(handle.execution_id)

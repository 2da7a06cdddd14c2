"""Callers that leave, deadlines on a busy loop, and the client's end: nothing hangs or is lost."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import textwrap
import time
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    BatchReport,
    ClientClosedError,
    ConfigError,
    ExecutionOutcomeUnknownError,
    ExecutionRequest,
    PollPolicy,
    RateLimit,
    RefoldError,
    RequestTimeoutError,
    RetryPolicy,
    SystemClock,
    Timeouts,
)
from refold_async.emulator import Emulator, Fault
from tests.support.clock import FakeClock, settle
from tests.support.endings import at_once, until
from tests.support.wire import ACCEPTED, RUN, STARTS, Step, Wire, full_port, http, wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from refold_async import RefoldClient

STALL = Step(end="stall")
TENANT: ContextVar[str] = ContextVar("tenant", default="nobody")


@asynccontextmanager
async def busy_loop() -> AsyncIterator[None]:
    """Burn 5 ms of CPU in each turn of the loop."""

    async def burn() -> None:
        while True:
            until_then = time.perf_counter() + 0.005
            while time.perf_counter() < until_then:
                pass
            await asyncio.sleep(0)

    burning = asyncio.create_task(burn())
    try:
        yield
    finally:
        burning.cancel()
        await asyncio.wait([burning])


@pytest.mark.parametrize("bound", ["read", "timeout", "read of a GET"])
async def test_every_deadline_strikes_on_a_busy_loop(
    connect: Callable[..., RefoldClient], bound: str
) -> None:
    """A server that drips for ever, and data in nearly every turn: each of 60 calls ends."""
    drip = Step(reply=http(body={"a": "x" * 100_000}), drip=0.002)
    async with wire(drip) as server, busy_loop():
        read, timeout = (30.0, 0.3) if bound == "timeout" else (0.3, None)
        timeouts = Timeouts(connect=30, read=read, abandoned=0.1)
        refold = connect(server, retry=at_once("never"), timeouts=timeouts)
        if bound == "read of a GET":
            calls: list[Any] = [refold.executions.get(RUN) for _ in range(60)]
        else:
            calls = [refold.execute("wf_1", slug="s", timeout=timeout) for _ in range(60)]
        async with asyncio.timeout(60):
            errors = await asyncio.gather(*calls, return_exceptions=True)
            await until(lambda: refold.stats.budget.in_flight == 0)
    causes = {type(getattr(error, "__cause__", None) or error) for error in errors}
    assert causes == {RequestTimeoutError}
    assert refold.stats.abandoned == 0


async def test_a_callers_timeout_of_the_same_instant_is_the_callers(
    connect: Callable[..., RefoldClient],
) -> None:
    """`asyncio.timeout(t)` around `execute(timeout=t)`: never a retry in a cancelled task."""
    ends = []
    async with wire(STALL) as server:
        refold = connect(server, retry=at_once("safe"), timeouts=Timeouts(abandoned=0.05))
        for _ in range(30):
            try:
                async with asyncio.timeout(0.02):
                    await refold.execute("wf_1", slug="s", timeout=0.02)
            except (TimeoutError, ExecutionOutcomeUnknownError) as error:
                ends.append(type(error))
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
    assert all(issubclass(end, (TimeoutError, ExecutionOutcomeUnknownError)) for end in ends)
    assert len(ends) == 30


async def test_a_start_that_is_left_is_read_for_ten_seconds(
    connect: Callable[..., RefoldClient], clock: FakeClock
) -> None:
    """A sync run may take minutes: without its caller it is then looked up, not waited for."""
    async with wire(STALL) as server:
        refold = connect(server, clock=clock, retry=RetryPolicy(mode="safe", settle=0))
        call = asyncio.create_task(refold.execute("wf_1", slug="s", sync=True))
        await until(lambda: len(server.seen) == 1)
        call.cancel()
        await asyncio.wait([call])
        assert (refold.stats.abandoned, refold.stats.budget.in_flight) == (1, 1)
        await clock.advance(9.9)
        assert (refold.stats.abandoned, len(server.listed)) == (1, 0)
        await clock.advance(0.1)
        await until(lambda: len(server.listed) > 0)
        assert refold.stats.abandoned == 0


async def test_a_start_whose_time_is_over_is_an_orphan_when_its_answer_comes(
    connect: Callable[..., RefoldClient],
) -> None:
    """The caller was told that nobody knows; a moment later somebody does."""
    async with wire(Step(reply=ACCEPTED, delay=1)) as server:
        refold = connect(server, retry=at_once("transient"))
        with pytest.raises(ExecutionOutcomeUnknownError):
            await refold.execute("wf_1", slug="s", timeout=0.5)
        await until(lambda: len(refold.orphans) == 1)
        (handle,) = refold.orphans
    assert (handle.execution_id, len(server.seen)) == (RUN, 1)


async def test_a_caller_that_leaves_before_the_first_byte_takes_the_attempt_along(
    connect: Callable[..., RefoldClient],
) -> None:
    """Its slot is free at once, and nobody goes on connecting."""
    with full_port() as port:
        refold = connect(Wire(base_url=f"http://127.0.0.1:{port.getsockname()[1]}"))
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await settle(50)
        assert refold.stats.budget.in_flight == 1
        call.cancel()
        await asyncio.wait([call])
        await settle()
        assert (refold.stats.budget.in_flight, refold.stats.abandoned) == (0, 0)


async def test_an_answer_in_the_moment_of_leaving_is_kept(
    connect: Callable[..., RefoldClient],
) -> None:
    """However the turns fall, a run whose caller was cancelled is in `orphans`, or was returned."""
    async with wire(STARTS) as server:
        refold = connect(server, retry=at_once())
        returned = 0
        for turns in range(40):
            call = asyncio.create_task(refold.execute("wf_1", slug="s"))
            sent = len(server.seen)
            await settle(turns)
            call.cancel()
            await asyncio.wait([call])
            await until(lambda: refold.stats.budget.in_flight == 0)
            await settle()
            returned += not call.cancelled()
            assert len(server.seen) - sent in {0, 1}
        assert returned + len(refold.orphans) == len(server.seen)


class SpyClock(SystemClock):
    """Notes on whose behalf timers are set."""

    def __init__(self) -> None:
        self.tenants: list[str] = []

    def call_later(self, delay: float, callback: Any, /) -> Any:
        """Set a timer."""
        self.tenants.append(TENANT.get())
        return super().call_later(delay, callback)


async def test_an_attempt_knows_nothing_of_its_caller(connect: Callable[..., RefoldClient]) -> None:
    """What may outlive the caller carries no tenant, trace or request id of theirs."""
    TENANT.set("jane")
    clock = SpyClock()
    async with wire(STARTS) as server:
        await connect(server, clock=clock).execute("wf_1", slug="s")
    assert set(clock.tenants) == {"nobody"}


async def test_a_call_leaves_no_trace_in_its_callers_context(
    connect: Callable[..., RefoldClient],
) -> None:
    """A read runs in the caller's own task, and tidies up behind itself."""
    async with wire(Step(reply=http(200, {"_id": "e1", "status": "RUNNING"}))) as server:
        refold = connect(server)
        before = {*__import__("contextvars").copy_context().items()}
        await refold.executions.get("e1")
    after = {*__import__("contextvars").copy_context().items()}
    assert not [var for var, _ in after - before if var.name.startswith("refold")]


@pytest.mark.parametrize("name", ["execute", "run"])
async def test_a_call_that_is_cancelled_before_its_first_step_is_silent(
    connect: Callable[..., RefoldClient], name: str
) -> None:
    """Nothing is sent, and no coroutine was forgotten."""
    async with wire(STARTS) as server:
        task = asyncio.create_task(getattr(connect(server), name)("wf_1", slug="s"))
        task.cancel()
        await asyncio.wait([task])
        del task
        gc.collect()
    assert server.seen == []


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda refold: refold.execute("wf_1", slug="s"), id="execute"),
        pytest.param(lambda refold: refold.executions.get("e1"), id="get"),
    ],
)
async def test_closing_ends_a_call_that_connects(
    connect: Callable[..., RefoldClient], use: Any
) -> None:
    """It does not wait for `Timeouts.connect`."""
    with full_port() as port:
        refold = connect(Wire(base_url=f"http://127.0.0.1:{port.getsockname()[1]}"))
        call = asyncio.create_task(use(refold))
        await settle(50)
        await refold.aclose()
        with pytest.raises(ClientClosedError):
            await asyncio.wait_for(call, 1)


@pytest.mark.parametrize("turns", range(12))
async def test_closing_that_is_cancelled_has_closed_all_the_same(
    connect: Callable[..., RefoldClient], turns: int
) -> None:
    """At whichever wait it is cancelled: calls end, connections are closed."""
    async with wire(STARTS, STALL) as server:
        refold = connect(server, rate_limit=RateLimit(per_second=1000, burst=3))
        await refold.execute("wf_1", slug="s")
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(server.seen) == 2)
        closing = asyncio.create_task(refold.aclose())
        await settle(turns + 1)
        closing.cancel()
        await asyncio.wait([closing, call], timeout=2)
        assert isinstance(call.exception(), ExecutionOutcomeUnknownError)
        await until(lambda: server.open_now == 0)
        assert "closed>" in repr(refold)


def looks(emulator: Emulator) -> int:
    """Count the looks at runs."""
    return emulator.counts["get_execution"] + emulator.counts["list_executions"]


@pytest.mark.parametrize("turns", range(6))
async def test_closing_that_is_cancelled_ends_all_waits(
    connect: Callable[..., RefoldClient], turns: int
) -> None:
    """Also while the service is being asked how a run stands."""
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s", duration=None)(dict)
        refold = connect(emulator, polling=PollPolicy(first=0.01))
        emulator.faults.share("get_execution", Fault(delay=30), share=1)
        emulator.faults.share("list_executions", Fault(delay=30), share=1)
        request = ExecutionRequest("wf_1", slug="s")
        waits = [
            asyncio.create_task(wait)
            for wait in (
                refold.run("wf_1", slug="s"),
                refold.run_batch([request]),
                (await refold.execute("wf_1", slug="s")).result(),
            )
        ]
        await until(lambda: len(emulator.runs) == 3 and looks(emulator) > 0)
        closing = asyncio.create_task(refold.aclose())
        await settle(turns + 1)
        closing.cancel()
        async with asyncio.timeout(5):
            ran, batch, awaited = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(ran), type(awaited)] == [ClientClosedError] * 2
        assert isinstance(batch, BatchReport)
        assert [item.outcome for item in batch.items()] == ["unknown"]


async def test_grace_lets_calls_end(connect: Callable[..., RefoldClient]) -> None:
    """What is under way, with or without its caller, may end; nothing more is started."""
    async with wire(Step(reply=ACCEPTED, delay=0.1)) as server:
        refold = connect(server, retry=at_once())
        left, kept = (asyncio.create_task(refold.execute("wf_1", slug="s")) for _ in range(2))
        await until(lambda: len(server.seen) == 2)
        left.cancel()
        closing = asyncio.create_task(refold.aclose(grace=30))
        await settle()
        with pytest.raises(ClientClosedError, match="starts nothing more"):
            await refold.execute("wf_1", slug="s")
        handle = await kept
        async with asyncio.timeout(5):
            await closing
        (orphan,) = refold.orphans
    assert (handle.execution_id, orphan.execution_id) == (RUN, RUN)


@pytest.mark.parametrize("grace", [-1, math.nan, math.inf, True, "5", None])
async def test_a_grace_that_is_no_duration_closes_nothing(
    connect: Callable[..., RefoldClient], grace: Any
) -> None:
    """It is named, and the client goes on."""
    async with wire(STARTS) as server:
        refold = connect(server)
        with pytest.raises(ConfigError, match="grace"):
            await refold.aclose(grace=grace)
        assert (await refold.execute("wf_1", slug="s")).execution_id == RUN


async def test_grace_ends(connect: Callable[..., RefoldClient], clock: FakeClock) -> None:
    """After so many seconds what is left is ended as without it."""
    async with wire(STALL) as server:
        refold = connect(server, clock=clock)
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(server.seen) == 1)
        closing = asyncio.create_task(refold.aclose(grace=5))
        await clock.advance(4.9)
        assert not call.done()
        await clock.advance(0.2)
        await closing
        with pytest.raises(ExecutionOutcomeUnknownError):
            await call


async def test_an_attempt_that_a_stranger_cancels_does_not_cancel_its_caller(
    connect: Callable[..., RefoldClient],
) -> None:
    """As by a loop over `asyncio.all_tasks()`: the caller gets an error, the run stays in doubt."""
    async with wire(STALL) as server:
        refold = connect(server, retry=at_once("never"))
        before = asyncio.all_tasks()
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(server.seen) == 1)
        for task in asyncio.all_tasks() - before - {call}:
            if "_exchange" in repr(task):
                task.cancel()
        with pytest.raises(ExecutionOutcomeUnknownError, match="cancelled from outside"):
            await call


LOOP_ENDS = """
    import asyncio, logging, sys
    from refold_async import RefoldClient

    logging.basicConfig(level="WARNING", format="%(message)s")

    async def main():
        refold = RefoldClient(api_key="tk_1", linked_account_id="a", base_url=sys.argv[1])
        call = asyncio.ensure_future(refold.execute("wf_1", slug="s", instance_tag="mine"))
        await asyncio.sleep(1.5)
        if sys.argv[2] == "left":
            call.cancel()
            await asyncio.wait([call])

    asyncio.run(main())
"""


@pytest.mark.parametrize("caller", ["left", "there"])
async def test_a_loop_that_ends_with_a_start_under_way_says_so(caller: str) -> None:
    """The run may exist, and nobody will ever hold its handle: the log names it."""
    async with wire(STALL) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", textwrap.dedent(LOOP_ENDS), server.base_url, caller),
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            _, err = await process.communicate()
    said = err.decode()
    assert said.count("the event loop ended with execute under way") == 1, said
    assert "workflow_id=wf_1, instance_tag=mine" in said
    assert "was destroyed but it is pending" not in said


async def test_no_frame_of_another_library_is_in_what_is_raised(
    connect: Callable[..., RefoldClient],
) -> None:
    """Retries are tenacity's business, tracebacks are the caller's."""
    async with wire(Step(reply=http(425, {"message": "early"}))) as server:
        with pytest.raises(RefoldError) as caught:
            await connect(server, retry=at_once(attempts=3)).execute("wf_1", slug="s")
        slow = connect(server, retry=RetryPolicy(wait=3600, max_wait=3600))
        with pytest.raises(TimeoutError) as timed_out:
            await asyncio.wait_for(slow.execute("wf_1", slug="s"), 0.1)
    files = {name for error in (caught.value, timed_out.value) for name in files_of(error, set())}
    assert not [name for name in files if "tenacity" in name or "aiohttp" in name]
    assert [name for name in files if "refold_async" in name]


def files_of(error: BaseException | None, seen: set[int]) -> set[str]:
    """Give the source files of an error's traceback, and of those it came from."""
    if error is None or id(error) in seen:
        return set()
    seen.add(id(error))
    files, frame = set(), error.__traceback__
    while frame is not None:
        files.add(frame.tb_frame.f_code.co_filename)
        frame = frame.tb_next
    return files | files_of(error.__cause__, seen) | files_of(error.__context__, seen)


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        pytest.param({}, "/api/v2/public/execution?limit=1", id="key and account"),
        pytest.param({"linked_account_id": None}, "/api/v2/public/workflow?limit=1", id="key"),
        pytest.param({"session_token": "jwt"}, "/api/v2/public/execution?limit=1", id="token"),
    ],
)
async def test_ping_is_one_request(
    connect: Callable[..., RefoldClient], settings: dict[str, Any], asked: str
) -> None:
    """Tried once, and its failure is the typed error."""
    refused = Step(reply=http(401, {"message": "Invalid Credentials"}))
    async with wire(Step(reply=http(200, {"docs": []})), refused) as server:
        refold = connect(server, **settings)
        await refold.ping()
    assert [request.target for request in [*server.listed, *server.seen]] == [asked]

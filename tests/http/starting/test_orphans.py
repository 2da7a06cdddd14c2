"""A caller that is cancelled while its run starts: the run is not lost, and never started twice."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ExecutionOutcomeUnknownError, RateLimit, RetryPolicy, WaitTimeoutError
from refold_async._starting.starter import Orphans
from refold_async.emulator import Behaviour, Emulator, Fault
from tests.support.endings import MODES, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from refold_async import RefoldClient

SLOW = Fault(delay=0.03)


def policy(mode: Any = "transient", **settings: Any) -> RetryPolicy:
    """Give a policy that looks soon."""
    return RetryPolicy(**({"mode": mode, "settle": 0.01, "wait": 0, "max_wait": 0} | settings))


def playing(**behaviour: Any) -> Emulator:
    """Give an emulator with a workflow that answers its payload."""
    emulator = Emulator(behaviour=Behaviour(**behaviour))
    emulator.workflow("wf_1", slug="s")(dict)
    return emulator


async def leave(call: asyncio.Task[Any]) -> None:
    """Cancel a call; it ends at once."""
    call.cancel()
    await asyncio.wait([call], timeout=1)
    assert call.cancelled()


@MODES
async def test_a_run_whose_caller_left_is_an_orphan(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, mode: str
) -> None:
    """The answer is read without the caller, and the handle is kept until somebody takes it."""
    async with playing() as emulator:
        emulator.faults.script("execute", SLOW)
        refold = connect(emulator, retry=policy(mode))
        call = asyncio.create_task(refold.execute("wf_1", slug="s", payload={"a": 1}))
        await until(lambda: len(emulator.runs) == 1)
        await leave(call)
        await until(lambda: len(refold.orphans) == 1)
        (handle,) = refold.orphans
        result = await handle.result()
    assert (result.output, len(emulator.runs), len(refold.orphans)) == ({"a": 1}, 1, 0)
    assert refold.stats.orphaned == 1
    warnings = [r for r in caplog.records if r.levelname == "WARNING"]
    assert any(str(handle.execution_id) in r.getMessage() for r in warnings)


async def test_a_look_up_that_breaks_does_not_hide_that_a_run_may_exist(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A fault of ours in there is logged, and so is what its caller has to look for."""

    async def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    async with playing() as emulator:
        emulator.faults.script("execute", Fault(drop="after", delay=0.1))
        refold = connect(emulator, retry=policy("safe"))
        monkeypatch.setattr(refold._caller.parts.reconciler, "look", broken)
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(emulator.runs) == 1)
        await leave(call)
        await until(lambda: "nobody knows whether a run started" in caplog.text)
        assert "looking a start up broke" in caplog.text
        assert str(emulator.runs[0].instance_tag) in caplog.text


async def test_a_call_that_is_cancelled_before_it_left_starts_nothing(
    connect: Callable[..., RefoldClient],
) -> None:
    """While it waits for its slot, cancelling it is all there is to it."""
    async with playing() as emulator:
        refold = connect(emulator, rate_limit=RateLimit(per_second=0.1, burst=1))
        await refold.execute("wf_1", slug="s")
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await asyncio.sleep(0.01)
        await leave(call)
    assert (len(emulator.runs), len(refold.orphans), refold.stats.orphaned) == (1, 0, 0)


@pytest.mark.parametrize("performed", [True, False])
async def test_a_call_that_is_cancelled_during_backoff_is_looked_up_and_not_sent_again(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, performed: bool
) -> None:
    """A run that is listed only later is found by the client, without its caller."""
    async with playing() as emulator:
        emulator.faults.script("list_executions", Fault(body={"docs": [], "hasNextPage": False}))
        emulator.faults.script(
            "execute",
            # Jitter may be next to nothing; what the service asks for is a lower bound.
            Fault(status=502, html=True, perform=performed, headers={"Retry-After": "9"}),
        )
        refold = connect(emulator, retry=policy(settle=0.03))
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: emulator.counts["list_executions"] >= 1)
        await asyncio.sleep(0.02)
        await leave(call)
        await until(lambda: "caller of" in caplog.text)
        orphans = list(refold.orphans)
    runs = [run.execution_id for run in emulator.runs]
    assert emulator.counts["execute"] == 1
    assert runs == [handle.execution_id for handle in orphans]
    assert len(runs) == performed


async def test_a_lost_answer_without_a_caller_is_looked_up(
    connect: Callable[..., RefoldClient],
) -> None:
    """The connection breaks after the caller left: the run is found in the list."""
    async with playing() as emulator:
        emulator.faults.script("execute", Fault(drop="after", delay=0.03))
        refold = connect(emulator, retry=policy())
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(emulator.runs) == 1)
        await leave(call)
        await until(lambda: len(refold.orphans) == 1)
        (handle,) = refold.orphans
    assert [handle.execution_id] == [run.execution_id for run in emulator.runs]
    assert emulator.counts["execute"] == 1


@pytest.mark.parametrize("fault", [Fault(delay=5), Fault(drop="after")])
async def test_closing_ends_what_has_no_caller(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    """A reply or a look that is still awaited does not outlive the client, and is logged."""
    async with playing() as emulator:
        emulator.faults.script("execute", fault)
        refold = connect(emulator, retry=policy("safe", settle=20))
        before = asyncio.all_tasks()
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(emulator.runs) == 1)
        await asyncio.sleep(0.02)
        await leave(call)
        await refold.aclose()
        ours = {t for t in asyncio.all_tasks() - before if "refold_async._" in repr(t)}
    assert (set(), 0) == (ours, len(refold.orphans))
    assert "nobody knows whether a run started" in caplog.text


async def test_orphans_are_bounded(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture
) -> None:
    """The oldest of more than 1,000 is dropped, and its id logged."""
    refold = connect(SimpleNamespace(base_url="http://localhost:1"))
    orphans = Orphans()
    for number in range(1_001):
        orphans.add(refold.handle(f"run_{number}"))
    assert len(orphans) == 1_000
    assert next(iter(orphans)).execution_id == "run_1"
    assert "dropped execution run_0" in caplog.text


async def test_a_rerun_whose_caller_left_is_an_orphan(
    connect: Callable[..., RefoldClient],
) -> None:
    """A rerun starts a run as well."""
    async with playing() as emulator:
        refold = connect(emulator, retry=policy())
        handle = await refold.execute("wf_1", slug="s", payload={"a": 1})
        emulator.faults.script("rerun", SLOW)
        call = asyncio.create_task(handle.rerun())
        await until(lambda: len(emulator.runs) == 2)
        await leave(call)
        await until(lambda: len(refold.orphans) == 1)
        (again,) = refold.orphans
        result = await again.result()
    assert ({"a": 1}, emulator.runs[1].execution_id) == (result.output, again.execution_id)


RAN_502 = Fault(status=502, html=True, perform=True)


async def test_an_orphan_of_a_resend_is_flagged(connect: Callable[..., RefoldClient]) -> None:
    """Whoever takes its handle learns that an earlier try may have started another run."""
    async with playing(echo_instance_tag_in_list=False) as emulator:
        emulator.faults.script("execute", RAN_502, SLOW)
        refold = connect(emulator, retry=policy())
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(emulator.runs) == 2)
        await leave(call)
        await until(lambda: len(refold.orphans) == 1)
        (handle,) = refold.orphans
    assert (handle.execution_id, handle.possible_duplicate) == (
        emulator.runs[1].execution_id,
        True,
    )


@pytest.mark.parametrize("status", [400, 429])
async def test_a_resend_that_is_refused_without_a_caller_settles_nothing(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """The first try may have started a run: it is looked up, or said to be unknown."""
    async with playing(echo_instance_tag_in_list=False) as emulator:
        emulator.faults.script("execute", RAN_502, Fault(status=status, delay=0.05))
        refold = connect(emulator, retry=policy())
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: emulator.counts["execute"] == 2)
        await leave(call)
        await until(lambda: "nobody knows whether a run started" in caplog.text)
    assert (len(emulator.runs), len(refold.orphans)) == (1, 0)


async def test_closing_ends_a_look_that_has_not_begun(
    connect: Callable[..., RefoldClient],
) -> None:
    """Nobody waits for `settle` seconds on a client that is closed."""
    async with playing() as emulator:
        emulator.faults.script("execute", Fault(drop="after"))
        refold = connect(emulator, retry=RetryPolicy(mode="safe", settle=60))
        call = asyncio.create_task(refold.execute("wf_1", slug="s"))
        await until(lambda: len(emulator.runs) == 1)
        await asyncio.sleep(0.05)
        await refold.aclose()
        done, _ = await asyncio.wait([call], timeout=5)
    assert done
    assert isinstance(call.exception(), ExecutionOutcomeUnknownError)


async def fail_beside(call: Coroutine[Any, Any, Any], emulator: Emulator) -> None:
    """Be the sibling in a task group that fails."""
    async with asyncio.TaskGroup() as group:
        group.create_task(call)
        await until(lambda: bool(emulator.runs))
        await asyncio.sleep(0.1)
        raise ValueError


@pytest.mark.parametrize("how", ["timeout", "cancel", "group"])
async def test_a_run_whose_caller_left_while_it_waited_is_an_orphan(
    connect: Callable[..., RefoldClient], how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a web handler under `asyncio.timeout`; what is raised is the caller's own."""
    async with playing() as emulator:
        emulator.workflow("wf_long", slug="s", duration=None)(dict)
        refold = connect(emulator)
        if how == "timeout":
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.3):
                    await refold.run("wf_long", slug="s")
            assert type(caught.value) is TimeoutError
        elif how == "cancel":
            call = asyncio.create_task(refold.run("wf_long", slug="s"))
            await until(lambda: bool(emulator.runs))
            await asyncio.sleep(0.1)
            await leave(call)
        else:
            with pytest.raises(ExceptionGroup):
                await fail_beside(refold.run("wf_long", slug="s"), emulator)
        (handle,) = refold.orphans
        (run,) = emulator.runs
        assert (handle.execution_id, refold.stats.orphaned) == (run.execution_id, 1)
        assert f"execution {run.execution_id} runs on" in caplog.text
        emulator.finish(run.execution_id)
        assert (await handle.result()).ok


async def test_a_wait_that_is_over_makes_no_orphan(connect: Callable[..., RefoldClient]) -> None:
    """`run(timeout=)` raises an error that names the run: whoever catches it has the id."""
    async with playing() as emulator:
        emulator.workflow("wf_long", slug="s", duration=None)(dict)
        refold = connect(emulator)
        with pytest.raises(WaitTimeoutError) as caught:
            await refold.run("wf_long", slug="s", timeout=0.3)
        assert (caught.value.execution_id, len(refold.orphans)) == (
            emulator.runs[0].execution_id,
            0,
        )


async def test_a_run_that_is_taken_for_a_lost_answer_is_logged(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture
) -> None:
    """With its id and its tag."""
    caplog.set_level("INFO", logger="refold_async")
    async with playing() as emulator:
        emulator.faults.script("execute", Fault(drop="after"))
        handle = await connect(emulator, retry=policy("safe")).execute("wf_1", slug="s")
    assert f"execution {handle.execution_id} was found by its tag" in caplog.text
    assert f"instance_tag={handle.instance_tag}" in caplog.text

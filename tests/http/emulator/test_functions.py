"""Workflows as people write them: async functions, and functions that can't be workflows."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ExecutionFailedError, ExecutionStoppedError
from refold_async.emulator import Behaviour, Emulator, NodeFailed, Respond, WorkflowError
from tests.support.asking import RUN, V2, ask, document, response, start

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient


GOING = {"RUNNING", "QUEUED"}


async def ended(emulator: Emulator, execution_id: str) -> Any:
    """Read an execution when it is over."""
    async with asyncio.timeout(60):
        while (read := await document(emulator, execution_id))["status"] in GOING:  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # as a client would
    return read


async def test_an_async_function_is_a_workflow(
    emulator: Emulator, connect: Callable[..., RefoldClient]
) -> None:
    """Its run goes on until it returns, and has what it returned."""
    going, gate = asyncio.Event(), asyncio.Event()

    @emulator.workflow("wf", slug="hubspot")
    async def create(payload: dict[str, Any]) -> Any:
        going.set()
        await gate.wait()
        return {"email": payload["email"]}

    refold = connect(emulator)
    handle = await refold.execute("wf", slug="hubspot", payload={"email": "jane@example.com"})
    await going.wait()
    before = await document(emulator, str(handle.execution_id))
    gate.set()
    result = await handle.result(timeout=10)

    assert (before["status"], before["completion_percentage"]) == ("RUNNING", 0)
    assert before["completion_time"] is None
    assert result.output == {"email": "jane@example.com"}
    (run,) = emulator.runs
    assert run.ends_at is not None
    assert run.duration == run.ends_at - run.begins_at
    assert (await document(emulator, run.execution_id))["completion_percentage"] == 100


async def test_a_sync_run_of_an_async_function(emulator: Emulator) -> None:
    """It holds the connection until the function has returned, and takes its status."""

    @emulator.workflow("wf", slug="hubspot")
    async def answer(_: dict[str, Any]) -> Any:
        await asyncio.sleep(0.01)
        return Respond(status=422, data={"why": "taken"})

    reply = await ask(emulator, "POST", RUN, {"sync_execution": "true"}, json={"payload": {}})

    assert (reply.status, reply.body["return_value"]) == (422, {"why": "taken"})


@pytest.mark.parametrize(
    ("error", "node", "message"),
    [
        pytest.param(NodeFailed(node="Response", message="no"), "3", "no", id="node"),
        pytest.param(ValueError("broken"), "2", "broken", id="any"),
        pytest.param(asyncio.CancelledError(), "2", "the function was cancelled", id="cancelled"),
    ],
)
async def test_an_async_function_may_fail(
    emulator: Emulator, error: BaseException, node: str, message: str
) -> None:
    """What it raises ends its run as it would end that of a plain function."""

    @emulator.workflow("wf", slug="hubspot")
    async def fail(_: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        raise error

    read = await ended(emulator, await start(emulator))

    assert read["status"] == "ERRORED"
    (failed,) = (each for each in read["nodes"] if each["node_status"] == "Errored")
    assert (failed["node_id"], failed["latest_output"]["body"]) == (node, {"error": message})


async def test_a_mistake_in_a_function_is_in_the_log_with_its_line(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    """`'nope'` as a run's error is a riddle; a failure that is meant needs no line."""

    @emulator.workflow("wf", slug="hubspot")
    def mistaken(payload: dict[str, Any]) -> Any:
        if "n" in payload:
            raise NodeFailed(node="Work", message="no")
        return payload["nope"]

    await ended(emulator, await start(emulator, {"n": 1}))
    assert caplog.records == []
    await ended(emulator, await start(emulator, {}))

    assert "workflow 'wf' raised" in caplog.text
    assert 'return payload["nope"]' in caplog.text


@pytest.mark.parametrize(
    ("known", "slug", "why"),
    [
        pytest.param({}, "s", "this emulator knows none yet: make one", id="none"),
        pytest.param({"workflow_id": "wf_b"}, "s", "this emulator knows 'wf_b'", id="another"),
        pytest.param({}, "other", "its slug is 's'", id="slug"),
        pytest.param({"published": False}, "s", "it is not published", id="not-published"),
        pytest.param({"accounts": ["a"]}, "s", "it is not one of account 'acct_1'", id="account"),
    ],
)
async def test_why_a_workflow_can_not_be_started_is_in_the_log(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, known: dict[str, Any], slug: str, why: str
) -> None:
    """The answer is what Refold says, which is the same for all of them."""
    if known or slug != "s":  # else it has none
        emulator.workflow(**({"workflow_id": "wf_a", "slug": "s"} | known))(dict)
    path = "/api/v2/public/workflow/wf_a/execute"
    reply = await ask(emulator, "POST", path, {"slug": slug}, json={"payload": {}})

    assert reply.status == 400
    assert f"no run of workflow 'wf_a' with slug '{slug}': {why}" in caplog.text


class Odd(BaseException):
    """What is no `Exception`, as anyio's and pytest's own are none."""


@pytest.mark.parametrize("error", [Odd("odd"), GeneratorExit()], ids=["any", "generator-exit"])
async def test_whatever_a_function_raises_ends_its_run(
    emulator: Emulator, error: BaseException
) -> None:
    """Plain or async, or told as a duration: no run hangs for it, and nothing is left unheard."""

    def fail(_: dict[str, Any]) -> Any:
        raise error

    async def fail_later(_: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        raise error

    reads = []
    for function, duration in ((fail, 0.0), (fail_later, 0.0), (dict, fail)):
        emulator.workflow("wf", slug="hubspot", duration=duration)(function)
        reads.append(await ended(emulator, await start(emulator)))

    assert [read["status"] for read in reads] == ["ERRORED"] * 3
    told = [read["nodes"][1]["latest_output"]["body"]["error"] for read in reads]
    assert told[:2] == [str(error) or repr(error)] * 2
    assert repr(error) in told[2]


async def test_what_an_async_function_returns_must_be_json(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """The client's error names the workflow and the type."""

    @emulator.workflow("wf", slug="hubspot")
    async def returns(_: dict[str, Any]) -> Any:
        return {"rows": {1, 2}}

    with pytest.raises(ExecutionFailedError, match=r"'wf' returned no JSON: set at \.rows"):
        await connect(emulator).run("wf", slug="hubspot", timeout=10)


async def test_a_duration_is_the_least_an_async_function_takes() -> None:
    """Its run ends when both the function and the duration are over."""
    clock = [1_000_000_000.0]
    async with Emulator(now=lambda: clock[-1]) as emulator:
        release = asyncio.Event()

        @emulator.workflow("wf", slug="hubspot", duration=10.0)
        async def quick(payload: dict[str, Any]) -> Any:
            if payload:
                await release.wait()
            return {}

        early, late = await start(emulator), await start(emulator, {"a": 1})
        clock.append(clock[-1] + 5)
        halfway = [await document(emulator, run) for run in (early, late)]
        clock.append(clock[-1] + 5)
        at_ten = [(await document(emulator, run))["status"] for run in (early, late)]
        clock.append(clock[-1] + 2)
        release.set()
        await ended(emulator, late)

    assert [read["completion_percentage"] for read in halfway] == [50, 50]
    assert at_ten == ["COMPLETED", "RUNNING"]
    assert [run.duration for run in emulator.runs] == [10.0, 12.0]


async def test_a_stop_cancels_an_async_function(
    connect: Callable[..., RefoldClient], emulator: Emulator
) -> None:
    """A run that is stopped lets its function go, and ends STOPPED."""
    left = asyncio.Event()

    @emulator.workflow("wf", slug="hubspot")
    async def endless(_: dict[str, Any]) -> Any:
        try:
            await asyncio.sleep(3600)
        finally:
            left.set()

    handle = await connect(emulator).execute("wf", slug="hubspot")
    await handle.stop()
    with pytest.raises(ExecutionStoppedError):
        await handle.result(timeout=10)

    assert left.is_set()


async def test_an_async_function_is_finished_by_hand(emulator: Emulator) -> None:
    """With a status its run ends at once; without one it ends as the function will say."""
    release = asyncio.Event()

    @emulator.workflow("wf", slug="hubspot", duration=None)
    async def waits(_: dict[str, Any]) -> Any:
        await release.wait()
        return {"id": 1}

    ending, own = await start(emulator), await start(emulator)
    emulator.finish(ending, status="TIMED_OUT")
    emulator.finish(own)
    before = (await document(emulator, ending))["status"], (await document(emulator, own))["status"]
    release.set()

    assert before == ("TIMED_OUT", "RUNNING")
    assert (await ended(emulator, own))["status"] == "COMPLETED"
    assert (await response(emulator, own))["response"] == {"id": 1}


async def test_the_end_of_the_emulator_cancels_what_goes_on() -> None:
    """Nothing is left running, and a run that was cut off says so when the emulator is back."""
    emulator = Emulator(behaviour=Behaviour())

    @emulator.workflow("wf", slug="hubspot")
    async def endless(_: dict[str, Any]) -> Any:
        await asyncio.sleep(3600)

    async with emulator:
        execution_id = await start(emulator)
    async with emulator:
        read = await document(emulator, execution_id)

    assert read["status"] == "ERRORED"
    assert read["nodes"][1]["latest_output"]["body"] == {"error": "the function was cancelled"}


async def test_a_rerun_calls_an_async_function_again(emulator: Emulator) -> None:
    """Each run has a call of its own, with the payload as it was first."""
    seen: list[Any] = []

    @emulator.workflow("wf", slug="hubspot")
    async def spoil(payload: dict[str, Any]) -> Any:
        seen.append(dict(payload))
        payload.clear()

    first = await start(emulator, {"a": 1})
    await ended(emulator, first)
    await ask(emulator, "POST", f"{V2}/execution/{first}/rerun")
    await ended(emulator, emulator.runs[1].execution_id)

    assert seen == [{"a": 1}, {"a": 1}]


def none() -> Any:
    """Take nothing."""


def two(payload: Any, more: Any) -> Any:
    """Take too much."""


def named(*, payload: Any) -> Any:
    """Take it by name only."""


async def atwo(payload: Any, more: Any) -> Any:
    """Take too much."""


def yields(payload: Any) -> Any:
    """Give bit by bit."""
    yield payload


async def ayields(payload: Any) -> Any:
    """Give bit by bit."""
    yield payload


@pytest.mark.parametrize(
    ("function", "said"),
    [
        pytest.param(none, "function none: .* its payload and nothing else", id="none"),
        pytest.param(two, "function two: .*missing a required argument: 'more'", id="two"),
        pytest.param(named, "function named: .* its payload", id="keyword"),
        pytest.param(atwo, "function atwo: .* 'more'", id="async-two"),
        pytest.param(yields, "function yields: .* yields nothing", id="generator"),
        pytest.param(ayields, "function ayields: .* yields nothing", id="async-generator"),
        pytest.param({"id": 1}, "function {'id': 1}: a workflow is a function", id="no-function"),
    ],
)
def test_a_function_that_cannot_be_a_workflow_is_refused(function: Any, said: str) -> None:
    """A wrong signature is refused where it is registered, not at the first run."""
    emulator = Emulator()
    with pytest.raises(WorkflowError, match=f"^workflow 'wf', {said}"):
        emulator.workflow("wf", slug="hubspot")(function)

    assert emulator.workflows == []


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(dict, id="builtin-class"),
        pytest.param(len, id="builtin"),
        pytest.param(lambda payload, *rest, more=1, **others: payload, id="defaults"),
        pytest.param(functools.partial(two, more=1), id="partial"),
    ],
)
def test_whatever_takes_a_payload_is_a_workflow(function: Any) -> None:
    """What can be called with the payload alone is taken."""
    emulator = Emulator()
    emulator.workflow("wf", slug="hubspot")(function)

    assert [workflow.function for workflow in emulator.workflows] == [function]


@pytest.mark.parametrize("settings", [{"workflow_id": ""}, {"slug": ""}, {"slug": None}])
def test_a_workflow_has_an_id_and_a_slug(settings: dict[str, Any]) -> None:
    """Without them it could never be run."""
    with pytest.raises(WorkflowError, match=f"{next(iter(settings))} is text"):
        Emulator().workflow(**{"workflow_id": "wf", "slug": "hubspot", **settings})(dict)


class _MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


@pytest.mark.parametrize("kind", ["plain", "async", "duration"])
async def test_an_error_that_can_not_be_shown_fails_the_run(
    emulator: Emulator, connect: Callable[..., RefoldClient], kind: str
) -> None:
    """Its function is called once, as for any other."""
    calls = []

    def mute(payload: dict[str, Any]) -> Any:
        calls.append(payload)
        raise _MuteError

    async def slowly(payload: dict[str, Any]) -> Any:
        mute(payload)

    functions: dict[str, Any] = {"plain": mute, "async": slowly, "duration": dict}
    register = emulator.workflow("mute", slug="s", duration=mute if kind == "duration" else 0.0)
    register(functions[kind])
    with pytest.raises(ExecutionFailedError, match="_MuteError, which can't be shown"):
        await connect(emulator).run("mute", slug="s")
    assert len(calls) == 1

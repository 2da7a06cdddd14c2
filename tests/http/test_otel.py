"""What OpenTelemetry is told: whose spans, under which names, linked to what; and what never."""

from __future__ import annotations

import asyncio
import pickle
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

import refold_async
from refold_async import BadRequestError, ExecutionFailedError, ExecutionRef, ExecutionRequest
from refold_async.emulator import Emulator, Fault, NodeFailed
from refold_async.otel import RefoldInstrumentor
from tests.conftest import ACCOUNT
from tests.support.endings import until
from tests.support.telemetry import Told, context_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from refold_async import RefoldClient

PAGE = (Path(refold_async.__file__).parents[1] / "docs/how-to/observing.md").read_text()
POST = "POST /api/v2/public/workflow/{workflow_id}/execute"
WORKFLOW = "6a106ba44480b80424a65289"


@pytest.fixture
def told() -> Iterator[Told]:
    """Telemetry, switched on."""
    with Told() as told:
        yield told


@pytest.fixture
async def refold(connect: Callable[..., RefoldClient], emulator: Emulator) -> RefoldClient:
    """A client of an emulator with one workflow."""
    emulator.workflow(WORKFLOW, slug="s", duration=0.05)(dict)
    return connect(emulator)


async def test_attempts_stand_below_their_call_and_that_below_the_caller(
    refold: RefoldClient, emulator: Emulator, told: Told
) -> None:
    """The wait is linked to the call that started the run, and belongs to whoever waits."""
    emulator.faults.script("execute", Fault(status=503))
    with told.tracer.start_as_current_span("import contacts"):
        handle = await refold.execute(WORKFLOW, slug="s")
    with told.tracer.start_as_current_span("report"):
        await handle
    assert told.tree() == {
        "import contacts": {"refold.execute": {POST: {}, f"{POST} (2)": {}}},
        "report": {"refold.wait": {}},
    }
    call, wait = told.one("refold.execute"), told.one("refold.wait")
    (link,) = wait.links
    assert link.context.span_id == context_of(call).span_id
    assert {span.kind for span in (call, wait)} == {SpanKind.INTERNAL}


async def test_an_attempt_is_described_by_the_conventions_for_http(
    refold: RefoldClient, emulator: Emulator, told: Told
) -> None:
    """And a call by what it was about, and what it came to."""
    emulator.faults.script("execute", Fault(status=503))
    handle = await refold.execute(WORKFLOW, slug="s")
    failed, good = told.named(POST)
    about = {
        "refold.operation": "execute",
        "refold.workflow.id": WORKFLOW,
        "refold.application.slug": "s",
        "refold.linked_account.id": ACCOUNT,
        "refold.instance_tag": handle.instance_tag,
    }
    request = {
        "http.request.method": "POST",
        "url.template": "/api/v2/public/workflow/{workflow_id}/execute",
        "url.full": f"{emulator.base_url}/api/v2/public/workflow/{WORKFLOW}/execute",
        "server.address": "127.0.0.1",
        "server.port": int(emulator.base_url.rpartition(":")[2]),
    }
    assert dict(failed.attributes or {}) == {
        **request,
        "http.response.status_code": 503,
        "error.type": "503",
    }
    assert dict(good.attributes or {}) == {
        **request,
        "http.response.status_code": 200,
        "http.request.resend_count": 1,
    }
    assert (failed.kind, failed.status.status_code) == (SpanKind.CLIENT, StatusCode.ERROR)
    call = told.one("refold.execute")
    assert dict(call.attributes or {}) == {
        **about,
        "refold.execution.id": handle.execution_id,
        "refold.attempts": 2,
    }
    assert call.status.status_code is StatusCode.UNSET


async def test_a_wait_in_another_process_is_linked_to_the_call(
    connect: Callable[..., RefoldClient], refold: RefoldClient, emulator: Emulator, told: Told
) -> None:
    """The ref carries the call's span."""
    ref = (await refold.execute(WORKFLOW, slug="s")).ref
    there = pickle.loads(pickle.dumps(ref))  # noqa: S301 - as a queue does
    await connect(emulator).handle(there)
    context = context_of(told.one("refold.execute"))
    (link,) = told.one("refold.wait").links
    assert (link.context.trace_id, link.context.span_id) == (context.trace_id, context.span_id)
    assert (
        there.traceparent
        == f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    )


async def test_a_traceparent_that_is_none_makes_no_trouble(
    refold: RefoldClient, told: Told
) -> None:
    """It comes from a queue: a run is waited for whatever stands there."""
    ref = (await refold.execute(WORKFLOW, slug="s")).ref
    await refold.handle(ExecutionRef(execution_id=ref.execution_id, traceparent="00-zz"))
    assert told.one("refold.wait").links == ()


async def test_looks_are_nobodys_spans(refold: RefoldClient, told: Told) -> None:
    """They serve all who wait: no caller's trace has them, and without being asked none at all."""
    with told.tracer.start_as_current_span("caller"):
        await refold.run(WORKFLOW, slug="s")
    assert told.tree() == {"caller": {"refold.execute": {POST: {}}, "refold.wait": {}}}
    looks = [p for name, p in told.points() if p.attributes.get("http.request.method") == "GET"]
    assert looks


async def test_looks_have_traces_of_their_own_where_they_are_asked_for(
    refold: RefoldClient,
) -> None:
    """`poll_spans=True`."""
    with Told(poll_spans=True) as told:
        with told.tracer.start_as_current_span("caller"):
            await refold.run(WORKFLOW, slug="s")
        below = told.tree().pop("caller")
        looks = [span for span in told.spans if span.name.startswith("GET ")]
    assert below == {"refold.execute": {POST: {}}, "refold.wait": {}}
    assert looks
    assert {span.parent for span in looks} == {None}


async def test_a_read_of_ones_own_is_a_span(refold: RefoldClient, told: Told) -> None:
    """Within the caller's trace, as any HTTP request."""
    handle = await refold.execute(WORKFLOW, slug="s")
    with told.tracer.start_as_current_span("caller"):
        await handle.fetch()
    assert told.tree()["caller"] == {"GET /api/v2/public/execution/{execution_id}": {}}


async def test_aiohttps_own_spans_are_left_out(
    connect: Callable[..., RefoldClient], emulator: Emulator, told: Told
) -> None:
    """Each request would be there twice, and each look after all."""
    emulator.workflow(WORKFLOW, slug="s")(dict)
    AioHttpClientInstrumentor().instrument(
        tracer_provider=told.provider, meter_provider=told.meters
    )
    try:
        await connect(emulator).run(WORKFLOW, slug="s")
    finally:
        AioHttpClientInstrumentor().uninstrument()
    assert told.tree() == {"refold.execute": {POST: {}}, "refold.wait": {}}


async def test_a_run_that_ends_badly_is_seen_at_its_wait(
    connect: Callable[..., RefoldClient], emulator: Emulator, told: Told
) -> None:
    """The wait went well and the run did not: on a dashboard that is an error."""

    @emulator.workflow("wf_bad", slug="s")
    def fail(_: Any) -> Any:
        raise NodeFailed(node="Work", message="no")

    with pytest.raises(ExecutionFailedError):
        await connect(emulator).run("wf_bad", slug="s")
    wait = told.one("refold.wait")
    assert (wait.attributes or {})["error.type"] == "ERRORED"
    assert wait.status.status_code is StatusCode.ERROR
    assert told.one("refold.execute").status.status_code is StatusCode.UNSET


async def test_a_call_that_fails_says_why(
    refold: RefoldClient, emulator: Emulator, told: Told
) -> None:
    """With the error's class, and its words without the advice."""
    emulator.faults.script("execute", Fault(status=400, body={"message": "no", "status_code": 400}))
    with pytest.raises(BadRequestError):
        await refold.execute(WORKFLOW, slug="s")
    call = told.one("refold.execute")
    assert (call.attributes or {})["error.type"] == "BadRequestError"
    assert (call.status.status_code, call.status.description) == (StatusCode.ERROR, "HTTP 400, no")


async def test_a_sync_run_and_one_that_is_run_again_are_calls(refold: RefoldClient) -> None:
    """The end of the former is known with the call."""
    with Told() as told:
        first = await refold.execute(WORKFLOW, slug="s", sync=True)
        again = await first.rerun()
    call, rerun = told.one("refold.execute"), told.one("refold.rerun")
    assert (call.attributes or {})["refold.execution.status"] == "COMPLETED"
    assert (rerun.attributes or {})["refold.execution.id"] == again.execution_id


async def test_an_attempt_whose_caller_left_ends_its_own_span(
    refold: RefoldClient, emulator: Emulator, told: Told
) -> None:
    """The run's handle, an orphan by then, still knows which call started it."""
    emulator.faults.script("execute", Fault(delay=0.1))
    call = asyncio.create_task(refold.execute(WORKFLOW, slug="s"))
    await until(lambda: bool(emulator.runs))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: len(refold.orphans) == 1)
    (handle,) = refold.orphans
    left = told.one("refold.execute")
    assert (left.attributes or {})["error.type"] == "CancelledError"
    assert (told.one(POST).attributes or {})["http.response.status_code"] == 200
    assert told.tree() == {"refold.execute": {POST: {}}}
    assert f"{context_of(left).span_id:016x}" in str(handle.ref.traceparent)


async def test_a_start_under_a_key_belongs_to_who_came_first(
    refold: RefoldClient, told: Told
) -> None:
    """It goes on without its callers, and in its trace all the same."""
    with told.tracer.start_as_current_span("caller"):
        await refold.execute(WORKFLOW, slug="s", once="invoice-1", once_scope="process")
    tree = told.tree()["caller"]
    assert tree["refold.execute"] == {POST: {}}


async def test_runs_of_a_fan_out_stand_below_who_asked_for_them(
    refold: RefoldClient, told: Told
) -> None:
    """Each item its call and its wait."""
    with told.tracer.start_as_current_span("nightly"):
        requests = [ExecutionRequest(WORKFLOW, slug="s") for _ in range(3)]
        assert (await refold.run_batch(requests)).succeeded == 3
    assert sorted(told.tree()["nightly"]) == [
        *("refold.execute", "refold.execute (2)", "refold.execute (3)"),
        *("refold.wait", "refold.wait (2)", "refold.wait (3)"),
    ]


async def test_metrics_have_the_names_of_the_page_and_no_ids(
    refold: RefoldClient, emulator: Emulator, told: Told
) -> None:
    """An id as an attribute would make a series of each run."""
    emulator.faults.script("execute", Fault(status=503))
    handle = await refold.execute(WORKFLOW, slug="s")
    await asyncio.gather(handle, handle.wait(), refold.handle(str(handle.execution_id)))
    points = [*told.points()]
    rows = re.findall(r"(?m)^\| `([a-z.]+\.(?:duration|pending))` \| \w+ \| (.*?) \|", PAGE)
    assert {name for name, _ in points} == {name for name, _ in rows}
    for name, point in points:
        (attributes,) = [row for named, row in rows if named == name]
        assert {*point.attributes} <= {*re.findall(r"`([\w.]+)`", attributes)}, name
        values = {str(value) for value in point.attributes.values()}
        assert not {handle.execution_id, ACCOUNT, handle.instance_tag} & values
    (ended,) = [point for name, point in points if name == "refold.client.execution.duration"]
    (pending,) = [point for name, point in points if name == "refold.client.executions.pending"]
    assert (ended.count, dict(ended.attributes)) == (
        1,
        {"refold.workflow.id": WORKFLOW, "refold.execution.status": "COMPLETED"},
    )
    assert pending.value == 0


async def test_the_key_is_told_to_nobody(
    connect: Callable[..., RefoldClient], emulator: Emulator, told: Told
) -> None:
    """Not even by a service that repeats it in its answers."""
    key = emulator.api_key
    said: dict[str, Any] = {"message": f"bad key {key}", "error": key, "status_code": 400}
    emulator.faults.script("execute", Fault(status=400, body=said, headers={"X-Request-Id": key}))
    refold = connect(emulator)
    with pytest.raises(BadRequestError):
        await refold.execute("wf_1", slug="s")
    shown = "".join(span.to_json() for span in told.spans) + repr([*told.points()])
    assert len(told.spans) == 2
    assert key not in shown


@pytest.mark.parametrize("error", [RuntimeError("no"), asyncio.CancelledError()])
async def test_an_exporter_that_breaks_loses_no_run(
    refold: RefoldClient, told: Told, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    """What takes spans is somebody else's code: its faults are told once, and end nothing."""

    class Broken(SpanProcessor):
        def on_start(self, span: object, parent_context: object = None) -> None:
            raise error

        def on_end(self, span: object) -> None:
            raise error

    told.provider.add_span_processor(Broken())
    assert (await refold.run(WORKFLOW, slug="s")).ok
    (line,) = [record for record in caplog.records if record.name == "refold_async.otel"]
    assert line.levelname == "ERROR"


async def test_it_can_be_switched_off_again(refold: RefoldClient) -> None:
    """A client that is there is seen from when it is switched on to when it is off."""
    await refold.execute(WORKFLOW, slug="s")
    with Told() as told:
        await refold.execute(WORKFLOW, slug="s")
    await refold.run(WORKFLOW, slug="s")
    assert told.tree() == {"refold.execute": {POST: {}}}


def test_opentelemetry_instrument_finds_it() -> None:
    """By the entry point."""
    (entry,) = entry_points(group="opentelemetry_instrumentor", name="refold-async")
    assert entry.load() is RefoldInstrumentor

"""Rerun starts a run as execute does, and is dealt with the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from refold_async import ExecutionOutcomeUnknownError, Timeouts
from refold_async.emulator import Behaviour, Emulator
from tests.support.endings import MODES, Ending, at_once, ending_of, unknown
from tests.support.wire import RUN, Step, http, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

OLD = "6a314c54d4616e99e7fa5a01"
QUEUED = {"message": "Execution queued", "instanceId": RUN}
RERUNS = Step(reply=http(200, QUEUED))
HTML = "<html>bad gateway</html>"
SHED = {"status_code": 503, "http_error_type": "SERVICE_UNAVAILABLE", "message": "shed"}


@MODES
@pytest.mark.parametrize(
    ("status", "body"),
    [
        pytest.param(200, {"status": "success", "id": RUN}, id="id"),
        pytest.param(200, QUEUED, id="instanceId"),
        pytest.param(201, QUEUED, id="201"),
        pytest.param(500, QUEUED, id="500 with instanceId"),
        pytest.param(429, {"execution_id": RUN}, id="429 with execution_id"),
    ],
)
async def test_either_answer_gives_the_new_handle(
    connect: Callable[..., RefoldClient], mode: str, status: int, body: Any
) -> None:
    """Both documented shapes name the new run, and one request was made for it."""
    async with wire(Step(reply=http(status, body))) as server:
        handle = await connect(server, retry=at_once(mode)).handle(OLD).rerun()
    assert (handle.execution_id, handle.attempts, handle.possible_duplicate) == (RUN, 1, False)
    assert [("POST", f"/api/v2/public/execution/{OLD}/rerun")] == [
        (request.method, request.target) for request in server.seen
    ]


@MODES
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(http(429, {"message": "slow down"}), id="429"),
        pytest.param(http(503, SHED), id="503 of the service"),
    ],
)
async def test_a_rerun_that_was_turned_away_is_sent_again(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, mode: str, reply: bytes
) -> None:
    """A rejection starts nothing."""
    async with wire(Step(reply=reply), RERUNS) as server:
        refold = connect(server, retry=at_once(mode))
        actual = await ending_of(refold.handle(OLD).rerun(), refold, server, caplog)
    assert (1 if mode == "never" else 2, 0) == (actual.posts, actual.duplicates)
    assert (mode == "never") == (actual.outcome != "handle")


@MODES
@pytest.mark.parametrize(
    ("step", "cause"),
    [
        pytest.param(Step(end="fin"), "TransportError", id="FIN"),
        pytest.param(Step(end="rst"), "TransportError", id="RST"),
        pytest.param(Step(end="stall"), "RequestTimeoutError", id="stall"),
        pytest.param(Step(reply=http(200, HTML)), "UnexpectedReplyError", id="200 HTML"),
        pytest.param(Step(reply=http(200, {"id": ""})), "UnexpectedReplyError", id="empty id"),
        pytest.param(Step(reply=http(200, {"ok": 1})), "UnexpectedReplyError", id="no id"),
    ],
)
async def test_a_rerun_whose_answer_was_lost_is_unknown(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    step: Step,
    cause: str,
) -> None:
    """It bears no tag of its own, so nothing can prove that it did not start."""
    async with wire(step, RERUNS) as server:
        timeouts = Timeouts(read=0.5 if step.end == "stall" else 30)
        refold = connect(server, retry=at_once(mode), timeouts=timeouts)
        actual = await ending_of(refold.handle(OLD).rerun(), refold, server, caplog)
    assert unknown(cause) == actual


@MODES
@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(http(500, {"message": "boom", "id": "req_1"}), id="500 with a request's id"),
        pytest.param(http(502, HTML), id="502"),
        pytest.param(http(503, HTML), id="503 HTML"),
        pytest.param(http(504, HTML), id="504"),
    ],
)
async def test_a_server_error_on_rerun_is_sent_again_only_by_transient(
    connect: Callable[..., RefoldClient], caplog: pytest.LogCaptureFixture, mode: str, reply: bytes
) -> None:
    """And flagged, as the first try may have started a run."""
    async with wire(Step(reply=reply), RERUNS) as server:
        refold = connect(server, retry=at_once(mode))
        actual = await ending_of(refold.handle(OLD).rerun(), refold, server, caplog)
    again = Ending(attempts=2, posts=2, duplicates=1)
    assert (again if mode == "transient" else unknown("ServerError")) == actual


@MODES
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(400, {"error": "no", "id": "req_1"}, "BadRequestError", id="400 with an id"),
        pytest.param(403, {"message": "no"}, "PermissionDeniedError", id="403"),
        pytest.param(404, {"message": "no"}, "NotFoundError", id="404"),
        pytest.param(409, {"message": "no"}, "ConflictError", id="409"),
        pytest.param(501, {"message": "no"}, "ServerError", id="501"),
    ],
)
async def test_a_refused_rerun_is_raised_at_once(
    connect: Callable[..., RefoldClient],
    caplog: pytest.LogCaptureFixture,
    mode: str,
    status: int,
    body: Any,
    error: str,
) -> None:
    """What the service will not do is asked once, in every mode."""
    async with wire(Step(reply=http(status, body)), RERUNS) as server:
        refold = connect(server, retry=at_once(mode))
        actual = await ending_of(refold.handle(OLD).rerun(), refold, server, caplog)
    assert Ending(outcome=error) == actual


async def test_after_an_uncertain_rerun_a_refusal_is_unknown(
    connect: Callable[..., RefoldClient],
) -> None:
    """The error names the execution that was to be run again."""
    async with wire(Step(reply=http(502, HTML)), Step(reply=http(404, {}))) as server:
        with pytest.raises(ExecutionOutcomeUnknownError, match=OLD) as caught:
            await connect(server, retry=at_once("transient")).handle(OLD).rerun()
    assert (
        caught.value.execution_id,
        caught.value.workflow_id,
        caught.value.attempts,
    ) == (OLD, None, 2)


@pytest.mark.parametrize("shape", ["id", "instanceId"])
async def test_a_rerun_is_a_run_of_its_own(
    connect: Callable[..., RefoldClient], shape: Any
) -> None:
    """The new handle has another id, and its own result."""
    async with Emulator(behaviour=Behaviour(rerun_shape=shape)) as emulator:
        emulator.workflow("wf_1", slug="s")(lambda payload: payload["n"])
        refold = connect(emulator)
        first = await refold.execute("wf_1", slug="s", payload={"n": 3})
        second = await first.rerun()
        results = [await first, await second]
    assert [result.output for result in results] == [3, 3]
    assert first.execution_id != second.execution_id
    assert len(emulator.runs) == 2

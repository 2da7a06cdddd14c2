"""Runs whose document can't be read: a wait ends all the same, and says what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from refold_async import (
    ExecutionFailedError,
    ExecutionRequest,
    ExecutionStatus,
    PollPolicy,
    UnexpectedReplyError,
)
from refold_async.emulator import Emulator, Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from refold_async import RefoldClient

SOON = PollPolicy(first=0.02, max_interval=0.05, failure_budget=0.2, not_found_grace=0.2)
GONE = Fault(status=404, body={"message": "Execution not found", "status_code": 404})


def broken(_: dict[str, Any]) -> None:
    """Fail as a workflow does."""
    raise ValueError("no such invoice")


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(GONE, id="404"),
        pytest.param(Fault(status=400, body={"message": "no"}), id="400"),
        pytest.param(Fault(status=502, html=True), id="502"),
        pytest.param(Fault(body={}), id="empty"),
        pytest.param(Fault(drop="before"), id="reset"),
    ],
)
async def test_a_bad_ending_whose_reason_can_not_be_read_ends_the_wait(
    connect: Callable[..., RefoldClient], fault: Fault
) -> None:
    """The path that gives outputs has told of it; nobody knows why it failed."""
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s")(broken)
        emulator.faults.always("get_execution", fault)
        refold = connect(emulator, polling=SOON, rate_limit=None)
        handle = await refold.execute("wf_1", slug="s")
        with pytest.raises(ExecutionFailedError) as caught:
            await handle
        assert caught.value.result.status is ExecutionStatus.ERRORED
        assert (caught.value.result.execution, caught.value.result.error) == (None, None)
        report = await refold.run_batch([ExecutionRequest("wf_1", slug="s")])
        assert report.failed == 1


async def test_a_document_that_is_too_large_to_read_does_not_hold_up_a_wait(
    connect: Callable[..., RefoldClient],
) -> None:
    """It is not downloaded for ever."""
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s")(broken)
        refold = connect(emulator, polling=SOON, rate_limit=None, max_reply_bytes=2_000)
        handle = await refold.execute("wf_1", slug="s", payload={"text": "x" * 3_000})
        assert (await handle.wait()).status is ExecutionStatus.ERRORED
        assert emulator.counts["get_execution"] < 30


@pytest.mark.parametrize("output", [True, False])
async def test_an_answer_without_a_status_is_a_failed_look(
    connect: Callable[..., RefoldClient], *, output: bool
) -> None:
    """It is not waited on for ever."""
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s", duration=None)(dict)
        for operation in ("get_execution", "get_response", "list_executions"):
            emulator.faults.always(operation, Fault(body={"weird": 1}))
        refold = connect(emulator, polling=SOON, rate_limit=None)
        handle = await refold.execute("wf_1", slug="s")
        with pytest.raises(UnexpectedReplyError, match="says nothing of how the run stands"):
            await handle.wait(output=output)


async def test_a_bad_ending_that_the_document_never_shows_ends_the_wait(
    connect: Callable[..., RefoldClient],
) -> None:
    """It is given time to; the path that gives outputs has said it all the while."""
    async with Emulator() as emulator:
        emulator.workflow("wf_1", slug="s")(broken)
        emulator.faults.always("get_execution", Fault(body={"status": "RUNNING"}))
        refold = connect(emulator, polling=SOON, rate_limit=None)
        result = await (await refold.execute("wf_1", slug="s")).wait()
        assert (result.status, result.execution) == (ExecutionStatus.ERRORED, None)

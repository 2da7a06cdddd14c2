"""Whatever a service answers, a probe ends with a report, and with settings that are code."""

from __future__ import annotations

from typing import Any

import pytest

from refold_async.emulator import Behaviour, Emulator, Fault
from refold_async.probe import Target, Work, probe

KEY = "tk_a_key_of_some_length"
STRANGE = {
    "docs": [{"_id": 1, "status": {}, "createdAt": 7}, 5, None],
    "limit": True,
    "status": ["COMPLETED"],
    "nodes": [7, {"input_data": {"payload": [1]}, "latest_output": 1, "node_type": 3}],
    "createdAt": "yesterday",
    "instance_tag": {"$ne": 1},
    "token": 5,
    "expires_in": "soon",
    "refresh_expires_in": 1e999,
    "response": {},
    "id": {},
}
SHAPES: dict[str, Fault] = {
    "strange": Fault(body='{"status": ["x"], "limit": true, "docs": [{"_id": 1}, 5], "nodes": 3}'),
    "stranger": Fault(body=str(STRANGE).replace("'", '"').replace("True", "true").replace(
        "None", "null").replace("inf", "1e999")),
    "list": Fault(body="[[]]"),
    "null": Fault(body="null"),
    "deep": Fault(body="[" * 100_000),
    "page": Fault(html=True, status=200),
    "teapot": Fault(status=418, body={"message": KEY}),
    "error": Fault(status=500),
    "cut": Fault(truncate=True),
    "gone": Fault(drop="after"),
    "dates": Fault(headers={"Date": "yesterday", "Retry-After": "1.5", "Keep-Alive": "timeout=x"}),
}  # fmt: skip
STARTS = {"execute", "rerun"}
READS = ("list_executions", "get_execution", "get_response", "create_session_token",
         "trigger_event", "list_workflows")  # fmt: skip


async def probed(faults: dict[str, Fault], *, first: int = 0) -> Any:
    """Probe an emulator with these faults, after so many requests that fare well."""
    async with Emulator(api_key=KEY, skip_time=True) as emulator:
        emulator.workflow("wf", slug="s", duration=1.0)(dict)
        for operation, fault in faults.items():
            emulator.faults.script(operation, *[None] * first, *[fault] * 60)
        target = Target(base_url=emulator.base_url, api_key=KEY, account="acct_1")
        report = await probe(target, Work(workflow_id="wf", slug="s", sync=True, rerun=True))
        started = len(emulator.runs)

    said = f"{report!r}{[each.because for each in report.findings]}"
    assert KEY not in said
    switches: dict[str, Any] = {"Behaviour": Behaviour}
    code = report.settings.splitlines()[-1]
    exec(code, switches)  # noqa: S102 - our own
    assert isinstance(switches["behaviour"], Behaviour)
    assert started <= len(report.execution_ids) + len(report.uncertain)
    return report


@pytest.mark.parametrize("shape", SHAPES)
async def test_reads_may_be_answered_with_anything(shape: str) -> None:
    """The first list is as it should be; everything read after it is not."""
    fault = SHAPES[shape]
    report = await probed(dict.fromkeys(READS[1:], fault))
    listed = await probed({"list_executions": fault}, first=1)

    assert len(report.findings) == len(listed.findings)


@pytest.mark.parametrize("operation", sorted(STARTS))
@pytest.mark.parametrize("shape", SHAPES)
async def test_starts_may_be_answered_with_anything(operation: str, shape: str) -> None:
    """Each run that was started is either told by its id, or said to be uncertain."""
    await probed({operation: SHAPES[shape]})

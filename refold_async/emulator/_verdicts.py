"""What tests ask of an emulator afterwards: what was started, and what was left behind."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ._pushing import Delivery
from ._records import Recorded
from ._runs import Run

_LONGEST = 200
_READS = frozenset({"get_execution", "get_response", "list_executions"})
_MOST = 20


def check_started(
    runs: Sequence[Run], requests: Sequence[Recorded], workflow_id: str, times: int, payload: Any
) -> list[Run]:
    """Give the runs of a workflow with a payload (any if None).

    Raises:
        AssertionError: There are not so many; says which there are instead.
    """
    meant = [run for run in runs if workflow_id in {run.workflow_id, run.workflow.alias}]
    found = [run for run in meant if payload is None or run.payload == payload]
    if len(found) == times:
        return found
    given = "" if payload is None else f" with payload {_short(payload)}"
    lines = [f"{workflow_id!r} was started {_times(len(found))}{given}, not {_times(times)}"]
    lines += ["runs there are:", *map(_line, runs[-_MOST:])] if runs else ["no run was started"]
    refused = [each for each in requests if each.operation.startswith("execute")]
    if len(refused) > len(runs):
        lines.append("requests to start one:")
        lines += [f"  {request!r}" for request in refused[-_MOST:]]
    raise AssertionError("\n".join(lines))


def left_behind(
    runs: Sequence[Run], requests: Sequence[Recorded], deliveries: Sequence[Delivery], now: float
) -> Iterator[str]:
    """Name the runs that go on, and those of whose end nobody has asked or was told."""
    told = {delivery.execution_id for delivery in deliveries if delivery.status == 200}  # noqa: PLR2004
    reads = [request for request in requests if request.operation in _READS]
    for run in runs:
        name = f"execution {run.execution_id} of workflow {run.workflow_id!r}"
        if not run.is_over(now):
            yield f"{name}: {run.status(now)}"
        elif not run.sync and run.execution_id not in told:
            after = (each for each in reads if each.at >= (run.ends_at or now))
            if not any(_shows(each, run) for each in after):
                yield f"{name}: {run.status(now)}, and nobody asked for its end"


def _shows(request: Recorded, run: Run) -> bool:
    if request.operation == "list_executions":
        return request.headers.get("linked_account_id") in {None, run.linked_account_id}
    return run.execution_id in request.path


def _line(run: Run) -> str:
    return f"  {run.workflow_id} {run.execution_id} {_short(run.payload)}"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times" if number else "never")


def _short(value: Mapping[str, Any] | Any) -> str:
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."

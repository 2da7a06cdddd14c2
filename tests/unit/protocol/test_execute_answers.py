"""What an accepted answer to execute or rerun says about the run."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from refold_async import ExecutionStatus
from refold_async._protocol import read_started
from refold_async._protocol.replies import read_execute_answer, read_rerun_answer
from tests.support.making import EXECUTE, RERUN, RUN, accepted, execute

ACKNOWLEDGED = {"message": "Workflow execution started", "execution_id": RUN}
SYNC_REPLY: dict[str, Any] = {
    "execution_id": RUN,
    "return_value": {"contact": 7},
    "errored": False,
    "status_code": 201,
    "execution_error": None,
}


def _subsets() -> list[Any]:
    names = list(SYNC_REPLY)
    return [
        pytest.param({name: SYNC_REPLY[name] for name in some}, id="+".join(some))
        for size in range(1, len(names) + 1)
        for some in itertools.combinations(names, size)
        if {"execution_id", "return_value", "errored", "execution_error"} & {*some}
    ]


@pytest.mark.parametrize("document", _subsets())
def test_sync_reply_may_lack_any_of_its_fields(document: dict[str, Any]) -> None:
    """Each field that came is read, each that is missing has its obvious meaning."""
    started = read_execute_answer(accepted(document, 200), sync=True)
    assert started.execution_id == document.get("execution_id")
    if {*document} <= {"execution_id", "status_code"}:  # an envelope has a status_code too
        assert started.result is None
        return
    assert started.result is not None
    assert started.result.execution_id == document.get("execution_id")
    assert started.result.status is ExecutionStatus.COMPLETED
    assert started.result.output == document.get("return_value")
    assert started.result.status_code == document.get("status_code", 200)
    assert started.result.error is None
    assert started.result.raw == document
    assert started.result.ok


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
def test_acknowledgement_is_no_result(sync: bool) -> None:
    """A sync call that is only acknowledged lost its header to a proxy: the run is waited for."""
    started = read_execute_answer(accepted(ACKNOWLEDGED), sync=sync)
    assert (started.execution_id, started.result) == (RUN, None)


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param({"errored": False}, id="not-errored"),
        pytest.param({"return_value": None}, id="null"),
        pytest.param({"execution_error": None}, id="no-error"),
        pytest.param({"status_code": 200}, id="status"),
    ],
)
def test_async_acknowledgement_with_idle_fields_is_no_result(extra: dict[str, Any]) -> None:
    """Fields at rest in an asynchronous answer say nothing about the end."""
    started = read_execute_answer(accepted(ACKNOWLEDGED | extra), sync=False)
    assert started.result is None


@pytest.mark.parametrize(
    "extra",
    [{"return_value": 0}, {"errored": True}, {"execution_error": "boom"}],
    ids=lambda extra: next(iter(extra)),
)
def test_async_call_answered_with_the_end_is_settled(extra: dict[str, Any]) -> None:
    """A service that waited for the run although it was not asked to has told the end."""
    started = read_execute_answer(accepted(ACKNOWLEDGED | extra), sync=False)
    assert started.result is not None
    assert started.result.output == extra.get("return_value")


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
def test_answer_without_an_id_settles_by_itself(sync: bool) -> None:
    """Nobody could wait for a run without an id."""
    started = read_execute_answer(accepted({"executed_by_thanos": True}), sync=sync)
    assert started.execution_id is None
    assert started.result is not None
    assert started.result.status is ExecutionStatus.COMPLETED


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        pytest.param({"errored": True}, ExecutionStatus.ERRORED, id="errored"),
        pytest.param({"execution_error": "boom"}, ExecutionStatus.ERRORED, id="error"),
        pytest.param({"execution_error": {}}, ExecutionStatus.COMPLETED, id="empty-error"),
        pytest.param(
            {"execution_error": "ignored", "errored": False},
            ExecutionStatus.COMPLETED,
            id="error-but-not-errored",
        ),
        pytest.param({"errored": "true"}, ExecutionStatus.COMPLETED, id="odd-errored"),
    ],
)
def test_errored_decides_about_the_ending(fields: dict[str, Any], status: ExecutionStatus) -> None:
    """`errored` has the say; without it an error message has."""
    started = read_execute_answer(accepted({"execution_id": RUN, **fields}), sync=True)
    assert started.result is not None
    assert started.result.status is status
    assert started.result.error == fields.get("execution_error")


@pytest.mark.parametrize(
    ("code", "kept"),
    [(404, 404), (None, 503), ("404", 503), (404.0, 503), (True, 503), ([], 503)],
)
def test_http_status_stands_in_for_a_missing_one(code: Any, kept: int) -> None:
    """Without a readable `status_code` the reply's own status is what the node set."""
    document = {"execution_id": RUN, "return_value": 1, "status_code": code}
    started = read_execute_answer(accepted(document, 503), sync=True)
    assert started.result is not None
    assert started.result.status_code == kept
    assert not started.result.ok


@pytest.mark.parametrize("name", ["headers", "request_headers", "requestHeaders"])
def test_echoed_headers_are_found(name: str) -> None:
    """The field of `include-headers` is not documented; the likely names are looked at."""
    document = {"execution_id": RUN, "return_value": 1, name: {"x-trace": "1"}}
    started = read_execute_answer(accepted(document), sync=True)
    assert started.result is not None
    assert started.result.headers == {"x-trace": "1"}


@pytest.mark.parametrize("value", ["x-trace: 1", ["x"], None, 5])
def test_headers_of_another_shape_are_left_in_raw(value: Any) -> None:
    """`headers` is a mapping or None."""
    document = {"execution_id": RUN, "return_value": 1, "headers": value}
    started = read_execute_answer(accepted(document), sync=True)
    assert started.result is not None
    assert (started.result.headers, started.result.raw["headers"]) == (None, value)


def test_tries_and_doubt_are_handed_on() -> None:
    """How the start went travels with it."""
    answer = accepted(ACKNOWLEDGED, attempts=3, possible_duplicate=True)
    started = read_execute_answer(answer, sync=False)
    assert (started.attempts, started.possible_duplicate) == (3, True)


@pytest.mark.parametrize(
    "document",
    [
        pytest.param({"status": "success", "id": RUN}, id="id"),
        pytest.param({"message": "Execution queued", "instanceId": RUN}, id="instance-id"),
        pytest.param({"execution_id": RUN}, id="execution-id"),
        pytest.param({"id": "job-1", "instanceId": RUN}, id="instance-id-before-id"),
        pytest.param({"instanceId": "", "execution_id": None, "id": RUN}, id="empty-ones"),
    ],
)
def test_rerun_is_read_in_both_shapes(document: dict[str, Any]) -> None:
    """The new run's id is found under each of its names."""
    started = read_rerun_answer(accepted(document, attempts=2, possible_duplicate=True))
    assert (started.execution_id, started.result) == (RUN, None)
    assert (started.attempts, started.possible_duplicate) == (2, True)


def test_start_is_read_as_its_request_was_meant() -> None:
    """A rerun's answer has shapes of its own, and a sync one may tell the end."""
    ended = accepted({"execution_id": RUN, "errored": False})
    assert read_started(accepted({"instanceId": RUN}), RERUN).execution_id == RUN
    assert read_started(ended, EXECUTE).result is None
    assert read_started(ended, execute(sync=True)).result is not None


def test_a_status_code_alone_is_no_end() -> None:
    """An error envelope that names the run carries a `status_code` as well: the run goes on."""
    envelope = accepted({"execution_id": RUN, "status_code": 504, "message": "Timed out"}, 504)
    assert read_execute_answer(envelope, sync=True).result is None

"""The models: statuses, endings, times read from ids."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest

from refold_async import (
    ApiError,
    BadRequestError,
    Execution,
    ExecutionError,
    ExecutionFailedError,
    ExecutionRef,
    ExecutionResult,
    ExecutionStatus,
    ExecutionStoppedError,
    ExecutionTerminatedError,
    ExecutionTimedOutError,
    NodeRun,
    Page,
    ServerError,
    SessionToken,
)
from refold_async._models.documents import created_at

RUN = "6a314c54d4616e99e7fa5a02"
TERMINAL = {"COMPLETED", "ERRORED", "STOPPED", "TIMED_OUT", "TERMINATED"}
PENDING = {"QUEUED", "RUNNING", "WAITING", "STOPPING"}


def _result(status: str = "COMPLETED", code: int | None = None, **fields: Any) -> Any:
    fields = {"execution_id": RUN, "output": None} | fields
    return ExecutionResult(status=ExecutionStatus(status), status_code=code, **fields)


def test_known_statuses_are_the_documented_ones() -> None:
    """Nine statuses are known, five of them end a run."""
    assert {status.value for status in ExecutionStatus} == TERMINAL | PENDING
    assert {status.value for status in ExecutionStatus if status.is_terminal} == TERMINAL


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("COMPLETED", ExecutionStatus.COMPLETED),
        ("completed", ExecutionStatus.COMPLETED),
        ("Timed Out", ExecutionStatus.TIMED_OUT),
        ("timed_out", ExecutionStatus.TIMED_OUT),
        (" Running ", ExecutionStatus.RUNNING),
    ],
)
def test_status_is_known_in_any_case(text: str, status: ExecutionStatus) -> None:
    """The webhook page writes statuses differently from the execution page."""
    assert ExecutionStatus(text) is status


@pytest.mark.parametrize("text", ["PAUSED_BY_ADMIN", "wörk", "", "completed?"])
def test_unknown_status_is_kept(text: str) -> None:
    """A status nobody has heard of is its own text, and the run counts as going on."""
    status = ExecutionStatus(text)
    assert status == text
    assert (str(status), status.value, status.name) == (text, text, text)
    assert hash(status) == hash(text)
    assert json.dumps(status) == json.dumps(text)
    assert not status.is_terminal
    assert status == ExecutionStatus(text)


def test_unknown_status_joins_no_list() -> None:
    """An unknown status read once does not become a known one."""
    ExecutionStatus("PAUSED")
    assert "PAUSED" not in {status.value for status in ExecutionStatus}


@pytest.mark.parametrize("text", ["COMPLETED", "PAUSED"])
def test_status_survives_pickling(text: str) -> None:
    """Known and unknown statuses come back as they were."""
    status = ExecutionStatus(text)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(status, protocol))  # noqa: S301
        assert (type(back), back, back.value) == (ExecutionStatus, status, text)


def test_unknown_status_can_be_copied() -> None:
    """Copies of documents with an unknown status are equal."""
    status = ExecutionStatus("PAUSED")
    assert copy.deepcopy(status) == copy.copy(status) == status


def test_status_shows_its_text() -> None:
    """The repr is the same for known and unknown ones."""
    assert repr(ExecutionStatus.RUNNING) == "<ExecutionStatus 'RUNNING'>"
    assert repr(ExecutionStatus("PAUSED")) == "<ExecutionStatus 'PAUSED'>"


@pytest.mark.parametrize(
    ("status", "code", "ok"),
    [
        ("COMPLETED", None, True),
        ("COMPLETED", 200, True),
        ("COMPLETED", 302, True),
        ("COMPLETED", 399, True),
        ("COMPLETED", 400, False),
        ("COMPLETED", 503, False),
        ("ERRORED", None, False),
        ("ERRORED", 200, False),
        ("STOPPED", None, False),
        ("TIMED_OUT", None, False),
        ("TERMINATED", None, False),
        ("RUNNING", None, False),
        ("PAUSED", 200, False),
    ],
)
def test_ok_needs_completion_and_no_error_status(status: str, code: int | None, ok: bool) -> None:
    """A run is fine if it completed and its Response node set no 4xx or 5xx."""
    assert _result(status, code).ok is ok


@pytest.mark.parametrize("code", [None, 200, 399])
def test_fine_result_raises_nothing(code: int | None) -> None:
    """`raise_for_status` of a fine result does nothing."""
    _result("COMPLETED", code).raise_for_status()


@pytest.mark.parametrize(
    ("code", "cls"), [(400, BadRequestError), (418, ApiError), (500, ServerError)]
)
def test_error_status_of_the_response_node_is_raised_on_demand(
    code: int, cls: type[ApiError]
) -> None:
    """The error has the class of the status, the output as its body, and names the run."""
    result = _result("COMPLETED", code, output={"reason": "no such contact"})
    result.raise_for_ending()
    with pytest.raises(ApiError, match=f"{RUN} set this status.*no such contact") as caught:
        result.raise_for_status()
    assert type(caught.value) is cls
    assert (caught.value.status, caught.value.body) == (code, {"reason": "no such contact"})


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        ("ERRORED", ExecutionFailedError),
        ("STOPPED", ExecutionStoppedError),
        ("TIMED_OUT", ExecutionTimedOutError),
        ("TERMINATED", ExecutionTerminatedError),
        ("PAUSED", ExecutionError),
    ],
)
@pytest.mark.parametrize("code", [None, 200, 500])
def test_bad_ending_has_its_own_error(
    status: str, cls: type[ExecutionError], code: int | None
) -> None:
    """The class is that of the ending, whatever status a node set, and the result is attached."""
    result = _result(status, code)
    for check in (result.raise_for_status, result.raise_for_ending):
        with pytest.raises(ExecutionError) as caught:
            check()
        assert type(caught.value) is cls
        assert (caught.value.result, caught.value.execution_id) == (result, RUN)
        assert str(caught.value) == f"execution {RUN} ended {status}"


def test_failed_node_and_error_are_told() -> None:
    """The message names the first node that failed and what it said."""
    nodes = (
        NodeRun(node_id="n1", name="Start", status="Success"),
        NodeRun(node_id="n2", name="Create\ncontact", status="Errored"),
        NodeRun(node_id="n3", status="Rejected"),
    )
    document = Execution(execution_id=RUN, status=ExecutionStatus.ERRORED, nodes=nodes)
    result = _result("ERRORED", execution=document, error="HTTP 500 from HubSpot")
    with pytest.raises(ExecutionFailedError) as caught:
        result.raise_for_status()
    assert caught.value.failed_node is nodes[1]
    assert str(caught.value).endswith("ERRORED at node 'Create\\\\ncontact': HTTP 500 from HubSpot")


def test_nameless_node_is_told_by_its_id() -> None:
    """A node without a name is named by its id."""
    node = NodeRun(node_id="n3", status="timed_out")
    document = Execution(execution_id=RUN, status=ExecutionStatus.ERRORED, nodes=(node,))
    with pytest.raises(ExecutionFailedError, match="at node 'n3'"):
        _result("ERRORED", execution=document).raise_for_status()


@pytest.mark.parametrize(
    ("status", "failed"),
    [
        ("Success", False),
        ("Ready", False),
        ("Errored", True),
        ("ERRORED", True),
        ("Waiting", False),
        ("Stopped", False),
        ("Rejected", True),
        ("Errored_and_Skipped", False),
        ("Timed_Out", True),
        ("Pondering", False),
        (None, False),
    ],
)
def test_node_failed(status: str | None, failed: bool) -> None:
    """A node failed if it ended badly and was not skipped."""
    assert NodeRun(status=status).failed is failed


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        pytest.param((), None, id="none"),
        pytest.param((NodeRun(node_id="a", type="action"),), None, id="no-response"),
        pytest.param((NodeRun(node_id="a", type="RESPONSE"),), "a", id="by-type"),
        pytest.param((NodeRun(node_id="a", name="My response"),), "a", id="by-name"),
        pytest.param(
            (
                NodeRun(node_id="a", type="action", name="Read response"),
                NodeRun(node_id="b", type="api_response", name="End"),
            ),
            "b",
            id="type-before-name",
        ),
    ],
)
def test_response_node_is_found(nodes: tuple[NodeRun, ...], found: str | None) -> None:
    """The Response node is known by its type, else by its name."""
    document = Execution(execution_id=RUN, status=ExecutionStatus.COMPLETED, nodes=nodes)
    assert (document.response_node and document.response_node.node_id) == found


@pytest.mark.parametrize(
    ("execution_id", "moment"),
    [
        pytest.param(RUN, datetime(2026, 6, 16, 13, 15, tzinfo=UTC), id="documented"),
        pytest.param(RUN.upper(), datetime(2026, 6, 16, 13, 15, tzinfo=UTC), id="upper-case"),
        pytest.param("0" * 24, datetime(1970, 1, 1, tzinfo=UTC), id="epoch"),
        pytest.param("f" * 24, datetime(2106, 2, 7, 6, 28, 15, tzinfo=UTC), id="last"),
        pytest.param(RUN[:-1], None, id="23-digits"),
        pytest.param(RUN + "0", None, id="25-digits"),
        pytest.param("g" * 24, None, id="not-hex"),
        pytest.param("٣" * 24, None, id="other-digits"),
        pytest.param("018f4e9c-7f3a-7000-8000-000000000000", None, id="uuid"),
        pytest.param("", None, id="empty"),
    ],
)
def test_creation_time_is_read_from_an_object_id(
    execution_id: str, moment: datetime | None
) -> None:
    """An ObjectId tells when the service made the run; other ids don't, and that is no error."""
    assert created_at(execution_id) == moment
    assert ExecutionRef(execution_id=execution_id).created_at == moment


def test_time_beyond_the_platforms_clock_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the machine's clock ends in 2038, a later id tells no time."""

    class EndOfTime:
        @staticmethod
        def fromtimestamp(*_: object) -> None:
            raise OverflowError

    monkeypatch.setattr("refold_async._models.documents.datetime", EndOfTime)
    assert created_at("f" * 24) is None


def test_ref_without_an_id_has_no_creation_time() -> None:
    """A sync reply may name no run."""
    assert ExecutionRef(execution_id=None).created_at is None


def test_ref_is_a_picklable_value() -> None:
    """A ref travels to another process, and may be a key."""
    ref = ExecutionRef(execution_id=RUN, workflow_id="wf_1", slug="hubspot", instance_tag="t")
    back = pickle.loads(pickle.dumps(ref))  # noqa: S301
    assert {back: 1}[ref] == 1


def test_result_survives_pickling() -> None:
    """Results travel between processes, statuses included."""
    result = _result("ERRORED", 500, output={"a": 1}, raw={"x": [1]})
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301


def test_session_token_hides_its_tokens() -> None:
    """Neither token shows in the repr."""
    token = SessionToken(token="jwt-1", refresh_token="jwt-2", expires_in=60.0)
    assert "jwt" not in repr(token)
    assert "60.0" in repr(token)


def test_page_is_a_sequence_of_its_items() -> None:
    """A page can be iterated and has a length."""
    page = Page(items=(1, 2, 3))
    assert (list(page), len(page)) == ([1, 2, 3], 3)

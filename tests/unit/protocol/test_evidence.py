"""What a reply proves about the run: the body first, the status second."""

from __future__ import annotations

import json
from typing import Any

import pytest

from refold_async._protocol import (
    Evidence,
    Request,
    enabled_workflows_request,
    judge,
    list_executions_request,
    stop_request,
)
from tests.support.making import EXECUTE, LOOK, RERUN, RUN, execute, reply

LIST = list_executions_request(account="acct_1", query={})
ENABLED = enabled_workflows_request(account="acct_1")
STOP = stop_request(RUN, account="acct_1")

STATUSES = [100, 200, 202, 302, 400, 401, 404, 408, 409, 422, 429, 500, 502, 503, 504, 524]
INVALID = {"status_code": 401, "error": "SERVER_ERROR", "message": "Invalid Credentials"}
SLUG = {"message": "Server Error", "error": "Workflow ID and slug are required"}
BUSY = {"message": "Overloaded, try later"}
HTML = b"<html><head><title>503 Service Temporarily Unavailable</title></head></html>"


def evidence(request: Request, status: int, body: Any = b"", **headers: str) -> Evidence:
    """Give what a reply to a request proves."""
    return judge(request, reply(status, body, **headers)).evidence


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b' {"execution_id": "e\xc3\xa9"}\r\n', id="space-around"),
        pytest.param(b'\xef\xbb\xbf{"execution_id": "e\xc3\xa9"}', id="byte-order-mark"),
        pytest.param('{"execution_id": "e\u00e9"}'.encode("utf-16"), id="utf-16"),
        pytest.param('{"execution_id": "e\u00e9"}'.encode("utf-32-le"), id="utf-32"),
    ],
)
def test_json_is_read_in_whatever_unicode_it_comes(body: bytes) -> None:
    """A run is not taken for unknown because of a proxy that recodes its reply."""
    assert judge(execute(), reply(200, body)).document == {"execution_id": "e\u00e9"}


def test_a_lone_surrogate_in_a_reply_loses_no_run() -> None:
    """What is no proper UTF-8 is read as far as `json` reads it."""
    body = b'{"execution_id": "e", "message": "\xed\xa0\x80"}'
    assert judge(execute(), reply(200, body)).evidence is Evidence.ACCEPTED


def test_a_document_with_something_behind_it_is_no_json() -> None:
    """A reply that goes on after its document is broken."""
    body = b'{"execution_id": "e"}{"execution_id": "f"}'
    assert judge(execute(), reply(200, body)).evidence is Evidence.UNCERTAIN


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"message": "Workflow execution started", "execution_id": RUN}, id="async"),
        pytest.param({"execution_id": "no-object-id"}, id="other-id"),
        pytest.param({"execution_id": RUN, **INVALID}, id="id-in-an-error"),
        pytest.param({"return_value": None}, id="return-value-null"),
        pytest.param({"return_value": {"a": 1}}, id="return-value"),
        pytest.param({"errored": False}, id="errored"),
        pytest.param({"execution_error": "boom"}, id="execution-error"),
        pytest.param({"executed_by_thanos": True}, id="thanos"),
        pytest.param({"execution_id": "", "errored": True}, id="empty-id-but-ran"),
        pytest.param({"execution_id": 5, "return_value": 1}, id="odd-id-but-ran"),
    ],
)
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
def test_body_that_proves_a_run_is_accepted_whatever_the_status(body: Any, sync: bool) -> None:
    """A Response node can set any status: who carries a run's marks has run."""
    answers = [judge(execute(sync=sync), reply(status, body)) for status in STATUSES]
    assert [answer.status for answer in answers] == STATUSES
    for answer in answers:
        assert (answer.evidence, answer.error) == (Evidence.ACCEPTED, None)
        assert answer.document == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"OK",
        HTML,
        b'{"execution_id": "6a31',
        b"null",
        b"true",
        b'"6a314c54d4616e99e7fa5a02"',
        [RUN],
        {},
        {"message": "Workflow execution started"},
        {"execution_id": ""},
        {"execution_id": None},
        {"execution_id": 5},
        {"execution_id": [RUN]},
        {"executionId": RUN},
        {"status_code": 200},
        {"data": {"execution_id": RUN}},
    ],
    ids=repr,
)
def test_success_without_an_id_is_uncertain(body: Any) -> None:
    """A 2xx that names no run proves neither that one started nor that none did."""
    for status in (200, 201, 204, 299):
        assert evidence(EXECUTE, status, body) is Evidence.UNCERTAIN
        assert evidence(RERUN, status, body) is Evidence.UNCERTAIN


@pytest.mark.parametrize(
    ("status", "body", "proof"),
    [
        pytest.param(400, SLUG, Evidence.REFUSED, id="400"),
        pytest.param(401, INVALID, Evidence.REFUSED, id="401"),
        pytest.param(402, HTML, Evidence.REFUSED, id="402-html"),
        pytest.param(403, b"", Evidence.REFUSED, id="403-empty"),
        pytest.param(404, {"message": "Execution not found"}, Evidence.REFUSED, id="404"),
        pytest.param(409, {}, Evidence.REFUSED, id="409"),
        pytest.param(413, HTML, Evidence.REFUSED, id="413"),
        pytest.param(422, {"errors": [{"field": "email"}]}, Evidence.REFUSED, id="422"),
        pytest.param(499, b"", Evidence.REFUSED, id="499"),
        pytest.param(501, {"message": "no batches"}, Evidence.REFUSED, id="501"),
        pytest.param(505, b"", Evidence.REFUSED, id="505"),
        pytest.param(408, HTML, Evidence.REJECTED, id="408"),
        pytest.param(421, b"", Evidence.REJECTED, id="421"),
        pytest.param(425, b"", Evidence.REJECTED, id="425"),
        pytest.param(429, {"message": "Too many requests"}, Evidence.REJECTED, id="429"),
        pytest.param(429, HTML, Evidence.REJECTED, id="429-html"),
        pytest.param(500, SLUG, Evidence.UNCERTAIN, id="500"),
        pytest.param(502, HTML, Evidence.UNCERTAIN, id="502"),
        pytest.param(504, HTML, Evidence.UNCERTAIN, id="504"),
        pytest.param(506, b"", Evidence.UNCERTAIN, id="506"),
        pytest.param(520, HTML, Evidence.UNCERTAIN, id="520"),
        pytest.param(524, HTML, Evidence.UNCERTAIN, id="524"),
        pytest.param(599, b"", Evidence.UNCERTAIN, id="599"),
        pytest.param(600, b"", Evidence.UNCERTAIN, id="600"),
        pytest.param(101, b"", Evidence.UNCERTAIN, id="101"),
        pytest.param(300, {}, Evidence.MISCONFIGURED, id="300"),
        pytest.param(301, HTML, Evidence.MISCONFIGURED, id="301"),
        pytest.param(304, b"", Evidence.MISCONFIGURED, id="304"),
        pytest.param(307, {"message": "moved"}, Evidence.MISCONFIGURED, id="307"),
        pytest.param(399, {}, Evidence.MISCONFIGURED, id="399"),
    ],
)
def test_status_is_weighed_where_the_body_proves_nothing(
    status: int, body: Any, proof: Evidence
) -> None:
    """Each status without a run's marks stands in one row of the table, for every request."""
    assert {evidence(request, status, body) for request in (EXECUTE, RERUN, LOOK)} == {proof}


@pytest.mark.parametrize(
    ("body", "proof"),
    [
        pytest.param(
            {
                "status_code": 503,
                "http_error_type": "SERVICE_UNAVAILABLE",
                "error_code": "BUSY",
                "message": "Overloaded, try later",
                "request_id": "r",
            },
            Evidence.REJECTED,
            id="envelope",
        ),
        pytest.param(BUSY | {"error": "SERVER_ERROR"}, Evidence.REJECTED, id="error"),
        pytest.param(BUSY | {"error_code": "BUSY"}, Evidence.REJECTED, id="code"),
        pytest.param(BUSY | {"http_error_type": "BUSY"}, Evidence.REJECTED, id="type"),
        pytest.param(BUSY | {"status_code": 503}, Evidence.REJECTED, id="status"),
        pytest.param(BUSY | {"status_code": None}, Evidence.UNCERTAIN, id="no status"),
        pytest.param(BUSY, Evidence.UNCERTAIN, id="message alone"),
        pytest.param({"message": "Service Unavailable"}, Evidence.UNCERTAIN, id="gateway"),
        pytest.param(BUSY | {"request_id": "r"}, Evidence.UNCERTAIN, id="with a request id"),
        pytest.param(
            {"message": "upstream connect error", "code": 503}, Evidence.UNCERTAIN, id="with a code"
        ),
        pytest.param({"error": "upstream timed out"}, Evidence.UNCERTAIN, id="error alone"),
        pytest.param(BUSY | {"error": {"code": 503}}, Evidence.UNCERTAIN, id="nested error"),
        pytest.param(
            {"message": {"text": "no"}, "status_code": 503}, Evidence.UNCERTAIN, id="odd message"
        ),
        pytest.param({"status_code": 503, "error_code": "BUSY"}, Evidence.UNCERTAIN, id="no words"),
        pytest.param({}, Evidence.UNCERTAIN, id="empty-object"),
        pytest.param({"status": "down"}, Evidence.UNCERTAIN, id="unknown-object"),
        pytest.param(["message"], Evidence.UNCERTAIN, id="list"),
        pytest.param("message", Evidence.UNCERTAIN, id="string"),
        pytest.param(HTML, Evidence.UNCERTAIN, id="html"),
        pytest.param(b"", Evidence.UNCERTAIN, id="empty"),
    ],
)
def test_overload_is_a_refusal_only_in_the_services_own_words(body: Any, proof: Evidence) -> None:
    """A gateway answers 503 by itself, too, while the run goes on behind it."""
    assert evidence(EXECUTE, 503, body) is proof


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"status": "success", "id": "new"}, id="id"),
        pytest.param({"message": "Execution queued", "instanceId": "new"}, id="instance-id"),
        pytest.param({"execution_id": "new"}, id="execution-id"),
    ],
)
def test_both_shapes_of_a_rerun_are_accepted(body: Any) -> None:
    """The documentation shows two shapes; a third is that of execute."""
    assert evidence(RERUN, 200, body) is Evidence.ACCEPTED


def test_id_in_a_reruns_error_is_no_run() -> None:
    """An error may carry an `id` of its own, so that one counts in a 2xx only."""
    assert evidence(RERUN, 400, {"id": "err-1", "message": "no"}) is Evidence.REFUSED
    assert evidence(RERUN, 500, {"id": "err-1", "message": "no"}) is Evidence.UNCERTAIN
    assert evidence(RERUN, 500, {"instanceId": "new"}) is Evidence.ACCEPTED


def test_a_reruns_error_may_name_the_run_that_was_to_be_repeated() -> None:
    """The old run's id is no proof of a new one."""
    old = {"execution_id": RERUN.execution_id, "message": "Execution not found"}
    assert evidence(RERUN, 404, old) is Evidence.REFUSED


@pytest.mark.parametrize("request_", [LOOK, LIST, STOP], ids=["look", "list", "stop"])
def test_other_requests_are_answered_by_any_object_in_a_success(request_: Request) -> None:
    """A GET is answered by a 2xx with a JSON object, and by nothing else."""
    assert evidence(request_, 200, {"docs": []}) is Evidence.ACCEPTED
    assert evidence(request_, 200, []) is Evidence.UNCERTAIN
    assert evidence(request_, 200, HTML) is Evidence.UNCERTAIN
    assert evidence(request_, 404, {"execution_id": RUN}) is Evidence.REFUSED
    assert evidence(request_, 500, {"return_value": 1}) is Evidence.UNCERTAIN


def test_enabled_workflows_are_a_plain_array() -> None:
    """This one list comes without an envelope."""
    assert evidence(ENABLED, 200, []) is Evidence.ACCEPTED
    assert evidence(ENABLED, 200, {"docs": []}) is Evidence.UNCERTAIN
    assert evidence(ENABLED, 403, []) is Evidence.REFUSED


PROOF = json.dumps({"execution_id": RUN})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_read_in_any_unicode_encoding(encoding: str) -> None:
    """A byte order mark or a wide encoding does not hide a run."""
    assert evidence(EXECUTE, 200, PROOF.encode(encoding)) is Evidence.ACCEPTED


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"message": "é"}'.encode("latin-1"), id="latin-1"),
        pytest.param(b"\x80\x81\x82", id="bytes"),
        pytest.param(b'{"a": ' * 100_000, id="deep-object"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="deep-list"),
        pytest.param(b'{"a": ' + b"1" * 5000 + b"}", id="long-number"),
        pytest.param(PROOF.encode() * 2, id="two-documents"),
        pytest.param(PROOF[:-1].encode(), id="cut-off"),
        pytest.param(b"\x1f\x8b\x08\x00", id="gzip"),
    ],
)
def test_unreadable_body_is_uncertain_and_no_crash(body: bytes) -> None:
    """Whatever can't be parsed proves nothing, and raises nothing."""
    answer = judge(EXECUTE, reply(200, body))
    assert (answer.evidence, answer.document) == (Evidence.UNCERTAIN, None)
    assert "no JSON" in str(answer.error)


@pytest.mark.parametrize("depth", [50, 300, 900, 950, 970, 980, 990, 1000, 5000])
def test_nested_message_of_any_depth_is_no_crash(depth: int) -> None:
    """What the parser just bears, the error message must bear as well."""
    body = b'{"message": ' + b"[" * depth + b"]" * depth + b"}"
    assert evidence(EXECUTE, 400, body) is Evidence.REFUSED

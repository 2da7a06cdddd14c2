"""Which 503 is the service's refusal, and which reply proves a run: in documents of any content."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold_async import ExecutionStatus
from refold_async._protocol import Evidence, judge, read_started
from tests.support.making import execute, reply

pytestmark = pytest.mark.long

RUN = "6a314c54d4616e99e7fa5a02"
MARKS = ("return_value", "errored", "execution_error", "executed_by_thanos")
OWN_TEXTS = ("http_error_type", "error_code", "error")
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below),
    max_leaves=5,
)
FOREIGN = st.sampled_from(["code", "request_id", "status", "detail", "timestamp", "path", "x"])
OTHERS = st.dictionaries(FOREIGN, ANY)
OWN = st.fixed_dictionaries(
    {"message": st.text()}, optional={name: st.text() for name in OWN_TEXTS}
) | st.fixed_dictionaries({"message": st.text(), "status_code": st.integers(400, 599)})
NOT_TEXT = ANY.filter(lambda value: not isinstance(value, str))


def evidence(status: int, document: Any, *, sync: bool = False) -> Evidence:
    """Give what a reply to a start proves."""
    return judge(execute(sync=sync), reply(status, json.dumps(document).encode())).evidence


@given(own=OWN, others=OTHERS)
def test_the_services_own_envelope_is_a_refusal(own: dict[str, Any], others: Any) -> None:
    """Whatever else it carries."""
    is_own = len(own) > 1
    assert (evidence(503, others | own) is Evidence.REJECTED) is is_own


@given(others=OTHERS, odd=st.dictionaries(st.sampled_from(OWN_TEXTS), NOT_TEXT), words=st.text())
def test_fields_of_another_kind_make_no_envelope(others: Any, odd: Any, words: str) -> None:
    """A nested error, a code that is a number, nothing at all: somebody else wrote it."""
    assert evidence(503, others | odd | {"message": words}) is Evidence.UNCERTAIN


@given(document=st.dictionaries(FOREIGN | st.sampled_from(OWN_TEXTS), ANY), odd=NOT_TEXT)
def test_without_words_there_is_no_envelope(document: Any, odd: Any) -> None:
    """The service always says something."""
    assert evidence(503, document) is Evidence.UNCERTAIN
    assert evidence(503, document | {"message": odd}) is Evidence.UNCERTAIN


@given(
    status=st.integers(200, 599),
    mark=st.sampled_from(MARKS),
    value=ANY,
    own=OWN | OTHERS,
    sync=st.booleans(),
)
def test_a_runs_mark_proves_it_whatever_the_status(
    status: int, mark: str, value: Any, own: Any, sync: bool
) -> None:
    """Even in the envelope of an error."""
    assert evidence(status, own | {mark: value}, sync=sync) is Evidence.ACCEPTED


ERRORS = st.none() | st.text() | st.dictionaries(st.text(max_size=5), ANY, max_size=3)


@given(
    status=st.integers(200, 599),
    code=st.none() | st.integers(100, 599),
    error=ERRORS,
    errored=st.none() | st.booleans(),
    output=ANY,
)
def test_a_sync_answer_is_read_whatever_its_error_is(
    status: int, code: int | None, error: Any, errored: bool | None, output: Any
) -> None:
    """`execution_error` is null, text or an object; `status_code` may be null."""
    document = {
        "execution_id": RUN,
        "return_value": output,
        "status_code": code,
        "execution_error": error,
    }
    if errored is not None:
        document["errored"] = errored
    request = execute(sync=True)
    started = read_started(judge(request, reply(status, json.dumps(document).encode())), request)
    assert started.result is not None
    failed = errored is True or (errored is None and bool(error))
    expected = ExecutionStatus.ERRORED if failed else ExecutionStatus.COMPLETED
    assert (started.result.status, started.result.error) == (expected, error)
    assert started.result.status_code == (status if code is None else code)

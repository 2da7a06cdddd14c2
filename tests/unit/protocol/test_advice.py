"""What an error says to do: only where the cause is known, and of the right thing."""

from __future__ import annotations

import copy
import pickle

import pytest

from refold_async import RefoldError, ServerError, UnexpectedReplyError
from refold_async._errors import api_error_class
from refold_async._protocol import (
    Request,
    explained,
    list_executions_request,
    request_structure_request,
    stop_request,
)
from tests.support.making import EXECUTE, LOOK, RERUN, RUN

STOP = stop_request(RUN, account="acct_1")
LIST = list_executions_request(account="acct_1", query={})
STRUCTURE = request_structure_request("wf_1", account="acct_1")
KEY = "the test API key given as api_key"


def told(status: int, request: Request = EXECUTE) -> RefoldError:
    """Explain a refusal."""
    error = api_error_class(status)("no", status=status, request_id="req-1")
    return explained(error, request, credential=KEY)


@pytest.mark.parametrize(
    ("status", "request_", "words"),
    [
        pytest.param(401, EXECUTE, f"Check {KEY}: mistyped, expired or revoked", id="401"),
        pytest.param(401, LOOK, f"Check {KEY}: mistyped, expired or revoked", id="401-read"),
        pytest.param(403, LOOK, f"Check that {KEY} may do this", id="403"),
        pytest.param(400, EXECUTE, "the workflow is published", id="400"),
        pytest.param(422, EXECUTE, "that slug is its application", id="422"),
        pytest.param(404, LOOK, "the run belongs to this linked account", id="404-run"),
        pytest.param(404, RERUN, f"environment (test or production) of {KEY}", id="404-rerun"),
        pytest.param(404, EXECUTE, "the workflow belongs to this linked account", id="404-start"),
        pytest.param(404, STRUCTURE, "the workflow belongs to this", id="404-structure"),
        pytest.param(400, STOP, "one that has ended needs no stop", id="400-stop"),
        pytest.param(409, STOP, "read its status", id="409-stop"),
        pytest.param(429, LOOK, "lower rate_limit", id="429"),
        pytest.param(503, LOOK, "lower rate_limit", id="503"),
    ],
)
def test_known_cause_brings_advice(status: int, request_: Request, words: str) -> None:
    """One sentence that names what to check, at the end of the message."""
    error = told(status, request_)
    assert words in (error.advice or "")
    assert str(error) == f"{error.describe()}. {error.advice}"
    assert len(str(error)) < 600


@pytest.mark.parametrize(
    ("status", "request_"), [(400, LOOK), (404, LIST), (409, EXECUTE), (418, EXECUTE), (500, LOOK)]
)
def test_unknown_cause_brings_none(status: int, request_: Request) -> None:
    """A guess would send people the wrong way."""
    assert told(status, request_).advice is None


def test_advice_of_the_cause_stays() -> None:
    """What was said where the reply was read is not said over."""
    error = UnexpectedReplyError("HTTP 302").about(advice="Correct base_url.")
    assert explained(error, LOOK, credential=KEY).advice == "Correct base_url."


@pytest.mark.parametrize(
    ("request_", "names"),
    [
        pytest.param(EXECUTE, ("execute", None, "wf_1", "hubspot", None), id="execute"),
        pytest.param(LOOK, ("get_execution", RUN, None, None, "acct_1"), id="look"),
        pytest.param(RERUN, ("rerun", RUN, None, None, "acct_1"), id="rerun"),
        pytest.param(LIST, ("list_executions", None, None, None, "acct_1"), id="list"),
        pytest.param(
            STRUCTURE, ("request_structure", None, "wf_1", None, "acct_1"), id="structure"
        ),
    ],
)
def test_error_says_whose_call_it_ended(request_: Request, names: tuple[str | None, ...]) -> None:
    """Operation, run or workflow and slug, and account are attributes, and in the message."""
    error = told(500, request_)
    known = (
        error.operation,
        error.execution_id,
        error.workflow_id,
        error.slug,
        error.linked_account_id,
    )
    assert known == names
    assert all(name in str(error) for name in names if name is not None)
    assert (error.request_id, "request_id=req-1" in str(error)) == ("req-1", True)


def test_shared_failure_is_told_to_each_call_in_its_own_words() -> None:
    """Calls that wait for one thing fail with one error: what one is told is not another's."""
    shared = RefoldError("no token")
    one = explained(shared, EXECUTE, credential=KEY)
    other = explained(shared, LOOK, credential=KEY)
    assert (one.operation, other.operation, shared.operation) == ("execute", "get_execution", None)


def test_explained_error_survives_pickling_and_copying() -> None:
    """Whose call it was and what to do travel with it."""
    error = told(401)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert (str(twin), vars(twin)) == (str(error), vars(error))


def test_explained_error_keeps_its_cause_and_drops_its_frames() -> None:
    """Frames of the inside show what was sent, the key too."""
    cause = OSError("reset")
    error = ServerError("down", status=500)
    with pytest.raises(ServerError) as caught:
        raise error from cause
    told_again = explained(caught.value, LOOK, credential=KEY)
    assert told_again.__cause__ is cause
    assert told_again.__traceback__ is None

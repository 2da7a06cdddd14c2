"""The exception tree: its shape, its messages, and that it survives being pickled and copied."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

import pytest

import refold_async
from refold_async import _errors as errors
from refold_async import _models as models
from refold_async._models import Execution, ExecutionResult, ExecutionStatus, NodeRun

TREE: dict[str, tuple[type[Exception], ...]] = {
    "RefoldError": (Exception,),
    "ConfigError": (errors.RefoldError, ValueError),
    "PayloadError": (errors.ConfigError,),
    "ClientClosedError": (errors.RefoldError,),
    "TransportError": (errors.RefoldError,),
    "ConnectionFailedError": (errors.TransportError,),
    "RequestTimeoutError": (errors.TransportError, TimeoutError),
    "UnexpectedReplyError": (errors.TransportError,),
    "ApiError": (errors.RefoldError,),
    "BadRequestError": (errors.ApiError,),
    "AuthenticationError": (errors.ApiError,),
    "PermissionDeniedError": (errors.ApiError,),
    "NotFoundError": (errors.ApiError,),
    "ConflictError": (errors.ApiError,),
    "RateLimitError": (errors.ApiError,),
    "ServerError": (errors.ApiError,),
    "ExecutionOutcomeUnknownError": (errors.RefoldError,),
    "ExecutionError": (errors.RefoldError,),
    "ExecutionFailedError": (models.ExecutionError,),
    "ExecutionStoppedError": (models.ExecutionError,),
    "ExecutionTimedOutError": (models.ExecutionError,),
    "ExecutionTerminatedError": (models.ExecutionError,),
    "OutputError": (errors.RefoldError,),
    "WaitTimeoutError": (errors.RefoldError, TimeoutError),
    "SharedStateError": (errors.RefoldError,),
    "NotSentError": (errors.RefoldError,),
    "JournalError": (errors.RefoldError,),
    "WebhookSignatureError": (errors.RefoldError,),
    "WebhookBodyError": (errors.RefoldError, ValueError),
}

NODE = NodeRun(node_id="n1", name="Create contact", status="Errored")
DOCUMENT = Execution(execution_id="e1", status=ExecutionStatus("HOVERING"), nodes=(NODE,))
RESULT = ExecutionResult(execution_id="e1", status=ExecutionStatus.ERRORED, output={"a": [1]})


def _api_error(cls: type[errors.ApiError], status: int) -> errors.ApiError:
    return cls(
        "no",
        status=status,
        error="SERVER_ERROR",
        error_code="RESOURCE_NOT_FOUND",
        request_id="req-1",
        body={"message": "no", "list": [1, None]},
        retry_after=2.5,
    ).about(
        operation="execute",
        workflow_id="wf_1",
        slug="hubspot",
        linked_account_id="acct_1",
        advice="Do something.",
    )


def _ending(cls: type[models.ExecutionError]) -> models.ExecutionError:
    return cls("ended badly", result=RESULT, failed_node=NODE)


SAMPLES = [
    errors.RefoldError("base"),
    errors.ConfigError("wrong", field="slug"),
    errors.PayloadError("is NaN", path="$.a[0]"),
    errors.ClientClosedError("closed", execution_id="e1"),
    errors.TransportError("lost", sent=False),
    errors.ConnectionFailedError("refused", sent=True),
    errors.RequestTimeoutError("late", sent=False),
    errors.UnexpectedReplyError("HTML", sent=False, status=502),
    _api_error(errors.ApiError, 418),
    _api_error(errors.BadRequestError, 422),
    _api_error(errors.AuthenticationError, 401),
    _api_error(errors.PermissionDeniedError, 403),
    _api_error(errors.NotFoundError, 404),
    _api_error(errors.ConflictError, 409),
    _api_error(errors.RateLimitError, 429),
    _api_error(errors.ServerError, 503),
    errors.ExecutionOutcomeUnknownError(
        "who knows", instance_tag="rfa-1", workflow_id="wf_1", execution_id="e1", attempts=3
    ),
    _ending(models.ExecutionError),
    _ending(models.ExecutionFailedError),
    _ending(models.ExecutionStoppedError),
    _ending(models.ExecutionTimedOutError),
    _ending(models.ExecutionTerminatedError),
    models.OutputError("does not fit", result=RESULT, path="$.items[0]"),
    models.WaitTimeoutError(
        "waited",
        execution_id="e1",
        last_status=DOCUMENT.status,
        snapshot=DOCUMENT,
        waited=1.5,
        node=NODE,
        node_age=1.0,
        completion_percentage=40.0,
        look_age=0.5,
        failed_looks=2,
        last_error="ServerError: down",
        reattach="await refold.handle('e1')",
    ),
    errors.SharedStateError("Redis does not answer (TimeoutError)"),
    errors.NotSentError("not sent: 3 items failed"),
    errors.JournalError("/data/run.sqlite", "it is corrupt", "keep it for a look by hand"),
    errors.WebhookSignatureError("wrong"),
    errors.WebhookBodyError("is not JSON"),
]
EACH = pytest.mark.parametrize(
    "error", [pytest.param(sample, id=type(sample).__name__) for sample in SAMPLES]
)


def _defined() -> dict[str, type[Exception]]:
    found = inspect.getmembers(refold_async, inspect.isclass)
    return {name: cls for name, cls in found if issubclass(cls, Exception)}


def test_tree_is_the_documented_one() -> None:
    """Every class has exactly the bases the design gives it, and there is no other class."""
    assert {name: cls.__bases__ for name, cls in _defined().items()} == TREE


def test_tree_is_drawn_in_the_docstring() -> None:
    """The drawing at the head of the module names every class, in the order of the source."""
    drawn = re.findall(r"^ +(?:[│├└─ ]+ )?(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    assert drawn == list(TREE)


def test_every_class_is_public() -> None:
    """All errors can be imported from the package."""
    defined = [*vars(errors).values(), *vars(models).values()]
    classes = {c for c in defined if inspect.isclass(c) and issubclass(c, errors.RefoldError)}
    assert classes <= {*_defined().values()}


def test_samples_cover_the_tree() -> None:
    """The tests below look at an instance of every class."""
    assert [type(sample).__name__ for sample in SAMPLES] == list(TREE)


def _told(error: BaseException) -> tuple[Any, ...]:
    return type(error), str(error), error.args, vars(error)


@EACH
def test_error_survives_pickling(error: errors.RefoldError) -> None:
    """A pickled error comes back with its class, message and attributes."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert _told(pickle.loads(pickle.dumps(error, protocol))) == _told(error)  # noqa: S301


@EACH
def test_error_can_be_copied(error: errors.RefoldError) -> None:
    """A copy, of any kind, is another object that tells the same."""
    for twin in (copy.copy(error), copy.deepcopy(error), error.fresh()):
        assert twin is not error
        assert _told(twin) == _told(error)


def test_fresh_copy_keeps_the_cause_and_not_the_traceback() -> None:
    """Each awaiter raises a traceback of its own, and still sees why."""
    cause = OSError("reset")
    error = errors.TransportError("lost")
    with pytest.raises(errors.TransportError):
        raise error from cause
    assert error.fresh().__cause__ is cause
    assert error.fresh().__traceback__ is None


def test_notes_are_copied() -> None:
    """A note a caller added travels with the copy."""
    error = errors.RefoldError("lost")
    error.add_note("in batch 7")
    assert error.fresh().__notes__ == ["in batch 7"]


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        pytest.param(errors.ConfigError("x"), ValueError, id="config"),
        pytest.param(errors.PayloadError("x"), ValueError, id="payload"),
        pytest.param(errors.RequestTimeoutError("x"), TimeoutError, id="request"),
        pytest.param(models.WaitTimeoutError("x"), TimeoutError, id="wait"),
    ],
)
def test_builtin_handlers_catch_ours(error: Exception, builtin: type[Exception]) -> None:
    """Code that knows only the built-in classes catches these."""
    with pytest.raises(builtin) as caught:
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (402, errors.ApiError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (418, errors.ApiError),
        (422, errors.BadRequestError),
        (429, errors.RateLimitError),
        (499, errors.ApiError),
        (500, errors.ServerError),
        (501, errors.ServerError),
        (503, errors.ServerError),
        (599, errors.ServerError),
    ],
)
def test_status_chooses_the_class(status: int, cls: type[errors.ApiError]) -> None:
    """Each status has one class."""
    assert errors.api_error_class(status) is cls


def test_config_error_names_the_field() -> None:
    """The message begins with the field at fault."""
    assert str(errors.ConfigError("is wrong", field="slug")) == "slug: is wrong"
    assert str(errors.ConfigError("is wrong")) == "is wrong"


def test_payload_error_names_the_place() -> None:
    """The message says where in the payload the fault is."""
    assert str(errors.PayloadError("is NaN", path="$.a[0]")) == "payload: is NaN (at $.a[0])"


def test_connection_failed_was_not_sent() -> None:
    """Without a connection nothing left; any other lost answer counts as sent."""
    assert errors.ConnectionFailedError("x").sent is False
    assert errors.TransportError("x").sent is True


def test_message_holds_what_helps() -> None:
    """What went wrong, whose call it was and what to do stand in one line."""
    error = _api_error(errors.RateLimitError, 429)
    assert error.describe() == (
        "execute: HTTP 429, no, retry after 2.5 s, SERVER_ERROR"
        " (workflow_id=wf_1, slug=hubspot, linked_account_id=acct_1, request_id=req-1)"
    )
    assert str(error) == f"{error.describe()}. Do something."
    assert repr(error) == f"RateLimitError({error.describe()!r})"


def test_message_leaves_out_what_is_missing() -> None:
    """An error that repeats the message is not said twice, nor an id the message names."""
    assert str(errors.ApiError("no", status=400, error="no")) == "HTTP 400, no"
    error = errors.RefoldError("execution 6a31 is gone").about(operation="stop", slug="gone")
    assert str(error.about(execution_id="6a31")) == "stop: execution 6a31 is gone (slug=gone)"


def test_what_is_known_of_an_error_stays() -> None:
    """Whoever stands nearest to the cause has said it first, and best."""
    error = errors.RefoldError("lost").about(operation="stop", advice=None)
    assert error.about(operation="execute", advice="Wait.").operation == "stop"
    assert error.advice == "Wait."


def test_advice_follows_a_full_stop() -> None:
    """However the message ends, the advice is a sentence of its own."""
    for message in ("It is lost", "It is lost."):
        assert str(errors.RefoldError(message).about(advice="Look.")) == "It is lost. Look."
    assert str(errors.RefoldError()) == ""


def test_message_is_short_whatever_the_service_says() -> None:
    """A monstrous answer is one line of a log; the attributes have more."""
    error = errors.ServerError(
        "m" * 500, status=503, error="e" * 500, request_id="r" * 500, retry_after=7
    ).about(operation="request_structure", execution_id="x" * 24, slug="s" * 1_000)
    assert len(error.describe()) < 700
    error = errors.ServerError("m" * 500, status=503, error="e" * 500, request_id="r" * 36)
    error.about(
        operation="execute", workflow_id="w" * 24, slug="hubspot", linked_account_id="a" * 24
    )
    assert len(error.describe()) < 480


@pytest.mark.parametrize(
    ("text", "clipped"),
    [
        pytest.param("plain é", "plain é", id="plain"),
        pytest.param("a\r\nb\x1b[2J\x00", "a\\r\\nb\\x1b[2J\\x00", id="control"),
        pytest.param("\u202e\ud800", "\\u202e\\ud800", id="bidi-and-surrogate"),
        pytest.param({"a": 1}, "{'a': 1}", id="object"),
        pytest.param("x" * 500, "x" * 500, id="500"),
        pytest.param("x" * 501, "x" * 500 + "... (501 characters)", id="501"),
    ],
)
def test_remote_text_is_clipped_and_escaped(text: object, clipped: str) -> None:
    """Remote text can't flood a log, nor write to a terminal."""
    assert errors.clip(text) == clipped

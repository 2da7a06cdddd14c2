"""Every failure the SDK raises, in one tree.

::

    RefoldError
    ├── ConfigError (ValueError)             wrong settings or arguments, before any I/O
    │   └── PayloadError                     a payload that can't be sent
    ├── ClientClosedError                    used after close, from another loop, after fork
    ├── TransportError                       no usable answer
    │   ├── ConnectionFailedError            never sent
    │   ├── RequestTimeoutError (TimeoutError)
    │   └── UnexpectedReplyError             redirect, HTML, truncated, oversized, not JSON
    ├── ApiError                             the service refused
    │   ├── BadRequestError                  400, 422
    │   ├── AuthenticationError              401
    │   ├── PermissionDeniedError            403
    │   ├── NotFoundError                    404
    │   ├── ConflictError                    409
    │   ├── RateLimitError                   429
    │   └── ServerError                      5xx
    ├── ExecutionOutcomeUnknownError         the run may or may not have started
    ├── ExecutionError                       the run ended badly
    │   ├── ExecutionFailedError
    │   ├── ExecutionStoppedError
    │   ├── ExecutionTimedOutError
    │   └── ExecutionTerminatedError
    ├── WaitTimeoutError (TimeoutError)      the wait ended, the run goes on
    ├── JournalError                         a batch's journal can't be used
    ├── WebhookSignatureError                what was delivered is not signed with the key
    └── WebhookBodyError (ValueError)        it is signed, and no event

All of them can be pickled and copied, and none carries a secret.
"""

from __future__ import annotations

from typing import Any, Self

MAX_REMOTE_TEXT = 500
"""Characters of remote text that reach a message or a log line."""


def clip(text: object, limit: int = MAX_REMOTE_TEXT) -> str:
    """Make remote text fit for a message: cut, and with control characters escaped."""
    whole = str(text)
    cut = whole[:limit]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return safe if len(whole) <= limit else f"{safe}... ({len(whole)} characters)"


def _restore(cls: type[RefoldError], args: tuple[Any, ...], state: dict[str, Any]) -> RefoldError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class RefoldError(Exception):
    """Base of everything this SDK raises.

    Attributes:
        execution_id: the run the failure is about, if one is known: it exists all the same.
    """

    execution_id: str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls cls(*args), which loses keyword-only arguments.
        return _restore, (type(self), self.args, self.__dict__.copy())

    def fresh(self) -> Self:
        """Copy the error, so that each of several awaiters raises a traceback of its own."""
        copy = _restore(type(self), self.args, self.__dict__.copy())
        copy.__cause__ = self.__cause__
        return copy  # type: ignore[return-value]


class ConfigError(RefoldError, ValueError):
    """A setting or an argument is wrong; raised before any I/O.

    Attributes:
        field: name of the argument, setting or environment variable at fault.
    """

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message if field is None else f"{field}: {message}")
        self.field = field


class PayloadError(ConfigError):
    """A payload that can't be sent as JSON, or is too large.

    Attributes:
        path: JSON path of the value at fault, as `$.items[3].price`.
    """

    def __init__(self, message: str, *, path: str = "$", field: str = "payload") -> None:
        super().__init__(f"{message} (at {path})", field=field)
        self.path = path


class ClientClosedError(RefoldError):
    """The client is closed, or used where it can't be: another loop, a forked child.

    Attributes:
        execution_id: the run that was waited for, if any; it goes on.
    """

    def __init__(self, message: str, *, execution_id: str | None = None) -> None:
        super().__init__(message)
        self.execution_id = execution_id


class TransportError(RefoldError):
    """No usable answer came back.

    Attributes:
        sent: whether bytes of the request may have reached the service.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class ConnectionFailedError(TransportError):
    """No connection could be made; nothing was sent."""

    def __init__(self, message: str, *, sent: bool = False) -> None:
        super().__init__(message, sent=sent)


class RequestTimeoutError(TransportError, TimeoutError):
    """A request was not answered in time (`.sent` says whether it left)."""


class UnexpectedReplyError(TransportError):
    """A reply that is no answer: redirect, HTML, truncated, oversized, not JSON.

    Attributes:
        status: the HTTP status, if one was read.
    """

    def __init__(self, message: str, *, sent: bool = True, status: int | None = None) -> None:
        super().__init__(message, sent=sent)
        self.status = status


class ApiError(RefoldError):
    """The service answered with an error.

    Attributes:
        status: HTTP status.
        message: `message` of the answer, cut to 500 characters.
        error: `error` of the answer (a name, or the execute endpoint's detail).
        error_code: `error_code` of the answer.
        request_id: `request_id` of the answer; quote it to Refold's support.
        body: the JSON document, or the beginning of the text that came instead.
        retry_after: seconds the service asked to wait, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        error: str | None = None,
        error_code: str | None = None,
        request_id: str | None = None,
        body: Any = None,
        retry_after: float | None = None,
        operation: str | None = None,
    ) -> None:
        words = [f"{operation}: HTTP {status}" if operation else f"HTTP {status}", message]
        if error and error != message:
            words.append(error)
        if retry_after is not None:
            words.append(f"retry after {retry_after:g} s")
        if request_id:
            words.append(f"request_id={request_id}")
        super().__init__(", ".join(word for word in words if word))
        self.status = status
        self.message = message
        self.error = error
        self.error_code = error_code
        self.request_id = request_id
        self.body = body
        self.retry_after = retry_after


class BadRequestError(ApiError):
    """400 or 422: the request itself is wrong (slug, unpublished workflow, payload schema)."""


class AuthenticationError(ApiError):
    """401: the API key or session token is not accepted."""


class PermissionDeniedError(ApiError):
    """403: the credential may not do this."""


class NotFoundError(ApiError):
    """404: no such execution or workflow for this linked account."""


class ConflictError(ApiError):
    """409: the request contradicts the state of the service."""


class RateLimitError(ApiError):
    """429: too many requests; `.retry_after` says for how long, if the service did."""


class ServerError(ApiError):
    """5xx: the service failed or sheds load."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: BadRequestError,
    429: RateLimitError,
}


def api_error_class(status: int) -> type[ApiError]:
    """Choose the class of an HTTP status."""
    return _BY_STATUS.get(status, ServerError if status >= 500 else ApiError)  # noqa: PLR2004


class ExecutionOutcomeUnknownError(RefoldError):
    """The run may or may not have started, and sending again could start it twice.

    Attributes:
        instance_tag: the label the run carries, if it exists.
        workflow_id: the workflow, if known.
        execution_id: the execution that was to be run again (None for an execute).
        attempts: how many times the request was tried.
    """

    def __init__(
        self,
        message: str,
        *,
        instance_tag: str | None = None,
        workflow_id: str | None = None,
        execution_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.instance_tag = instance_tag
        self.workflow_id = workflow_id
        self.execution_id = execution_id
        self.attempts = attempts


class ExecutionError(RefoldError):
    """The run ended badly.

    Attributes:
        result: the `ExecutionResult`, with what is known about the run.
        execution_id: the run.
        failed_node: the `NodeRun` that failed, if the document names one.
    """

    def __init__(
        self,
        message: str,
        *,
        result: Any = None,
        execution_id: str | None = None,
        failed_node: Any = None,
    ) -> None:
        super().__init__(message)
        self.result = result
        self.execution_id = execution_id
        self.failed_node = failed_node


class ExecutionFailedError(ExecutionError):
    """The run ended ERRORED."""


class ExecutionStoppedError(ExecutionError):
    """Somebody stopped the run."""


class ExecutionTimedOutError(ExecutionError):
    """The service ended the run because it took too long."""


class ExecutionTerminatedError(ExecutionError):
    """The service terminated the run."""


class WaitTimeoutError(RefoldError, TimeoutError):
    """The wait ended, the run goes on, and the handle stays usable.

    Attributes:
        execution_id: the run.
        last_status: the last status seen, or None if no look has succeeded.
        snapshot: the last `Execution` document seen, or None.
        waited: seconds this wait took.
        node: the `NodeRun` it stood at, or None; `node.attempts` of `node.max_attempts` tries.
        node_age: seconds since a look first saw it there, or None; documents don't tell more.
        completion_percentage: 0 to 100 as last seen, or None.
        look_age: seconds since the last look that succeeded, or None if none has.
        failed_looks: looks that have failed since then.
        last_error: what the last of them failed with, or None.
        reattach: the line of code that waits for it again, in any process.
    """

    def __init__(
        self,
        message: str,
        *,
        execution_id: str | None = None,
        last_status: Any = None,
        snapshot: Any = None,
        waited: float = 0.0,
        node: Any = None,
        node_age: float | None = None,
        completion_percentage: float | None = None,
        look_age: float | None = None,
        failed_looks: int = 0,
        last_error: str | None = None,
        reattach: str | None = None,
    ) -> None:
        super().__init__(message)
        self.execution_id = execution_id
        self.last_status = last_status
        self.snapshot = snapshot
        self.waited = waited
        self.node = node
        self.node_age = node_age
        self.completion_percentage = completion_percentage
        self.look_age = look_age
        self.failed_looks = failed_looks
        self.last_error = last_error
        self.reattach = reattach


class JournalError(RefoldError):
    """The journal of a batch can't be used; nothing in it was overwritten.

    Attributes:
        path: the file.
        problem: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(f"journal {path}: {problem}; {remedy}")
        self.path = path
        self.problem = problem
        self.remedy = remedy


class WebhookSignatureError(RefoldError):
    """What was delivered to a webhook is not signed with the key.

    Attributes:
        reason: `missing`, `malformed` (not 64 hex digits) or `wrong` (another key, or another
            body). The expected value is never told.
    """

    def __init__(self, reason: str) -> None:
        said = {
            "missing": "x-cobalt-signature is missing: this did not come from the service",
            "malformed": "x-cobalt-signature is not 64 hex digits",
            "wrong": "x-cobalt-signature does not match: signed with another key, or the body is"
            " not the raw one as it was received",
        }
        super().__init__(said[reason])
        self.reason = reason


class WebhookBodyError(RefoldError, ValueError):
    """What was delivered to a webhook is signed, and no event this SDK can read."""

    def __init__(self, message: str) -> None:
        super().__init__(f"the webhook's body {message}")

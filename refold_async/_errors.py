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
    ├── OutputError                          the run went well, its output does not fit its type
    ├── WaitTimeoutError (TimeoutError)      the wait ended, the run goes on
    ├── SharedStateError                     Redis is away, or can't be used; nothing was sent
    ├── NotSentError                         the batch was stopped before this item left
    ├── JournalError                         a batch's journal can't be used
    ├── WebhookSignatureError                what was delivered is not signed with the key
    └── WebhookBodyError (ValueError)        it is signed, and no event

All of them can be pickled and copied, and none carries a secret. What `docs/how-to/errors.md` says
of each is its "when", what is then known about the run, and what to do.

`ExecutionError`, its kinds, `OutputError` and `WaitTimeoutError` carry runs and results, typed as
such: they stand beside those values, in `_models/endings.py`, since this module is below everything
else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_REMOTE_TEXT = 500
"""Characters of remote text that reach a message or a log line."""


def clip(text: object, limit: int = MAX_REMOTE_TEXT) -> str:
    """Make remote text fit for a message: cut, and with control characters escaped."""
    whole = str(text)
    cut = whole[:limit]
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
    return safe if len(whole) <= limit else f"{safe}... ({len(whole)} characters)"


_WORDS = 430
"""Characters of `describe()`, if what it is about leaves room: with its advice a line of a log."""
_LEAST = 200
"""Characters of the message itself that are told in any case."""
_CONTEXT = ("execution_id", "workflow_id", "slug", "linked_account_id", "request_id")
_SAID = 150
"""Characters of each of the service's own words in a message; the attributes have more."""
_SHORT = {"slug", "linked_account_id"}
_NAME = 130
"""Characters of a name in a message: no id is longer."""


class RefoldError(Exception):
    """Base of everything this SDK raises.

    `str(error)` says what went wrong, whose call it was, and what to do where that is known; the
    attributes say the same one by one.

    Attributes:
        operation: the call that failed (`execute`, `get_execution`, ...), or None if it was none.
        execution_id: the run the failure is about, if one is known: it exists all the same.
        workflow_id: the workflow (or alias) it is about, if known.
        slug: the application it was to be started with, if known.
        linked_account_id: for whom the call was made, if known.
        request_id: the service's own name of the request; quote it to Refold's support.
        advice: what to do about it, in a sentence or two, or None.
    """

    operation: str | None = None
    execution_id: str | None = None
    workflow_id: str | None = None
    slug: str | None = None
    linked_account_id: str | None = None
    request_id: str | None = None
    advice: str | None = None

    def about(self, **context: str | None) -> Self:
        """Say whose failure it is; what is known already stays as it is."""
        for name, value in context.items():
            if value is not None and getattr(self, name) is None:
                setattr(self, name, value)
        return self

    def describe(self) -> str:
        """Say what went wrong and whose call it was, without the advice."""
        said = str(self.args[0]) if self.args else ""
        if self.operation is None:
            return said
        whose = ", ".join(self._whose(said))
        room = max(_WORDS - len(whose), _LEAST)
        words = said if len(said) <= room else f"{said[:room]}..."
        return f"{self.operation}: {words} ({whose})" if whose else f"{self.operation}: {words}"

    def _whose(self, said: str) -> Iterator[str]:
        for name in _CONTEXT:
            value = getattr(self, name)
            # An id is long enough to be found in a message that names it.
            if value is not None and (name in _SHORT or value not in said):
                yield f"{name}={clip(value, _NAME)}"

    def __str__(self) -> str:
        words = self.describe()
        if self.advice is None:
            return words
        return f"{words} {self.advice}" if words.endswith((".", "?")) else f"{words}. {self.advice}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls cls(*args), which loses keyword-only arguments.
        return self._restored, (self.args, self.__dict__.copy())

    @classmethod
    def _restored(cls, args: tuple[Any, ...], state: dict[str, Any]) -> Self:
        error = cls.__new__(cls, *args)
        error.args = args
        error.__dict__.update(state)
        return error

    def fresh(self) -> Self:
        """Copy the error, so that each of several awaiters raises a traceback of its own."""
        twin = self._restored(self.args, self.__dict__.copy())
        twin.__cause__ = self.__cause__
        return twin


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
        body: the JSON document, or the beginning of the text that came instead; of an HTML page no
            more than its title.
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
    ) -> None:
        words = [f"HTTP {status}", clip(message, _SAID)]
        if retry_after is not None:
            words.append(f"retry after {retry_after:g} s")
        if error and error != message:
            words.append(clip(error, _SAID))
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


class SharedStateError(RefoldError):
    """The Redis that processes share did not answer, and without it nothing may be sent."""


class NotSentError(RefoldError):
    """The batch sends nothing more, and this item has not left: nothing ran."""


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

"""What does this reply prove about the run? A pure function: body first, status second."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from refold_async._protocol.refusals import refusal, strange
from refold_async._protocol.requests import Operation, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from refold_async._errors import RefoldError
    from refold_async._protocol.reply import Reply


class Evidence(Enum):
    """What an attempt proves. The rows of the table in `docs/explanation/outcomes.md`."""

    ACCEPTED = "the run exists, or the request was answered"
    NOT_SENT = "nothing reached the service"
    REJECTED = "the service turned the request away before acting on it"
    UNCERTAIN = "the service may have acted on it"
    REFUSED = "the service will not act on it, however often it is asked"
    MISCONFIGURED = "the request can't be made like this"


class Answer(NamedTuple):
    """What one attempt came to, read once.

    Attributes:
        evidence: what it proves.
        status: HTTP status, or None if no reply was read.
        document: the parsed body, if it was JSON.
        error: what to raise if this is the end; None for an accepted answer.
        retry_after: seconds the service asked to wait.
        attempts: tries the call took up to this answer.
        possible_duplicate: whether an earlier try of the call may have started a run as well.
        held_since: since when pauses had held the attempt up before it left, in monotonic seconds;
            `inf` if none had.
    """

    evidence: Evidence
    status: int | None = None
    document: Any = None
    error: RefoldError | None = None
    retry_after: float | None = None
    attempts: int = 1
    possible_duplicate: bool = False
    held_since: float = math.inf


RAN_MARKS = ("return_value", "errored", "execution_error", "executed_by_thanos")
"""Fields that only the reply of a workflow that ran carries."""

_TURNED_AWAY = frozenset({408, 421, 425, 429})
_NEVER_SERVED = frozenset({501, 505})
_OWN_TEXTS = ("http_error_type", "error_code", "error")
"""Fields of the service's error envelope, beside `message` and `status_code`."""
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

_ARRAYS = frozenset({Operation.ENABLED_WORKFLOWS, Operation.LIST_WEBHOOKS})
_LISTS = frozenset({Operation.LIST_EXECUTIONS, Operation.LIST_BATCHES, Operation.LIST_WORKFLOWS})

_NOTHING = object()
_decode = json.JSONDecoder().raw_decode
MAX_RETRY_AFTER = 7 * 24 * 3600.0
"""A Retry-After beyond a week is a mistake, not advice."""


def judge(request: Request, reply: Reply) -> Answer:
    """Read a reply as evidence.

    See: the answers table of "Execute Workflow", and "Errors".
    """
    document = _parse(reply.body)
    status = reply.status
    if _is_accepted(request, status, document):
        return Answer(Evidence.ACCEPTED, status, document)
    retry_after = read_retry_after(reply)
    return Answer(
        evidence=_weigh(status, document),
        status=status,
        document=None if document is _NOTHING else document,
        error=_error(reply, document, retry_after),
        retry_after=retry_after,
    )


def _parse(body: bytes) -> Any:
    try:
        # Nearly every body is UTF-8 and nothing but its document: so it is read at a third of the
        # price of `json.loads`, which sees to the others.
        document, end = _decode(text := body.decode())
        if end == len(text):
            return document
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):  # bytes that are no text are a ValueError too
        return _NOTHING


def _is_accepted(request: Request, status: int, document: Any) -> bool:
    operation, fine = request.operation, 200 <= status < 300  # noqa: PLR2004
    if operation is Operation.EXECUTE:
        return isinstance(document, dict) and (
            _is_text(document.get("execution_id")) or any(m in document for m in RAN_MARKS)
        )
    if operation in _ARRAYS:
        return fine and isinstance(document, list)
    if operation is Operation.DELETE_WEBHOOK:  # answers the remaining ones, if anything
        return fine
    if not isinstance(document, dict):
        return False
    if operation is Operation.RERUN:
        new = rerun_id(document, trust_id=fine)
        # An error may name the run that was to be repeated.
        return new is not None and (fine or new != request.execution_id)
    return fine and _is_whole(operation, document)


def _is_whole(operation: Operation, document: Mapping[str, Any]) -> bool:
    """Whether an answer holds what was asked for, where nothing could stand in for it."""
    if operation in _LISTS:
        return isinstance(document.get("docs"), list)
    if operation is Operation.CREATE_SESSION_TOKEN:
        return _is_text(document.get("token"))
    return True


def rerun_id(document: Mapping[str, Any], *, trust_id: bool = True) -> str | None:
    """Find the new run's id in either shape of a rerun's answer (an error may carry an `id` too).

    See: "Rerun Execution".
    """
    names = ("instanceId", "execution_id", "id") if trust_id else ("instanceId", "execution_id")
    found = (document.get(name) for name in names)
    return next((value for value in found if _is_text(value)), None)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _weigh(status: int, document: Any) -> Evidence:
    if 300 <= status < 400:  # noqa: PLR2004
        return Evidence.MISCONFIGURED
    if status in _TURNED_AWAY:
        return Evidence.REJECTED
    if status == 503 and _is_own_refusal(document):  # noqa: PLR2004
        return Evidence.REJECTED
    if 400 <= status < 500 or status in _NEVER_SERVED:  # noqa: PLR2004
        return Evidence.REFUSED
    return Evidence.UNCERTAIN


def _is_own_refusal(document: Any) -> bool:
    """Tell the service's own envelope from what a gateway writes, behind which a run may go on.

    See: "Errors".
    """
    if not isinstance(document, dict) or not isinstance(document.get("message"), str):
        return False
    code = document.get("status_code")
    return (isinstance(code, int) and not isinstance(code, bool)) or any(
        isinstance(document.get(name), str) for name in _OWN_TEXTS
    )


def _error(reply: Reply, document: Any, retry_after: float | None) -> RefoldError:
    is_json = document is not _NOTHING
    known = document if is_json else None
    if reply.status < 400:  # noqa: PLR2004
        return strange(reply, known, is_json=is_json)
    return refusal(reply, known, retry_after)


def read_retry_after(reply: Reply) -> float | None:
    """Read Retry-After (seconds or an HTTP date) as seconds from now; absurd values are None.

    A date is compared with the reply's own `Date` where there is one: clocks differ.

    See: RFC 9110, section 10.2.3.
    """
    text = reply.headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        due = read_http_date(text)
        now = read_http_date(reply.headers.get("Date", "")) or reply.received_at
        seconds = math.nan if due is None else max(due - now, 0.0)
    return seconds if 0 <= seconds <= MAX_RETRY_AFTER else None


def read_http_date(text: str) -> float | None:
    """Read an HTTP date as seconds since the epoch; None if it is none."""
    if not text.isascii() or "_" in text:  # to Python, digits of any script and 1_0 are numbers
        return None
    try:
        moment = parsedate_to_datetime(text)
        # The form of asctime carries no zone; an HTTP date is always GMT.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None

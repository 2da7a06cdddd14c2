"""What a webhook delivers: bytes and a signature → an event. Pure, and bounded in every way."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from refold_async._checks import check_header, check_id
from refold_async._errors import ConfigError, WebhookBodyError, WebhookSignatureError
from refold_async._models import (
    ConnectionEvent,
    ExecutionStatus,
    WebhookEvent,
    WebhookEventKind,
    WorkflowEvent,
)
from refold_async._protocol.evidence import read_http_date

_Unique = Callable[[list[tuple[str, Any]]], dict[str, Any]]

MAX_EVENT_BYTES = 1024 * 1024
_MAX_DEPTH = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_LABEL = 1_024
_NO_JSON = object()
_SIGNATURE = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_FIRST = re.compile(r'\s*\{\s*"event"\s*:\s*(?=\{)', re.ASCII)
_SECOND = re.compile(r'\s*,\s*"workflow_response"\s*:', re.ASCII)


def check_keys(api_key: str | Iterable[str]) -> tuple[str, ...]:
    """Accept the key that signs, or several while they are rotated.

    Raises:
        ConfigError: there is none, or one that can't be a key.
    """
    given = (api_key,) if isinstance(api_key, str) else tuple(api_key)
    if not given:
        raise ConfigError("give at least one key to verify with", field="api_key")
    return tuple(check_header(key, "api_key") for key in given)


def signed_by(body: bytes, signature: str | None, keys: Iterable[str]) -> str:
    """Give the key that signed a body: `x-cobalt-signature` is its hex HMAC-SHA256.

    Raises:
        WebhookSignatureError: no signature, one that can't be one, or one by another key.

    See: "Webhooks".
    """
    if signature is None or not signature.strip():
        raise WebhookSignatureError("missing")
    if not _SIGNATURE.fullmatch(signature.strip()):
        raise WebhookSignatureError("malformed")
    told = bytes.fromhex(signature.strip())
    signer = None
    for key in keys:  # all of them: the time taken tells nothing
        if hmac.compare_digest(hmac.digest(key.encode(), body, hashlib.sha256), told):
            signer = key
    if signer is None:
        raise WebhookSignatureError("wrong")
    return signer


def read_event(body: bytes) -> WebhookEvent:
    """Read what was delivered.

    A `custom` template is understood as long as it still names the run: at the top, or in an
    `event` of its own, then only there. One with `event` first and `workflow_response` second is
    also understood where the latter has broken the JSON, or was cut.

    Raises:
        WebhookBodyError: it is no event; the message says what is missing.

    See: "Webhooks".
    """
    document = _document(body)
    inner = document.get("event")
    if isinstance(inner, str) and inner.lstrip().startswith("{"):  # a template that quoted it
        inner = _object(inner.encode())
    facts = inner if isinstance(inner, Mapping) else document
    name = _text(facts, "event")
    kind = None if name is None else WebhookEventKind(name)
    about: dict[str, Any] = {
        "kind": kind,
        "linked_account_id": _text(facts, "linked_account_id"),
        "environment": _text(facts, "environment"),
        "raw": document,
    }
    run = facts.get("instance_id", facts.get("execution_id"))
    if run is not None:
        return _workflow_event(_run_id(run), facts, about)
    if kind is None or kind.value.startswith("Workflow "):
        raise WebhookBodyError(
            "names no run, by neither instance_id nor execution_id: a custom webhook_body has to"
            ' keep {{event}}, or "instance_id": "{{event.instance_id}}"'
        )
    if kind.value.startswith("Connection "):
        return ConnectionEvent(
            slug=_text(facts, "slug"),
            org_id=_text(facts, "org_id"),
            created_at=_moment(_text(facts, "createdAt")),
            **about,
        )
    return WebhookEvent(**about)


def told_output(body: bytes) -> dict[str, Any] | list[Any] | None:
    """Give the output that a delivery brings along, if it can be read in one way only.

    The signature proves whose key it was, not where a field came from: an output is data of end
    users, filled into a template. Pasted without escapes it may close the JSON, and name another
    run or another end. So there are two members, the event first; no name occurs twice in an
    object, however deep; and what an event is of is told inside the `event` alone.

    Returns:
        The output, an object or a list; None for a body that is in doubt, or brings none.

    See: "Webhooks".
    """
    try:
        document = _object(body, _unique)
    except WebhookBodyError:
        return None
    if [*document] != ["event", "workflow_response"]:
        return None
    event, output = document.values()
    if not isinstance(event, dict) or not isinstance(output, (dict, list)):
        return None
    # Two ids are two runs, unless they are the same.
    run = event.get("instance_id")
    return output if event.get("execution_id", run) == run else None


def _workflow_event(run: str, facts: Mapping[str, Any], about: Mapping[str, Any]) -> WorkflowEvent:
    status = _text(facts, "status")
    return WorkflowEvent(
        execution_id=run,
        workflow_id=_text(facts, "workflow_id"),
        workflow_name=_text(facts, "workflow_name"),
        config_id=_text(facts, "config_id"),
        status=None if status is None else ExecutionStatus(status),
        failed_node=_node(facts),
        **about,
    )


def _document(body: bytes) -> dict[str, Any]:
    try:
        return _object(body)
    except WebhookBodyError:
        document = _event_alone(body)
        if document is None:
            raise
        return document


def _event_alone(body: bytes) -> dict[str, Any] | None:
    """Give the event that a body begins with, whatever the output behind it has done to the JSON.

    It is a hint, as any other: an output that can't be filled in must not cost it.
    """
    text = body[:MAX_EVENT_BYTES].decode(errors="replace")
    first = _FIRST.match(text)
    if first is None or len(body) > MAX_EVENT_BYTES:
        return None
    try:
        event, end = _STRICTLY.raw_decode(text, first.end())
    except (ValueError, RecursionError):
        return None
    if not _SECOND.match(text, end):
        return None
    _check_depth(event)
    return {"event": event}


def _object(body: bytes, unique: _Unique | None = None) -> dict[str, Any]:
    if len(body) > MAX_EVENT_BYTES:
        raise WebhookBodyError(f"is longer than {MAX_EVENT_BYTES:,} bytes")
    document = _parsed(body, unique)
    if document is _NO_JSON:
        raise WebhookBodyError("is not JSON")  # here, not where another error holds the whole body
    if not isinstance(document, dict):
        raise WebhookBodyError("is not a JSON object")
    _check_depth(document)
    return document


def _parsed(body: bytes, unique: _Unique | None) -> Any:
    try:
        return json.loads(
            body.decode(),
            object_pairs_hook=unique,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except (ValueError, RecursionError):
        return _NO_JSON


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _no_number(text)


_STRICTLY = json.JSONDecoder(parse_constant=_no_number, parse_float=_finite)


def _unique(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse an object in which a name occurs twice: two readers may see two values."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError(members)
    return found


def _check_depth(document: Any) -> None:
    """Refuse what would exhaust whoever walks through it."""
    level, depth = [document], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise WebhookBodyError(f"is nested deeper than {_MAX_DEPTH} levels")
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, (dict, list))
        ]


def _text(facts: Mapping[str, Any], name: str) -> str | None:
    """Give a field that is a string of a sensible length; anything else stays in `raw` alone."""
    value = facts.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= _MAX_LABEL else None


def _moment(text: str | None) -> datetime | None:
    seconds = None if text is None else read_http_date(text)
    return None if seconds is None else _EPOCH + timedelta(seconds=seconds)


def _run_id(value: Any) -> str:
    try:
        return check_id(value, "instance_id")
    except ConfigError as error:
        raise WebhookBodyError(f"names a run that can't be one: {error}") from None


def _node(facts: Mapping[str, Any]) -> str | None:
    """Give the failed node's name; the documentation shows no field for it."""
    node = facts.get("failed_node", facts.get("node"))
    if isinstance(node, Mapping):
        return _text(node, "node_name") or _text(node, "name")
    return _text({"node": node}, "node") or _text(facts, "node_name")

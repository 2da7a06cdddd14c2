"""The operations on webhooks: arguments → `Request`, answers → `Webhook`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from refold_async._checks import check_header, check_id
from refold_async._errors import ConfigError, UnexpectedReplyError
from refold_async._models import Webhook, WebhookEventKind
from refold_async._protocol.requests import JSON_HEADERS, Operation, Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

OUTPUTS_BODY = '{"event": {{event}}, "workflow_response": {{workflow_response}}}'
"""The template of a body that brings the output: `told_output` reads what it gives."""
_PATH = "/api/v2/public/webhook"
_METHODS = ("POST", "PUT", "PATCH")
_TYPES = ("default", "slack", "custom")


def webhook_fields(
    *,
    url: str | None = None,
    events: Iterable[WebhookEventKind | str] | None = None,
    type: str | None = None,  # noqa: A002 - the service's word
    method: str | None = None,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    description: str | None = None,
    workflow_ids: Iterable[str] | None = None,
    slug: str | None = None,
    is_enabled: bool | None = None,
    group: str | None = None,
) -> dict[str, Any]:
    """Give the document of what is to be set; None is left out.

    Raises:
        ConfigError: a field can't be what it is; names it.
    """
    if body is not None and type not in {None, "custom"}:
        raise ConfigError("is for webhooks of type custom", field="body")
    fields = {
        "webhook_url": None if url is None else _url(url),
        "webhook_events": None if events is None else _events(events),
        "webhook_type": _one_of(type, _TYPES, "type"),
        "method": _one_of(method, _METHODS, "method"),
        "webhook_headers": None if headers is None else _headers(headers),
        "webhook_body": body,
        "webhook_description": description,
        "workflow_ids": _ids(workflow_ids),
        "slug": None if slug is None else check_header(slug, "slug"),
        "is_enabled": is_enabled,
        "group": group,
    }
    return {name: value for name, value in fields.items() if value is not None}


def create_webhook_request(fields: Mapping[str, Any]) -> Request:
    """Subscribe. See: "Create Webhook"."""
    return _request(Operation.CREATE_WEBHOOK, "POST", _PATH, fields)


def list_webhooks_request() -> Request:
    """Read all webhooks. See: "List Webhooks"."""
    return _request(Operation.LIST_WEBHOOKS, "GET", _PATH)


def get_webhook_request(webhook_id: str) -> Request:
    """Read one webhook. See: "Get Webhook"."""
    return _request(Operation.GET_WEBHOOK, "GET", _of(webhook_id))


def update_webhook_request(webhook_id: str, fields: Mapping[str, Any]) -> Request:
    """Change the fields that are given. See: "Update Webhook"."""
    return _request(Operation.UPDATE_WEBHOOK, "PUT", _of(webhook_id), fields)


def delete_webhook_request(webhook_id: str) -> Request:
    """Remove a webhook. See: "Delete Webhook"."""
    return _request(Operation.DELETE_WEBHOOK, "DELETE", _of(webhook_id))


def read_webhook(document: Any) -> Webhook:
    """Read a webhook's document.

    Raises:
        UnexpectedReplyError: it has no id that could be one.
    """
    try:
        webhook_id = check_id(document["_id"], "_id")
    except (ConfigError, KeyError, TypeError):
        raise UnexpectedReplyError("the answer is no webhook: it has no _id") from None
    enabled = document.get("is_enabled")
    return Webhook(
        webhook_id=webhook_id,
        url=_text(document, "webhook_url") or "",
        events=tuple(WebhookEventKind(name) for name in _texts(document, "webhook_events")),
        is_enabled=enabled if isinstance(enabled, bool) else True,
        method=_text(document, "method") or "POST",
        type=_text(document, "webhook_type") or "default",
        workflow_ids=_texts(document, "workflow_ids"),
        slug=_text(document, "slug"),
        description=_text(document, "webhook_description"),
        environment=_text(document, "environment"),
        raw=document,
    )


def _request(
    operation: Operation, method: str, target: str, fields: Mapping[str, Any] | None = None
) -> Request:
    if fields is None:
        return Request(operation=operation, method=method, target=target)
    body = json.dumps(fields, allow_nan=False).encode()
    return Request(
        operation=operation, method=method, target=target, headers=JSON_HEADERS, body=body
    )


def _of(webhook_id: str) -> str:
    return f"{_PATH}/{check_id(webhook_id, 'webhook_id')}"


def _url(url: str) -> str:
    told = check_header(url, "url")
    try:
        parts = urlsplit(told)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or " " in told:
        raise ConfigError("must be an http or https URL with a host", field="url")
    return told


def _events(events: Iterable[WebhookEventKind | str]) -> list[str]:
    if isinstance(events, str):
        raise ConfigError("give several, as in WORKFLOW_EVENTS", field="events")
    told = [str.__str__(event) for event in events]
    if not told:
        raise ConfigError("give at least one event", field="events")
    return told


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        check_header(name, "headers"): check_header(value, f"headers[{name!r}]")
        for name, value in headers.items()
    }


def _ids(ids: Iterable[str] | None) -> list[str] | None:
    if isinstance(ids, str):
        raise ConfigError("give a list of workflow ids", field="workflow_ids")
    return None if ids is None else [check_id(each, "workflow_ids") for each in ids]


def _one_of(value: str | None, allowed: tuple[str, ...], field: str) -> str | None:
    if value is not None and value not in allowed:
        raise ConfigError(f"must be one of {', '.join(allowed)}, not {value!r}", field=field)
    return value


def _text(document: Mapping[str, Any], name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) and value else None


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = document.get(name)
    return tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()

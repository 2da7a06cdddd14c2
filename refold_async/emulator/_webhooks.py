"""The operations on webhooks."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ._replies import RefusedError, Reply, json_reply, refusal
from ._service import Call, Service
from ._subscriptions import EVENTS

_METHODS = ("POST", "PUT", "PATCH")
_TYPES = ("default", "slack", "custom")
_FIELDS = {
    "webhook_events": list,
    "webhook_type": str,
    "webhook_headers": dict,
    "webhook_description": str,
    "webhook_url": str,
    "workflow_ids": list,
    "slug": str,
    "is_enabled": bool,
    "group": str,
    "method": str,
    "webhook_body": object,
}
"""What may be set, and the type it must have."""


def create_webhook(service: Service, call: Call) -> Reply:
    """Subscribe an address to events."""
    service.caller(call)
    fields = _checked(service.json_object(call))
    if "webhook_url" not in fields:
        raise RefusedError(refusal(400, "webhook_url is required"))
    if "webhook_events" not in fields:
        raise RefusedError(refusal(400, "webhook_events must have at least 1 event"))
    return json_reply(service.webhooks.create(fields))


def list_webhooks(service: Service, call: Call) -> Reply:
    """All webhooks, as a plain array."""
    service.require_key(call)
    return json_reply(service.webhooks.all())


def get_webhook(service: Service, call: Call) -> Reply:
    """One webhook."""
    service.require_key(call)
    return json_reply(service.webhooks.get(call.ids["webhook_id"]))


def update_webhook(service: Service, call: Call) -> Reply:
    """Change the fields that are sent."""
    service.caller(call)
    fields = _checked(service.json_object(call))
    return json_reply(service.webhooks.update(call.ids["webhook_id"], fields))


def delete_webhook(service: Service, call: Call) -> Reply:
    """Remove one; answers those that remain."""
    service.caller(call)
    service.webhooks.delete(call.ids["webhook_id"])
    return json_reply(service.webhooks.all())


def edit_webhook_group(service: Service, call: Call) -> Reply:
    """Put webhooks into a group."""
    service.caller(call)
    document = service.json_object(call)
    ids, group = document.get("webhookIds"), document.get("group")
    if not isinstance(ids, list) or not isinstance(group, str):
        raise RefusedError(refusal(400, "webhookIds and group are required"))
    return json_reply([service.webhooks.update(str(each), {"group": group}) for each in ids])


def _checked(document: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: document[name] for name in _FIELDS if document.get(name) is not None}
    for name, value in fields.items():
        if not isinstance(value, _FIELDS[name]):
            raise RefusedError(refusal(400, f"{name} has the wrong type"))
    _check_parts(fields)
    if fields.get("method", "POST") not in _METHODS:
        raise RefusedError(refusal(400, f"method must be one of {', '.join(_METHODS)}"))
    if fields.get("webhook_type", "default") not in _TYPES:
        raise RefusedError(refusal(400, f"webhook_type must be one of {', '.join(_TYPES)}"))
    return fields


def _check_parts(fields: Mapping[str, Any]) -> None:
    """Refuse what could be neither delivered nor shown."""
    for name in ("webhook_headers", "workflow_ids"):
        parts = fields.get(name, ())
        texts = parts.values() if isinstance(parts, dict) else parts
        if not all(isinstance(each, str) for each in texts):
            raise RefusedError(refusal(400, f"{name} must hold text"))
    if fields.get("webhook_events", EVENTS) == []:
        raise RefusedError(refusal(400, "webhook_events must have at least 1 event"))
    for event in fields.get("webhook_events", ()):
        if event not in EVENTS:
            raise RefusedError(_invalid_event(event))
    if not _is_address(fields.get("webhook_url", "http://here")):
        raise RefusedError(refusal(400, "webhook_url must be an http or https URL"))


def _is_address(text: str) -> bool:
    try:
        address = urlsplit(text)
    except ValueError:  # half of an IPv6 address
        return False
    return address.scheme in {"http", "https"} and bool(address.hostname)


def _invalid_event(event: Any) -> Reply:
    return json_reply(
        {
            "status_code": 400,
            "http_error_type": "BAD_REQUEST",
            "error": "INVALID_EVENT",
            "message": f"Invalid event {event}",
        },
        400,
    )

"""Deliveries as the service makes them: bodies of events, signed."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

KEY = "tk_webhooks"
RUN = "6a314c54d4616e99e7fa5a02"


def workflow_event(**fields: Any) -> dict[str, Any]:
    """Give the document of a workflow event, as the documentation shows it."""
    return {
        "linked_account_id": "acct_1",
        "instance_id": RUN,
        "workflow_id": "6a106ba44480b80424a65289",
        "config_id": "acct_1",
        "event": "Workflow Completed",
        "workflow_name": "Create contact",
        "status": "COMPLETED",
    } | fields


def connection_event(**fields: Any) -> dict[str, Any]:
    """Give the document of a connection event."""
    return {
        "linked_account_id": "acct_1",
        "org_id": "org_1",
        "environment": "test",
        "type": "General",
        "event": "Connection Expired",
        "slug": "hubspot",
        "createdAt": "Tue, 07 Nov 2023 08:03:27 GMT",
    } | fields


def encoded(document: Any) -> bytes:
    """Give the raw body of a document."""
    return json.dumps(document).encode()


def sign(body: bytes, key: str = KEY) -> str:
    """Sign a body as the service does."""
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()

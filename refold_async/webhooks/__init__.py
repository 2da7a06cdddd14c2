"""What the service pushes: verified, parsed, delivered.

Mount one route, and a run settles its waiting handle when it ends instead of when it is looked at::

    app.router.add_post("/refold/webhooks/", webhooks.aiohttp_handler(refold))  # aiohttp
    app.mount("/refold/webhooks", webhooks.asgi(refold))  # FastAPI, Starlette

See: "Webhooks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from refold_async._checks import name_after
from refold_async._models import (
    WORKFLOW_EVENTS,
    ConnectionEvent,
    WebhookEvent,
    WebhookEventKind,
    WorkflowEvent,
)
from refold_async._protocol import check_keys, read_event, signed_by
from refold_async.webhooks._aiohttp import aiohttp_handler
from refold_async.webhooks._asgi import asgi

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "WORKFLOW_EVENTS",
    "ConnectionEvent",
    "WebhookEvent",
    "WebhookEventKind",
    "WorkflowEvent",
    "aiohttp_handler",
    "asgi",
    "parse",
    "verify",
]


def verify(body: bytes, signature: str | None, *, api_key: str | Iterable[str]) -> None:
    """Check that a delivery was signed with your key; takes the same time whatever is wrong.

    Args:
        body: the raw body, exactly as received.
        signature: the header `x-cobalt-signature`, or None if there was none.
        api_key: the organisation's key of the webhook's environment, or several while they are
            rotated.

    Raises:
        WebhookSignatureError: the signature is missing, malformed or wrong.
        ConfigError: no key was given.

    See: "Webhooks".
    """
    signed_by(body, signature, check_keys(api_key))


def parse(body: bytes) -> WorkflowEvent | ConnectionEvent | WebhookEvent:
    """Read a delivery, after `verify`; unknown fields are in `raw`, unknown events are kept.

    Returns:
        A `WorkflowEvent` for all that names a run, a `ConnectionEvent`, or a plain `WebhookEvent`
        for an event this SDK has not heard of.

    Raises:
        WebhookBodyError: it is no event, or a template of your own left the run's id out.

    See: "Webhooks".
    """
    return read_event(body)


name_after(__name__, *(globals()[name] for name in __all__))

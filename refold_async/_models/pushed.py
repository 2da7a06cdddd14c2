"""What the service pushes to a webhook, as frozen values. Unknown fields and events are kept."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import attrs

from refold_async._checks import name_after
from refold_async._models.execution import ExecutionStatus
from refold_async._value import Value


class WebhookEventKind(StrEnum):
    """What a webhook tells of; an event nobody has heard of is kept under its own name.

    There is none for runs that end TERMINATED.

    See: "Webhooks".
    """

    WORKFLOW_COMPLETED = "Workflow Completed"
    WORKFLOW_ERRORED = "Workflow Errored"
    WORKFLOW_STOPPED = "Workflow Stopped"
    WORKFLOW_TIMED_OUT = "Workflow Timed Out"
    CONNECTION_CREATED = "Connection Created"
    CONNECTION_DELETED = "Connection Deleted"
    CONNECTION_EXPIRED = "Connection Expired"

    @classmethod
    def _missing_(cls, value: object) -> Self:
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = str(value)
        return unknown

    def __repr__(self) -> str:
        return f"<WebhookEventKind {self.value!r}>"


WORKFLOW_EVENTS = (
    WebhookEventKind.WORKFLOW_COMPLETED,
    WebhookEventKind.WORKFLOW_ERRORED,
    WebhookEventKind.WORKFLOW_STOPPED,
    WebhookEventKind.WORKFLOW_TIMED_OUT,
)
"""The events that tell of a run's end."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WebhookEvent(Value):
    """What a webhook told; as such, an event this SDK has not heard of.

    Attributes:
        kind: the event; None where a template of your own doesn't name it.
        linked_account_id: the account it is about, if told.
        environment: `test` or `production`, if told.
        raw: the body as received.

    See: "Webhooks".
    """

    kind: WebhookEventKind | None = None
    linked_account_id: str | None = None
    environment: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class WorkflowEvent(WebhookEvent):
    """A run has ended. It is a hint: the run itself says how.

    Attributes:
        execution_id: the run.
        workflow_id: what it ran, if told.
        workflow_name: the workflow's name, if told.
        config_id: its configuration, if told.
        status: how it ended, as the event has it, if told.
        failed_node: the name of the node it failed at, if told.

    See: "Webhooks".
    """

    execution_id: str
    workflow_id: str | None = None
    workflow_name: str | None = None
    config_id: str | None = None
    status: ExecutionStatus | None = None
    failed_node: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConnectionEvent(WebhookEvent):
    """A linked account's connection to an application was made, removed, or has expired.

    Attributes:
        slug: the application.
        org_id: your organisation.
        created_at: when it happened (UTC), if told.

    See: "Webhooks".
    """

    slug: str | None = None
    org_id: str | None = None
    created_at: datetime | None = None


def _host_of(url: str) -> str:
    """Show no more of an address than where it leads: to know all of it may be to hold its key."""
    scheme, _, rest = url.partition("://")
    host = re.split(r"[/\\?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return repr(f"{scheme}://{host}/..." if host else "...")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Webhook(Value):
    """A subscription: which events the service delivers, and where to.

    Attributes:
        webhook_id: its id.
        url: where it delivers; its `repr` shows the host alone.
        events: what it delivers.
        is_enabled: whether it does so at present.
        method: POST, PUT or PATCH.
        type: `default`, `slack` or `custom`.
        workflow_ids: the only workflows it is for; empty for all.
        slug: the only application it is for, if any.
        description: what its maker wrote about it.
        environment: `test` or `production`: that of the key it was made with.
        raw: the document as received.

    See: "Create Webhook".
    """

    webhook_id: str
    url: str = attrs.field(repr=_host_of)
    events: tuple[WebhookEventKind, ...]
    is_enabled: bool = True
    method: str = "POST"
    type: str = "default"
    workflow_ids: tuple[str, ...] = ()
    slug: str | None = None
    description: str | None = None
    environment: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


name_after("refold_async", Webhook)

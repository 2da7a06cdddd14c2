"""What the service says, as frozen values. Unknown fields and unknown values are kept."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import attrs

from refold_async._value import Value

T = TypeVar("T")

_OBJECT_ID = re.compile(r"[0-9a-fA-F]{24}")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExecutionRef(Value):
    """All that is needed to find a run again; picklable, without secrets.

    Attributes:
        execution_id: the run (None for a sync reply that had none).
        workflow_id: the workflow or alias it was started with, if known.
        slug: the application it was started with, if known.
        linked_account_id: for whom it runs, if known.
        instance_tag: its label, if known.
        traceparent: the call that started it, as traces name it (W3C Trace Context); None without
            telemetry. A wait for the run, in whatever process, is linked to it.
    """

    execution_id: str | None
    workflow_id: str | None = None
    slug: str | None = None
    linked_account_id: str | None = None
    instance_tag: str | None = None
    traceparent: str | None = None

    @property
    def created_at(self) -> datetime | None:
        """When the service made the run, read from its id; None if the id does not tell."""
        return None if self.execution_id is None else created_at(self.execution_id)


def created_second(execution_id: str) -> int | None:
    """Read the creation time (epoch seconds) out of a MongoDB ObjectId; None for other ids."""
    return int(execution_id[:8], 16) if _OBJECT_ID.fullmatch(execution_id) else None


def created_at(execution_id: str) -> datetime | None:
    """Give the same as a `datetime` (UTC)."""
    second = created_second(execution_id)
    if second is None:
        return None
    try:
        return datetime.fromtimestamp(second, UTC)
    except (ValueError, OverflowError, OSError):  # a platform with a 32-bit time_t
        return None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Workflow(Value):
    """A workflow.

    Attributes:
        workflow_id: its id.
        name: what its author called it.
        slug: the application it belongs to.
        description: what its author says of it.
        published: whether it is published, as a run needs.
        config_id: the configuration it is enabled with, if the document says.
        raw: the document as received.

    See: "List Workflows", "List Enabled Workflows".
    """

    workflow_id: str
    name: str | None = None
    slug: str | None = None
    description: str | None = None
    published: bool | None = None
    config_id: str | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RequestStructure(Value):
    """What a workflow expects as its payload.

    Attributes:
        payload: an example payload.
        schema: its JSON Schema, or None.
        raw: the document as received.

    See: "Get Workflow Request Structure".
    """

    payload: Any = None
    schema: Mapping[str, Any] | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionToken(Value):
    """A session token of one linked account; the tokens don't show in its `repr`.

    Attributes:
        token: the JWT to authenticate with.
        refresh_token: the JWT to renew it with, if one came.
        expires_in: seconds the token is good for.
        refresh_expires_in: seconds the refresh token is good for.

    See: "Generate Session Token".
    """

    token: str = attrs.field(repr=False)
    refresh_token: str | None = attrs.field(default=None, repr=False)
    expires_in: float | None = None
    refresh_expires_in: float | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Page(Value, Generic[T]):
    """One page of a list.

    Attributes:
        items: what the page holds.
        page: its number, from 1.
        has_next: whether the service says that more follow.
        total: how many items there are on all pages, if the service says.
        raw: the answer as received.
    """

    items: tuple[T, ...]
    page: int = 1
    has_next: bool = False
    total: int | None = None
    raw: Mapping[str, Any] = attrs.field(factory=dict, repr=False)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

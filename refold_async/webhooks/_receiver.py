"""A delivery → an answer, whatever server it came through. Nothing here waits for the network."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import Context
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from refold_async._errors import ConfigError, WebhookBodyError, WebhookSignatureError, clip
from refold_async._logs import Log, about
from refold_async._models import ExecutionStatus, WebhookEventKind, WorkflowEvent
from refold_async._protocol import check_keys, read_event, signed_by, told_output

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from refold_async._models import WebhookEvent

logger = Log("webhooks")

METHODS = ("POST", "PUT", "PATCH")
"""What a webhook can be set to use."""
BODY_WITHIN = 2.0
"""Seconds in which the whole body has to come."""
_KEPT_AT_MOST = 1_000
"""Events that `on_event` may have under way; beyond, the service is asked to deliver again."""
_OUTPUT = b'"workflow_response"'
_ENVIRONMENTS = {"pk": "production", "tk": "test"}


class Verdict(Enum):
    """How a delivery is answered: HTTP status and a word for who reads the service's log."""

    TAKEN = 200, "taken"
    NO_EVENT = 400, "not an event"
    NOT_SIGNED = 401, "not signed with this service's key"
    WRONG_METHOD = 405, "use POST"
    TOO_SLOW = 408, "the body took too long"
    TOO_LARGE = 413, "the body is too large"
    FULL = 503, "busy; deliver it again"


class Notified(Protocol):
    """The client that is told."""

    def notify(self, event: WebhookEvent) -> bool:
        """Tell it what a webhook told."""

    @property
    def webhook_keys(self) -> tuple[str, ...]:
        """The keys that sign what is meant for it."""


class Receiver:
    """Takes deliveries for one client.

    Args:
        refold: the client whose handles wait.
        api_key: the key or keys that sign; the client's own if None.
        on_event: as of `asgi`.

    Raises:
        ConfigError: the client has only a session token, and no `api_key` was given.
    """

    def __init__(
        self,
        refold: Notified,
        *,
        api_key: str | Iterable[str] | None = None,
        on_event: Callable[[WebhookEvent], Awaitable[None]] | None = None,
    ) -> None:
        keys = refold.webhook_keys if api_key is None else check_keys(api_key)
        if not keys:
            raise ConfigError(
                "webhooks are signed with the API key, and this client has a session token: give"
                " the key here",
                field="api_key",
            )
        self._refold = refold
        self._keys = keys
        self._on_event = on_event
        self._take_output: Callable[[WorkflowEvent, Any], None] | None
        self._take_output = getattr(refold, "_told_output", None)
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, body: bytes, signature: str | None) -> Verdict:
        """Verify a delivery, tell the client, and hand the event to `on_event`."""
        try:
            key = signed_by(body, signature, self._keys)
            event = read_event(body)
        except WebhookSignatureError as error:
            logger.warning("a delivery was refused: %s", error)
            return Verdict.NOT_SIGNED
        except WebhookBodyError as error:
            logger.warning("a delivery was refused: %s", error)
            return Verdict.NO_EVENT
        if _contradicts(event.environment, key):
            logger.warning(
                "a delivery was refused: it is of environment %s", clip(event.environment, 40)
            )
            return Verdict.NOT_SIGNED
        if key in self._refold.webhook_keys and _is_of(event, key):
            self._hand_over_output(event, body)
        self._refold.notify(event)
        if self._on_event is None:
            return Verdict.TAKEN
        if len(self._tasks) >= _KEPT_AT_MOST:
            return Verdict.FULL
        work = _pass_on(self._on_event, event)
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Verdict.TAKEN

    def _hand_over_output(self, event: WebhookEvent, body: bytes) -> None:
        """Let the client have the output that a run's delivery brings along, if it does."""
        take = self._take_output
        if take is not None and _tells_success(event) and _brings_output(event, body):
            take(event, told_output(body))


def _brings_output(event: WebhookEvent, body: bytes) -> bool:
    """Tell whether a delivery is meant to bring an output, also where that can't be read."""
    members = [*event.raw]
    return members in (["event"], ["event", "workflow_response"]) and _OUTPUT in body


def _tells_success(event: WebhookEvent) -> TypeGuard[WorkflowEvent]:
    """Tell whether an event says in both ways, to the letter, that its run has completed."""
    return (
        isinstance(event, WorkflowEvent)
        and event.kind == WebhookEventKind.WORKFLOW_COMPLETED
        and _told(event, "status") == ExecutionStatus.COMPLETED.value
    )


async def _pass_on(
    on_event: Callable[[WebhookEvent], Awaitable[None]], event: WebhookEvent
) -> None:
    try:
        await on_event(event)
    except asyncio.CancelledError:
        logger.warning("on_event was cancelled for %s", clip(event, 300), extra=_about(event))
        raise
    except Exception:
        logger.exception("on_event raised for %s", clip(event, 300), extra=_about(event))


def _about(event: WebhookEvent) -> dict[str, object]:
    """Give the `extra` of a line that tells of an event."""
    return about(
        execution_id=getattr(event, "execution_id", None),
        workflow_id=getattr(event, "workflow_id", None),
        linked_account_id=event.linked_account_id,
    )


def _is_of(event: WebhookEvent, key: str) -> bool:
    """Tell whether an event is of the environment of the key that signed it, or names none."""
    told = _told(event, "environment")
    return told is None or told == _ENVIRONMENTS.get(key[:2])


def _told(event: WebhookEvent, name: str) -> object:
    """Give a fact as it was delivered."""
    facts = event.raw.get("event")
    return facts.get(name) if isinstance(facts, Mapping) else None


def _contradicts(environment: str | None, key: str) -> bool:
    """Tell whether an event is of the other environment than the key that signed it."""
    ours = _ENVIRONMENTS.get(key[:2])
    told = (environment or "").lower()
    return ours is not None and told in _ENVIRONMENTS.values() and told != ours

"""Webhooks at the service: to make, find, change and remove; and one that is there for sure."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Any

from refold_async import _protocol as protocol
from refold_async._checks import name_after
from refold_async._clock import sleep
from refold_async._config import RetryPolicy
from refold_async._errors import (
    ConfigError,
    ConnectionFailedError,
    NotFoundError,
    ServerError,
    TransportError,
)
from refold_async._logs import Log
from refold_async._models import WORKFLOW_EVENTS, Webhook

if TYPE_CHECKING:
    import builtins
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from refold_async._handle import Services
    from refold_async._models import WebhookEventKind

logger = Log("webhooks")

_ONCE = RetryPolicy(mode="never")
"""`ensure` looks for what a lost answer has made or changed, before it does so again."""
_SETTLES = 1.0
"""Seconds after which the list shows what others made at the same moment."""
_ROUNDS = 5


class Webhooks:
    """Webhooks of the key's environment, test or production. Get it as `refold.webhooks`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def create(
        self,
        url: str,
        *,
        events: Iterable[WebhookEventKind | str] = WORKFLOW_EVENTS,
        type: Literal["default", "slack", "custom"] = "default",  # noqa: A002
        method: Literal["POST", "PUT", "PATCH"] = "POST",
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        description: str | None = None,
        workflow_ids: Iterable[str] | None = None,
        slug: str | None = None,
        is_enabled: bool = True,
        group: str | None = None,
    ) -> Webhook:
        """Make a webhook. Not repeatable: twice makes two, and each event then comes twice.

        Args:
            url: where to deliver, http or https.
            events: what to deliver, at least one.
            type: `custom` for a body of your own.
            method: how to deliver.
            headers: sent along; they are not signed.
            body: a template for type `custom`; keep `{{event}}` in it.
            description: for whoever finds it.
            workflow_ids: only for these; None for all.
            slug: only for workflows of this application.
            is_enabled: whether it delivers from the start.
            group: the name of a group to put it into.

        Raises:
            ConfigError: an argument can't be what it is.
            BadRequestError: the service knows no such event.

        See: "Create Webhook".
        """
        fields = protocol.webhook_fields(
            url=url,
            events=events,
            type=type,
            method=method,
            headers=headers,
            body=body,
            description=description,
            workflow_ids=workflow_ids,
            slug=slug,
            is_enabled=is_enabled,
            group=group,
        )
        return await self._services.api.create_webhook(fields, policy=_ONCE)

    async def get(self, webhook_id: str) -> Webhook:
        """Read one webhook. See: "Get Webhook".

        Raises:
            NotFoundError: there is none with this id (the service says 400).
        """
        return await self._services.api.get_webhook(webhook_id)

    async def list(self) -> builtins.list[Webhook]:
        """Read all webhooks. See: "List Webhooks"."""
        return await self._services.api.list_webhooks()

    async def update(
        self,
        webhook_id: str,
        *,
        url: str | None = None,
        events: Iterable[WebhookEventKind | str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
        description: str | None = None,
        workflow_ids: Iterable[str] | None = None,
        is_enabled: bool | None = None,
    ) -> Webhook:
        """Change what is given, and leave the rest; may be repeated. See: "Update Webhook".

        Raises:
            ConfigError: an argument can't be what it is, or nothing was given.
            NotFoundError: there is none with this id.
        """
        fields = protocol.webhook_fields(
            url=url,
            events=events,
            headers=headers,
            body=body,
            description=description,
            workflow_ids=workflow_ids,
            is_enabled=is_enabled,
        )
        if not fields:
            raise ConfigError("give at least one field to change", field="update")
        return await self._services.api.update_webhook(webhook_id, fields)

    async def delete(self, webhook_id: str) -> None:
        """Remove a webhook. See: "Delete Webhook".

        Raises:
            NotFoundError: there is none with this id.
        """
        await self._services.api.delete_webhook(webhook_id)

    async def ensure(
        self,
        url: str,
        *,
        events: Iterable[WebhookEventKind | str] = WORKFLOW_EVENTS,
        workflows: Iterable[str] | None = None,
        outputs: bool = False,
    ) -> Webhook:
        """See to it that a webhook delivers to this URL: call it at every start of a service.

        It marks what it makes in the description, and knows it by that. Workers that start at once
        agree on one. Events and workflows are only ever added, so that an old release and a new one
        don't take each other's away; what people made is never touched. What others change
        in the instant in which something is added, or while that request is held back on its way,
        may be lost: the service has no way to tell.

        With `outputs=True` (experimental) it makes one of type `custom` that brings the output
        along, so that most runs of this client need no read, and has the client take them; "Without
        any read" in the documentation says which,
        and what is trusted thereby. It is a webhook of its own: one that `ensure` has made without
        outputs for this URL stays, because an older release may rely on it. While both are there
        each event comes twice, and a run whose other event is the first is read: delete that one
        once nothing needs it; the log names it.

        Args:
            url: where this service takes webhooks.
            events: what it wants to be told.
            workflows: the only workflows it cares for; None for all.
            outputs: whether outputs come along.

        Returns:
            The webhook, made now or found. One that somebody switched off stays off, which is
            logged.

        Raises:
            ConfigError: somebody else's webhook has this URL, and does not deliver what is needed.
            ApiError: the service refused.
            TransportError: no usable answer came.

        See: "Create Webhook".
        """
        wanted = protocol.webhook_fields(
            url=url,
            events=events,
            type="custom" if outputs else None,
            body=protocol.OUTPUTS_BODY if outputs else None,
            workflow_ids=workflows,
        )
        mark = _mark(url, outputs=outputs)
        # So this call knows what it has made, whether or not the answer came.
        wanted["webhook_description"] = f"{mark} {os.urandom(4).hex()}"
        for number in range(_ROUNDS):
            there = await self._found(wanted, mark)
            try:
                sure = await (
                    self._made(wanted, mark) if there is None else self._widened(there, wanted)
                )
            except (TransportError, ServerError) as error:
                if number == _ROUNDS - 1 or isinstance(error, ConnectionFailedError):
                    raise
                sure = None
            if sure is not None:
                if outputs:
                    self._services.tracker.expect_outputs()
                return sure
        raise TransportError(f"webhooks for {url} come and go; none is there for sure")

    async def _at(self, url: str, mark: str) -> tuple[builtins.list[Webhook], ...]:
        """Give the webhooks of a URL: what `ensure` has made, the oldest first, and the others."""
        same_url = sorted(
            (hook for hook in await self.list() if hook.url == url),
            key=lambda hook: hook.webhook_id,
        )
        ours = [hook for hook in same_url if (hook.description or "").startswith(mark)]
        return ours, [hook for hook in same_url if hook not in ours]

    async def _found(self, wanted: Mapping[str, Any], mark: str) -> Webhook | None:
        """Give the webhook that is to serve: the oldest of ours, or a person's that will do."""
        ours, others = await self._at(wanted["webhook_url"], mark)
        theirs = [hook for hook in others if not _is_ours(hook)]
        for hook in others:
            if hook not in theirs and hook.is_enabled:
                _warn(
                    hook,
                    "is of an ensure() with other outputs, and has the same URL: each event comes"
                    " twice. Delete it once nothing relies on it",
                )
        if ours:
            if not _has_form(ours[0], wanted):
                _warn(ours[0], "was changed by somebody: what it brings is not what was asked for")
            return ours[0]
        for hook in theirs:
            if not (_delivers(hook, wanted) and _has_form(hook, wanted) and hook.is_enabled):
                form = f"with the body {wanted.get('webhook_body')}"
                raise ConfigError(
                    f"webhook {hook.webhook_id} has this URL, was not made by ensure(), and does"
                    " not deliver what is needed: delete it, or have it deliver"
                    f" {', '.join(wanted['webhook_events'])}"
                    f" {form if 'webhook_body' in wanted else 'in the default form'}, of all"
                    " applications",
                    field="url",
                )
        return theirs[0] if theirs else None

    async def _made(self, wanted: Mapping[str, Any], mark: str) -> Webhook | None:
        """Make one; None if it has to be looked for again.

        Raises:
            TransportError, ServerError: no answer said that it was made, and it is not there.
        """
        clock = self._services.clock
        began, lost = clock.monotonic(), None
        try:
            await self._services.api.create_webhook(wanted, policy=_ONCE)
        except ConnectionFailedError:
            raise
        except (TransportError, ServerError) as error:
            lost = error
        # Whoever made one while ours took so long has looked around already, and kept it.
        was_slow = lost is not None or clock.monotonic() - began > _SETTLES / 2
        await sleep(clock, _SETTLES)
        ours, _ = await self._at(wanted["webhook_url"], mark)
        mine = [hook for hook in ours if hook.description == wanted["webhook_description"]]
        if not mine:
            if lost is not None:
                raise lost
            return None
        gives_way = len(ours) > len(mine) and (was_slow or ours[0] not in mine)
        for hook in mine if gives_way else mine[1:]:
            await self._remove(hook)
        return None if gives_way else mine[0]

    async def _remove(self, hook: Webhook) -> None:
        try:
            await self.delete(hook.webhook_id)
        except NotFoundError:
            logger.info(
                "webhook %s was removed by somebody else",
                hook.webhook_id,
                extra={"webhook_id": hook.webhook_id},
            )

    async def _widened(self, hook: Webhook, wanted: Mapping[str, Any]) -> Webhook | None:
        """Have it deliver what is wanted as well; None if it has to be looked for again.

        Raises:
            TransportError, ServerError: nobody knows whether it does.
        """
        if not hook.is_enabled:
            _warn(hook, "is switched off, and stays so")
        if _delivers(hook, wanted):
            return hook
        try:
            fresh = await self._read(hook.webhook_id)
            fields = protocol.webhook_fields(**_both(fresh, wanted))
            # Once: a second time would bring back what was so before others changed it.
            await self._services.api.update_webhook(hook.webhook_id, fields, policy=_ONCE)
            # Whoever added something at the same moment may have written over what we did.
            await sleep(self._services.clock, _SETTLES)
            hook = await self.get(hook.webhook_id)
        except NotFoundError:
            return None
        return hook if _delivers(hook, wanted) else None

    async def _read(self, webhook_id: str) -> Webhook:
        """Read one as it is now, if the service answers soon: others may change it meanwhile."""
        clock = self._services.clock
        for _ in range(_ROUNDS):
            began = clock.monotonic()
            hook = await self.get(webhook_id)
            if clock.monotonic() - began < _SETTLES / 2:
                break
        return hook


def _warn(hook: Webhook, words: str) -> None:
    logger.warning("webhook %s %s", hook.webhook_id, words, extra={"webhook_id": hook.webhook_id})


def _both(hook: Webhook, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a webhook delivers and what is wanted, together."""
    events = [*hook.events, *(e for e in wanted["webhook_events"] if e not in hook.events)]
    more: list[str] = wanted.get("workflow_ids", [])
    # None named is all of them.
    ids = [*dict.fromkeys((*hook.workflow_ids, *more))] if hook.workflow_ids and more else []
    return {"events": events, "workflow_ids": ids}


def _delivers(hook: Webhook, wanted: Mapping[str, Any]) -> bool:
    """Tell whether a webhook brings all that is wanted."""
    only: list[str] = wanted.get("workflow_ids", [])
    for_all = not hook.workflow_ids
    for_these = bool(only) and {*only} <= {*hook.workflow_ids}
    of_all_applications = not hook.slug
    return (
        {*wanted["webhook_events"]} <= {*hook.events}
        and (for_all or for_these)
        and of_all_applications
    )


def _has_form(hook: Webhook, wanted: Mapping[str, Any]) -> bool:
    """Tell whether what a webhook brings looks as is wanted."""
    body = wanted.get("webhook_body")
    if body is None:
        return hook.type == "default"
    return hook.type == "custom" and hook.raw.get("webhook_body") == body


def _mark(url: str, *, outputs: bool) -> str:
    """Give the description by which `ensure` knows what it has made for a URL, in one form."""
    form = f"custom {protocol.OUTPUTS_BODY}" if outputs else "default"
    return f"refold-async {hashlib.sha256(f'{url} {form}'.encode()).hexdigest()[:16]}"


def _is_ours(hook: Webhook) -> bool:
    """Tell whether `ensure` has made a webhook, in whichever form."""
    marks = tuple(_mark(hook.url, outputs=outputs) for outputs in (False, True))
    return (hook.description or "").startswith(marks)


name_after("refold_async", Webhooks)
